"""``python -m benchmarks referring``: ten days of backups, fulls stored against fulls that refer.

A day is a full and three incrementals, six hours of load before each. Both repositories get a backup of the
same donor each time. At the end of each day its newest backup is restored from both and compared with the
donor as it was. Then the last chain of the stored fulls is consolidated, and what that makes is restored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from benchmarks.cases import Workplace
from benchmarks.changes import Change, apply
from benchmarks.dataset import TABLES, rows_for
from benchmarks.proving import differences
from benchmarks.shelf import Shelf
from benchmarks.story import Sheet, Step, Told, megabytes, ratio, shown

DAYS, A_DAY = 10, 4
STORED, REFERRING = "stored", "referring"
UPDATED_A_DAY, APPENDED_A_DAY = 100, 100  # one row of so many

Say = Callable[[str], None]


def six_hours(rows: int) -> Change:
    """What happens between two backups: in a day one row of a hundred is updated, and as many are new."""
    total = rows * TABLES
    return Change(
        "six hours of load",
        updates=total // UPDATED_A_DAY // A_DAY,
        appends=total // APPENDED_A_DAY // A_DAY,
    )


def play(place: Workplace, size_bytes: int, rounds: int, say: Say) -> Told:  # noqa: ARG001 (ten days once)
    """Live the ten days."""
    rows = rows_for(size_bytes)
    place.donor.track_pages()
    shelves = (Shelf(place, STORED), Shelf(place, REFERRING, backup='full = "referring"\nrebase_every = 100'))
    for shelf in shelves:
        shelf.begin()
    change = six_hours(rows)
    steps: list[Step] = []
    failures: list[str] = []
    for day in range(1, DAYS + 1):
        say(f"day {day}")
        for number in range(A_DAY):
            apply(place.donor.server, change, rows, day * A_DAY + number)
            steps += (_backup(shelf, day, number) for shelf in shelves)
        for shelf in shelves:
            failures += differences(shelf, place, say)
    stored = shelves[0]
    say("consolidating the last chain")
    last = stored.take("end", "consolidate", "consolidate the last chain", "consolidate")
    steps.append(last)
    if not last.error:
        failures += differences(stored, place, say, label=str(last.report["label"]))
    return Told(
        "referring",
        {"each six hours": f"{change.updates:,} rows updated, {change.appends:,} appended"},
        tuple(steps),
        (day_sheet(steps), kind_sheet(steps)),
        notes=tuple(notes(steps)),
        failures=tuple(failures),
    )


def _backup(shelf: Shelf, day: int, number: int) -> Step:
    verb = "incremental" if number else "backup"
    return shelf.take(f"day {day}", shelf.name, f"{shelf.name}, {verb} {day}.{number}", verb)


def held(steps: Sequence[Step], name: str) -> list[int]:
    """Bytes in a repository at the end of each day."""
    days = [sum(step.added_bytes for step in steps if (step.part, step.name) == (f"day {day}", name))
            for day in range(1, DAYS + 1)]  # fmt: skip
    return [sum(days[: end + 1]) for end in range(DAYS)]


def day_sheet(steps: Sequence[Step]) -> Sheet:
    """What both repositories hold at each day's end, and by how much they grew."""
    stored, referring = held(steps, STORED), held(steps, REFERRING)
    rows = [
        (
            f"day {day + 1}", megabytes(stored[day]), megabytes(referring[day]),
            shown(ratio(referring[day], stored[day]), 2),
            megabytes(stored[day] - before[0]), megabytes(referring[day] - before[1]),
        )
        for day, before in enumerate([(0, 0), *zip(stored, referring, strict=True)][:DAYS])
    ]  # fmt: skip
    columns = ("", "stored MB", "referring MB", "ratio", "grew, stored", "grew, referring")
    return Sheet("held at the end of the day", columns, tuple(rows))


def kind_sheet(steps: Sequence[Step]) -> Sheet:
    """What a full and an incremental take, from the second day on, and the consolidation."""
    rows: list[tuple[str, ...]] = []
    for name in (STORED, REFERRING):
        for kind in ("full", "incremental"):
            of_kind = [
                step
                for step in steps
                if step.name == name and step.report.get("kind") == kind and step.part != "day 1"
            ]
            rows += _mean(f"{kind}, in the repository of {name} fulls", of_kind)
    rows += _mean("consolidate the last chain", [step for step in steps if step.name == "consolidate"])
    columns = ("mean of a backup from day 2 on", "backups", "wall s", "CPU s", "stored MB", "peak MB")
    return Sheet("backups by kind", columns, tuple(rows))


def _mean(title: str, steps: Sequence[Step]) -> Iterator[tuple[str, ...]]:
    done = [(step, step.usage) for step in steps if step.usage]
    if done:
        count = len(done)
        yield (
            title,
            str(count),
            shown(sum(usage.seconds for _, usage in done) / count),
            shown(sum(usage.cpu_seconds for _, usage in done) / count),
            megabytes(sum(step.added_bytes for step, _ in done) / count),
            shown(max(usage.peak_bytes for _, usage in done) / 1e6, 0),
        )


def notes(steps: Sequence[Step]) -> Iterator[str]:
    """Growth from the second day on, and what was asked to store less than a full, and did not."""
    for name in (STORED, REFERRING):
        days = held(steps, name)
        grown = [after - before for before, after in pairwise(days)]
        yield f"{name}: {megabytes(sum(grown) / len(grown))} MB a day from the second day on"
    reasons = Counter(
        step.report["became_full_because"] for step in steps if step.report.get("became_full_because")
    )
    for reason, count in reasons.items():
        yield f"{count} of {len(steps)} backups became a stored full, because {reason}"
