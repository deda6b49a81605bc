"""``python -m benchmarks chain-restore``: a full and four incrementals restored, beside the full alone.

Each way is restored as files alone, and as a whole with recovery and proof. A chain that restores well takes
as long as its full: every page is read once, from the link that has its newest version. A stored full of the
chain's own moment is beside both: it holds the same data, which CHECK TABLE may need longer for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.cases import Workplace
from benchmarks.changes import Change, apply
from benchmarks.dataset import rows_for
from benchmarks.peers import clear
from benchmarks.proving import differences
from benchmarks.shelf import Shelf, joined
from benchmarks.story import Aim, Sheet, Step, Told, megabytes, ratio, shown, step_named
from repository.catalog import LATEST

INCREMENTALS = 4
CHANGE = Change("2,000 updates and 2,000 rows appended", updates=2_000, appends=2_000)
ALONE, CHAIN = "the full alone", f"and {INCREMENTALS} incrementals"
MOMENT = "a full of that moment"
TITLES = {"fetch": "files alone", "restore": "with its proof"}
COLUMNS = ("wall s", "/ full", "CPU s", "read MB", "wrote MB", "peak MB")

Say = Callable[[str], None]


def play(place: Workplace, size_bytes: int, rounds: int, say: Say) -> Told:
    """Make the chain, restore its two ends ``rounds`` times."""
    rows = rows_for(size_bytes)
    shelf, moment = Shelf(place, "chain"), Shelf(place, "moment")
    taken = list(_chain(shelf, rows, say))
    say(f"taking {MOMENT}")
    moment.begin()
    taken.append(moment.take(MOMENT, "backup", MOMENT, "backup"))
    broken = [step for step in taken if step.error or step.report.get("became_full_because")]
    steps: list[Step] = [*taken]
    if not broken:
        ways = (
            (ALONE, shelf, str(taken[0].report["label"])),
            (CHAIN, shelf, LATEST),
            (MOMENT, moment, LATEST),
        )
        steps += _restores(ways, rounds, say)
    failures = (
        *(f"{step.part}: {step.report['became_full_because']}" for step in broken if not step.error),
        *(() if broken else differences(shelf, place, say)),
    )
    return Told(
        "chain-restore",
        {"between two backups": CHANGE.name},
        tuple(steps),
        (chain_sheet(taken), restore_sheet(steps)),
        tuple(aims(steps)),
        failures=failures,
    )


def _chain(shelf: Shelf, rows: int, say: Say) -> Iterator[Step]:
    shelf.begin()
    say("taking the full")
    yield shelf.take("full", "backup", "full", "backup")
    for number in range(1, INCREMENTALS + 1):
        apply(shelf.place.donor.server, CHANGE, rows, number)
        say(f"taking incremental {number}")
        yield shelf.take(f"incremental {number}", "backup", f"incremental {number}", "incremental")


def _restores(ways: Sequence[tuple[str, Shelf, str]], rounds: int, say: Say) -> Iterator[Step]:
    measured: dict[tuple[str, str], list[Step]] = {}
    for number in range(rounds):
        for verb, title in TITLES.items():
            for part, shelf, label in ways:
                # A sample of tables goes by the label: it would be other tables each time.
                words = (label, "all") if verb == "restore" else (label,)
                target = shelf.place.scratch("chain-target")
                say(f"{part}, {title}" + (f", round {number + 1}" if rounds > 1 else ""))
                step = shelf.bring(part, verb, title, verb, target, *words)
                measured.setdefault((part, verb), []).append(step)
                clear(target)
    yield from (joined(each) for each in measured.values())


def chain_sheet(taken: Sequence[Step]) -> Sheet:
    """The chain's links: what each stored."""
    rows = tuple(
        (step.title, shown(step.seconds), megabytes(step.added_bytes)) for step in taken if step.usages
    )
    return Sheet("the chain", ("", "wall s", "stored MB"), rows)


def restore_sheet(steps: Sequence[Step]) -> Sheet:
    """Each way to restore: the full alone, and the chain beside it."""
    rows: list[tuple[str, ...]] = []
    for verb, title in TITLES.items():
        alone = step_named(steps, ALONE, verb)
        for part in (ALONE, CHAIN, MOMENT):
            step = step_named(steps, part, verb)
            if step is None or step.usage is None:
                continue
            rows.append(
                (
                    f"{part}, {title}",
                    shown(step.seconds),
                    shown(ratio(step.seconds, alone.seconds if alone else None), 2),
                    shown(step.usage.cpu_seconds),
                    megabytes(step.report.get("read_bytes")),
                    megabytes(step.report.get("written_bytes")),
                    shown(step.usage.peak_bytes / 1e6, 0),
                )
            )
    return Sheet("restores", ("", *COLUMNS), tuple(rows))


def aims(steps: Sequence[Step]) -> Iterator[Aim]:
    """A chain takes at most a quarter longer than its full."""
    for verb, title in TITLES.items():
        alone, chain = (step_named(steps, part, verb) for part in (ALONE, CHAIN))
        value = ratio(chain.seconds, alone.seconds) if alone and chain else None
        yield Aim(f"a chain beside its full, {title}: wall time", value, 1.25)
