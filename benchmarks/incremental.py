"""``python -m benchmarks incremental``: what an incremental stores and how long it takes.

After each change the same donor is backed up in all ways: an incremental with and without donor-side saving,
a full that refers, a stored full, and restic on one more copy of the donor. Each way has a repository of its
own, in which its backups so far lie. In the end the newest backup of each of ours is restored and compared
with the donor, table by table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.cases import Workplace
from benchmarks.changes import Change, apply, usual_changes
from benchmarks.dataset import TABLES, rows_for
from benchmarks.proving import differences
from benchmarks.shelf import ResticShelf, Shelf
from benchmarks.story import Aim, Sheet, Step, Told, megabytes, ratio, shown, step_named

FULL, PLAIN, SAVING, REFERRING = "full", "incremental", "saving", "referring"
FIRST = "the first backup"
TITLES = {
    FULL: "full, stored",
    PLAIN: "incremental",
    SAVING: "incremental, with saving",
    REFERRING: "full that refers, with saving",
}
COLUMNS = ("wall s", "/ full", "CPU s", "donor", "recv MB", "stored MB", "/ restic", "peak MB")

Say = Callable[[str], None]


def play(place: Workplace, size_bytes: int, rounds: int, say: Say) -> Told:  # noqa: ARG001 (no data twice)
    """Every change, every way."""
    rows = rows_for(size_bytes)
    changes = usual_changes(rows)
    place.donor.track_pages()
    ways = _Ways(place, say)
    steps = list(ways.first())
    for seed, change in enumerate(changes):
        say(f"changing data: {change.name}")
        apply(place.donor.server, change, rows, seed)
        steps += ways.all_of(change)
    failures = tuple(failure for shelf in ways.growing for failure in differences(shelf, place, say))
    return Told(
        "incremental",
        {"updates": "of a row's text and of its indexed number"},
        tuple(steps),
        tuple(sheet(part, steps) for part in (FIRST, *(change.name for change in changes))),
        tuple(aims(steps, changes)),
        notes=tuple(notes(steps)),
        failures=failures,
    )


class _Ways:
    """The repositories: three of ours that grow, one for each stored full, restic's."""

    def __init__(self, place: Workplace, say: Say) -> None:
        self._say = say
        self._full = Shelf(place, FULL)
        self._plain = Shelf(place, PLAIN, backup='donor_saving = "off"')
        self._saving = Shelf(place, SAVING)
        self._referring = Shelf(place, REFERRING, backup='full = "referring"\nrebase_every = 100')
        self._restic = ResticShelf(place) if place.tools["restic"].path else None

    @property
    def growing(self) -> tuple[Shelf, ...]:
        return (self._plain, self._saving, self._referring)

    def first(self) -> Iterator[Step]:
        """The full that the others build on, and restic's first."""
        self._full.begin()
        self._say(f"{FIRST}: {TITLES[FULL]}")
        yield self._full.take(FIRST, FULL, TITLES[FULL], "backup")
        for shelf in self.growing:
            shelf.begin(holding=self._full)
        if self._restic:
            self._restic.begin()
            self._say(f"{FIRST}: restic")
            yield self._restic.take(FIRST)

    def all_of(self, change: Change) -> Iterator[Step]:
        """One backup of each way."""
        self._full.begin()
        for shelf, verb in (
            (self._full, "backup"),
            (self._plain, "incremental"),
            (self._saving, "incremental"),
            (self._referring, "backup"),
        ):
            self._say(f"{change.name}: {TITLES[shelf.name]}")
            yield shelf.take(change.name, shelf.name, TITLES[shelf.name], verb)
        self._full.remove()
        if self._restic:
            self._say(f"{change.name}: restic")
            yield self._restic.take(change.name)


def sheet(part: str, steps: Sequence[Step]) -> Sheet:
    """One change: a row a way, beside a stored full of the same data and beside restic."""
    full, restic = step_named(steps, part, FULL), step_named(steps, part, "restic")
    rows: list[tuple[str, ...]] = []
    for step in steps:
        usage = step.usage
        if step.part != part or usage is None:
            continue
        beside_restic = ratio(step.added_bytes, restic.added_bytes) if restic else None
        rows.append(
            (
                step.title,
                shown(usage.seconds),
                shown(ratio(usage.seconds, full.seconds if full else None), 2),
                shown(usage.cpu_seconds),
                shown(usage.servers_cpu_seconds.get("donor")),
                megabytes(step.report.get("received_bytes")),
                megabytes(step.added_bytes),
                shown(beside_restic, 2),
                shown(usage.peak_bytes / 1e6, 0),
            )
        )
    return Sheet(part, ("", *COLUMNS), tuple(rows))


def aims(steps: Sequence[Step], changes: Sequence[Change]) -> Iterator[Aim]:
    """Bytes beside restic's for 2,000 updates, and time beside a full's for changes in few tables."""
    for change in changes:
        few = len(change.tables) < TABLES
        plain, saving, full, restic = (
            step_named(steps, change.name, name) for name in (PLAIN, SAVING, FULL, "restic")
        )
        if change.updates == 2_000 and not few and restic:
            value = ratio(plain.added_bytes, restic.added_bytes) if plain else None
            yield Aim(f"{change.name}: bytes stored beside restic", value, 0.5)
        if few and change == changes[-1]:
            value = ratio(saving.seconds, full.seconds) if saving and full else None
            yield Aim(f"{change.name}: wall time with saving beside a full", value, 0.5)


def notes(steps: Sequence[Step]) -> Iterator[str]:
    """What our backups told that a reader of the figures must know."""
    for step in steps:
        if reason := step.report.get("became_full_because"):
            yield f"{step.part}, {step.title}: became a full, because {reason}"
        elif step.name == SAVING and step.usages and not step.report.get("skipped_bytes"):
            yield f"{step.part}, {step.title}: nothing was skipped ({step.report.get('saving')})"
        if step.report.get("damaged_pages"):
            yield f"{step.part}, {step.title}: {step.report['damaged_pages']} damaged pages"
