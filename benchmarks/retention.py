"""``python -m benchmarks retention``: a window of thirty days, lived in minutes, and ten days more.

A day is some seconds long. Each has a full and four incrementals of a small shard under a steady load, in a
repository of stored fulls and in one of fulls that refer, both with an archiver that runs all the time. At
its end ``expire`` and ``prune`` run, and every moment that the window promises is planned again. Window,
grace time and the time between a manifest's deletion and its packs' are shortened by the same measure. In the
end twenty moments of the window are restored, and compared with what the tables held then.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

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
    DayEnd,
    Taken,
    aims,
    day_sheet,
    late,
    moments_since,
    notes,
    unlike,
)
from benchmarks.shelf import Shelf
from benchmarks.steady import Moment, Pace, SteadyLoad
from benchmarks.story import Told
from fleet.errors import SandboxFailed

DAYS, WINDOW = 40, 30
GRACE_DAYS, PRUNING_DAYS = 1.0, 0.5
UPDATED_A_DAY, APPENDED_A_DAY = 0.01, 0.005  # of all rows
RESTORED = 20
SLACK = 1.3
END_SECONDS = 3.0  # of a day: expire, prune and plans, when the window is full
_RETENTION = """
[retention]
days = {days!r}
grace_hours = {hours!r}
"""

Say = Callable[[str], None]


class Side:
    """One of the two repositories, with what was seen of it."""

    def __init__(self, place: Workplace, name: str, day_seconds: float, window: int, backup: str) -> None:
        self.name = name
        self.window = timedelta(seconds=window * day_seconds)
        self._asked = place.scratch(f"asked-{name}.json")
        retention = _RETENTION.format(
            days=window * day_seconds / 86400, hours=GRACE_DAYS * day_seconds / 3600
        )
        self.shelf = Shelf(place, f"days-{name}", backup=backup, more=retention, archived=True)
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

    def end_day(self, day: int, pruning_seconds: float, moments: Sequence[Moment]) -> DayEnd:
        """Expire, prune, and plan those of ``moments`` that are promised still."""
        expired = self.commands.run("expire")
        pruned = self.commands.run("prune", str(pruning_seconds))
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
    day_seconds = _day_that_fits(place, say)
    say(f"{days} days of {day_seconds:.1f} s, {window} of them in the window")
    sides = (
        Side(place, STORED, day_seconds, window, ""),
        Side(place, REFERRING, day_seconds, window, 'full = "referring"\nrebase_every = 1000'),
    )
    began = time.monotonic()
    failures: list[str] = []
    with _living(place, sides, SteadyLoad(place.donor.server, rows, Pace(change, day_seconds))) as load:
        try:
            moments = _days(sides, load, days, day_seconds, say)
        except SandboxFailed as error:
            moments = []
            failures.append(str(error))
        lived = time.monotonic() - began
    failures += (f"{side.name}, day {end.day}: {line}"
                 for side in sides for end in side.ends for line in end.unplannable[:3])  # fmt: skip
    if moments:
        since = max(side.ends[-1].since for side in sides)
        failures += _restores(place, sides, moments_since(moments, since), say)
    ends = {side.name: side.ends for side in sides}
    taken = {side.name: side.taken for side in sides}
    return Told(
        "retention",
        {
            "a day": f"{lived / max(1, len(sides[0].ends)):.1f} s lived, {day_seconds:.1f} s planned, "
            f"{change.updates:,} rows updated, {change.appends:,} appended",
            "window": f"{window} of {days} days as they were planned",
        },
        (),
        (day_sheet(ends),),
        tuple(aims(ends, taken, window)),
        (*notes(ends, taken, window), *late(lived / max(1, len(sides[0].ends)), day_seconds)),
        tuple(failures),
    )


@contextmanager
def _living(place: Workplace, sides: Sequence[Side], load: SteadyLoad) -> Generator[SteadyLoad]:
    """Both repositories have an archiver; the load runs."""
    with ExitStack() as running:
        for side in sides:
            side.shelf.begin()
            running.enter_context(running_archiver(place, side.shelf))
        load.start()
        try:
            yield load
        finally:
            load.stop()
        for side in sides:
            side.commands.run("archive-until", _executed(place))


def _days(sides: Sequence[Side], load: SteadyLoad, days: int, day_seconds: float, say: Say) -> list[Moment]:
    chance = random.Random(2)
    moments: list[Moment] = []
    began = time.monotonic()
    with ThreadPoolExecutor(len(sides)) as pool:
        for day in range(1, days + 1):
            for side in sides:
                side.take("backup")
            summed = chance.randrange(INCREMENTALS)
            for number in range(INCREMENTALS):
                _wait_until(began + (day - 1 + (number + 1) / (INCREMENTALS + 1)) * day_seconds)
                for side in sides:
                    side.take("incremental")
                moments.append(load.moment(day, with_sums=number == summed))
            _archived(sides, moments[-1])
            ended = [pool.submit(side.end_day, day, PRUNING_DAYS * day_seconds, moments) for side in sides]
            for end, side in zip([each.result() for each in ended], sides, strict=True):
                say(f"day {day}, {side.name}: {end.held / 1e6:,.0f} MB, {end.backups} backups, "
                    f"{end.points} points planned, {len(end.unplannable)} not")  # fmt: skip
            _wait_until(began + day * day_seconds)
    return moments


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
    side = Side(place, "tried", 1.0, 1, "")
    side.shelf.begin()
    side.take("backup")
    side.take("backup")
    side.take("incremental")
    side.take("incremental")
    side.shelf.remove()
    full, one = side.taken[1].seconds, side.taken[3].seconds
    return round(max(5.0, 2 * SLACK * (full + INCREMENTALS * one) + END_SECONDS), 1)


def _restores(place: Workplace, sides: Sequence[Side], moments: Sequence[Moment], say: Say) -> list[str]:
    """Restore moments in turn from both repositories, half by time and half by GTID set, and compare."""
    summed = [moment for moment in moments if moment.sums is not None]
    chosen = random.Random(3).sample(summed, min(RESTORED, len(summed)))
    folder = place.scratch("proof")
    found: list[str] = []
    for number, moment in enumerate(chosen):
        side = sides[number % len(sides)]
        to = moment.at.isoformat() if number % 4 < 2 else moment.gtids
        say(f"restoring a moment of day {moment.day} from {side.name} ({number + 1} of {len(chosen)})")
        clear(folder)
        folder.mkdir()
        name = f"{side.name}, {moment.at:%H:%M:%S.%f} of day {moment.day}"
        try:
            side.commands.run("point", str(folder / "data"), to)
            with running_on(folder, place) as server:
                found += unlike(name, moment.sums or {}, sums_of(server))
        except SandboxFailed as error:
            found.append(f"{name}: {error}")
        finally:
            clear(folder)
    return found


def _wait_until(due: float) -> None:
    time.sleep(max(0.0, due - time.monotonic()))
