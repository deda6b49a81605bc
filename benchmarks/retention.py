"""``python -m benchmarks retention``: a window of thirty days, lived in minutes, and ten days more.

A day is some seconds long, as many as its commands take. Each has a full and four incrementals of a small
shard under a steady load, in a repository of stored fulls and in one of fulls that refer, both with an
archiver that runs all the time. At its end ``expire`` and ``prune`` run, and every moment that the window
promises is planned again. The window is set anew for that, from the beginning of the first of its days, so
that it covers thirty as they were lived; the grace time and the time between a manifest's deletion and its
packs' are parts of a lived day. In the end moments of the whole window are restored, and compared with what
the tables held then.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import NamedTuple

from benchmarks.cases import Workplace
from benchmarks.changes import Change
from benchmarks.commands import running_archiver
from benchmarks.dataset import TABLES, rows_for
from benchmarks.measuring import size_of_tree
from benchmarks.peers import clear
from benchmarks.preloaded import Commands
from benchmarks.proving import running_on, sums_of
from benchmarks.retained import (
    INCREMENTALS,
    REFERRING,
    STORED,
    Asked,
    DayEnd,
    Taken,
    aims,
    day_sheet,
    moments_since,
    next_day_seconds,
    notes,
    restored_note,
    to_restore,
    unlike,
)
from benchmarks.shelf import Shelf
from benchmarks.steady import AT_BACKUP, BETWEEN, LATEST, Moment, Pace, SteadyLoad
from benchmarks.story import Told
from fleet.errors import SandboxFailed

DAYS, WINDOW = 40, 30
GRACE_DAYS, PRUNING_DAYS = 1.0, 0.5
UPDATED_A_DAY, APPENDED_A_DAY = 0.01, 0.005  # of all rows
RESTORED = 22
SLACK = 1.3
END_SECONDS = 3.0  # of a day: expire, prune and plans, when the window is full
_RETENTION = """
[retention]
days = {days!r}
grace_hours = {hours!r}
"""

Say = Callable[[str], None]


class Lived(NamedTuple):
    """What the days left: moments, and how long each of them was."""

    moments: list[Moment]
    day_seconds: list[float]


class Side:
    """One of the two repositories, with what was seen of it."""

    def __init__(self, place: Workplace, name: str, backup: str) -> None:
        self.name = name
        self.window = timedelta(days=1)
        self._asked = place.scratch(f"asked-{name}.json")
        self.shelf = Shelf(place, f"days-{name}", backup=backup, archived=True)
        self.commands = Commands(self.shelf.config, place.scratch(f"command-{name}"))
        self.taken: list[Taken] = []
        self.ends: list[DayEnd] = []

    def take(self, verb: str) -> None:
        """A backup."""
        ended = self.commands.run(verb)
        told = ended.report
        self.taken.append(
            Taken(datetime.now(UTC), str(told["label"]), str(told["kind"]), int(told["stored_bytes"]),
                  ended.seconds, told["became_full_because"])
        )  # fmt: skip

    def end_day(self, day: int, since: datetime, day_seconds: float, moments: Sequence[Moment]) -> DayEnd:
        """Expire, prune, and plan those of ``moments`` that are promised still. ``since``: where the window
        begins.
        """
        self.window = datetime.now(UTC) - since
        hours = GRACE_DAYS * day_seconds / 3600
        self.shelf.configure(_RETENTION.format(days=self.window / timedelta(days=1), hours=hours))
        expired = self.commands.run("expire")
        pruned = self.commands.run("prune", str(PRUNING_DAYS * day_seconds))
        at = datetime.now(UTC)
        promised = moments_since(moments, at - self.window)
        self._asked.write_text(json.dumps([moment.at.isoformat() for moment in promised]))
        planned = self.commands.run("plannable", str(self._asked))
        folder = self.shelf.folder
        end = DayEnd(
            day,
            at,
            at - self.window,
            size_of_tree(folder),
            size_of_tree(folder / "archive"),
            sum(1 for path in (folder / "manifests").rglob("*") if path.is_file()),
            int(expired.report["expired"]),
            int(pruned.report["deleted"]),
            len(promised),
            expired.seconds,
            pruned.seconds,
            tuple(planned.report["unplannable"]),
        )
        self.ends.append(end)
        return end


def play(place: Workplace, size_bytes: int, rounds: int, say: Say, *, days: int = DAYS) -> Told:  # noqa: ARG001
    """Live the days. Of fewer than forty three quarters are the window."""
    rows = rows_for(size_bytes)
    window = max(1, days * WINDOW // DAYS)
    change = Change("a day", round(rows * TABLES * UPDATED_A_DAY), round(rows * TABLES * APPENDED_A_DAY))
    place.donor.track_pages()
    # Else a checkpoint would be days old, as days go here, and an incremental would hold all since then.
    place.donor.server.query("SET GLOBAL innodb_max_dirty_pages_pct = 0")
    planned = _day_that_fits(place, say)
    say(f"{days} days of {planned:.1f} s or more, {window} of them in the window")
    sides = (Side(place, STORED, ""), Side(place, REFERRING, 'full = "referring"\nrebase_every = 1000'))
    load = SteadyLoad(place.donor.server, rows, Pace(change))
    failures: list[str] = []
    lived = Lived([], [])
    with _living(place, sides, load):
        try:
            lived = _days(sides, load, days, window, planned, say)
        except SandboxFailed as error:
            failures.append(str(error))
    failures += (f"{side.name}, day {end.day}: {line}"
                 for side in sides for end in side.ends for line in end.unplannable[:3])  # fmt: skip
    asked: list[Asked] = []
    if lived.moments:
        since = max(side.ends[-1].since for side in sides)
        moments = [*lived.moments, load.moment(days, LATEST)]
        asked = to_restore(moments_since(moments, since), RESTORED)
        failures += _restores(place, sides, asked, say)
    ends = {side.name: side.ends for side in sides}
    taken = {side.name: side.taken for side in sides}
    seconds = lived.day_seconds or [planned]
    return Told(
        "retention",
        {
            "a day": f"{mean(seconds):.1f} s in the mean, {max(seconds):.1f} at most, "
            f"{change.updates:,} rows updated, {change.appends:,} appended",
            "window": f"{window} of {days} days as they were lived",
        },
        (),
        (day_sheet(ends),),
        tuple(aims(ends, taken, window)),
        (*notes(ends, taken, window), restored_note(asked)),
        tuple(failures),
    )


@contextmanager
def _living(place: Workplace, sides: Sequence[Side], load: SteadyLoad) -> Generator[None]:
    """Both repositories have an archiver; the load runs. In the end both archives have all of it."""
    with ExitStack() as running:
        for side in sides:
            side.shelf.begin()
            running.enter_context(running_archiver(place, side.shelf))
        load.start()
        try:
            yield
        finally:
            load.stop()
        for side in sides:
            side.commands.run("archive-until", _executed(place))


def _days(sides: Sequence[Side], load: SteadyLoad, days: int, window: int, planned: float, say: Say) -> Lived:
    chance = random.Random(2)
    lived = Lived([], [])
    begins: list[datetime] = []
    with ThreadPoolExecutor(len(sides)) as pool:
        for day in range(1, days + 1):
            began = time.monotonic()
            begins.append(datetime.now(UTC))
            day_seconds = next_day_seconds(planned, lived.day_seconds)
            load.new_day(day_seconds)
            lived.moments.extend(_one_day(sides, load, day, day_seconds, chance))
            _archived(sides, lived.moments[-1])
            since = begins[max(0, day - window)]
            ended = [pool.submit(side.end_day, day, since, day_seconds, lived.moments) for side in sides]
            for end, side in zip([each.result() for each in ended], sides, strict=True):
                say(f"day {day}, {side.name}: {end.held / 1e6:,.0f} MB, {end.backups} backups, "
                    f"{end.points} points planned, {len(end.unplannable)} not")  # fmt: skip
            _wait_until(began + day_seconds)
            lived.day_seconds.append(time.monotonic() - began)
    return lived


def _one_day(
    sides: Sequence[Side], load: SteadyLoad, day: int, day_seconds: float, chance: random.Random
) -> Iterator[Moment]:
    """A day's backups, and the moments after its incrementals; one while they are taken, one between two."""
    began = time.monotonic()
    part = day_seconds / (INCREMENTALS + 1)
    at_backup, between = chance.randrange(INCREMENTALS), chance.randrange(INCREMENTALS)
    _take(sides, "backup")
    for number in range(INCREMENTALS):
        _wait_until(began + (number + 1) * part)
        if number == at_backup:
            with load.still(day, AT_BACKUP) as moment:
                _take(sides, "incremental")
            yield moment
        else:
            _take(sides, "incremental")
            yield load.moment(day)
        if number == between:
            _wait_until(began + (number + 1.5) * part)
            yield load.moment(day, BETWEEN)


def _take(sides: Sequence[Side], verb: str) -> None:
    for side in sides:
        side.take(verb)


def _archived(sides: Sequence[Side], moment: Moment) -> None:
    """Wait until both archives hold what was executed at ``moment``."""
    for side in sides:
        side.commands.run("archive-until", moment.gtids)


def _executed(place: Workplace) -> str:
    (row,) = place.donor.server.query("SELECT @@GLOBAL.gtid_executed AS gtids")
    return str(row["gtids"]).replace("\n", "")


def _day_that_fits(place: Workplace, say: Say) -> float:
    """Seconds of a day in which all of its commands have room, by some that are tried."""
    say("trying how long a day must be")
    side = Side(place, "tried", "")
    side.shelf.begin()
    side.take("backup")
    side.take("backup")
    side.take("incremental")
    side.take("incremental")
    side.shelf.remove()
    full, one = side.taken[1].seconds, side.taken[3].seconds
    return round(max(5.0, 2 * SLACK * (full + INCREMENTALS * one) + END_SECONDS), 1)


def _restores(place: Workplace, sides: Sequence[Side], asked: Sequence[Asked], say: Say) -> list[str]:
    """Restore the moments, and compare what the tables hold then."""
    commands = {side.name: side.commands for side in sides}
    folder = place.scratch("proof")
    found: list[str] = []
    for number, (side, moment, to) in enumerate(asked, start=1):
        say(f"restoring {moment.kind} of day {moment.day} from {side} ({number} of {len(asked)})")
        clear(folder)
        folder.mkdir()
        name = f"{side}, {moment.kind}, {moment.at:%H:%M:%S.%f} of day {moment.day}"
        try:
            commands[side].run("point", str(folder / "data"), to)
            with running_on(folder, place) as server:
                found += unlike(name, moment.sums or {}, sums_of(server))
        except SandboxFailed as error:
            found.append(f"{name}: {error}")
        finally:
            clear(folder)
    return found


def _wait_until(due: float) -> None:
    time.sleep(max(0.0, due - time.monotonic()))
