"""``python -m benchmarks verify``: how fast everything that is stored of a backup is read again.

One backup of the donor in a folder, one in the object store; each is verified in full, and quickly. The rate
is of stored bytes: what ``--full`` fetches, unseals, decompresses and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from benchmarks.cases import Workplace
from benchmarks.commands import cli_words, printed_json
from benchmarks.ours import SHARD, in_store
from benchmarks.shelf import Shelf, joined, measured_step
from benchmarks.story import Aim, Sheet, Step, Told, megabytes, ratio, shown, step_named

FILES, S3 = "from files", "from S3"
MODES = ("full", "quick")
MB_PER_SECOND = 300.0

Say = Callable[[str], None]


def play(place: Workplace, size_bytes: int, rounds: int, say: Say) -> Told:  # noqa: ARG001 (the donor's own)
    """Back up twice, verify four ways, ``rounds`` times."""
    shelves = {
        FILES: Shelf(place, "verify-files"),
        S3: Shelf(place, "verify-s3", repository=in_store(place, "verify")),
    }
    steps: list[Step] = []
    for part, shelf in shelves.items():
        say(f"taking the backup that is read {part}")
        shelf.begin()
        steps.append(shelf.take(part, "backup", "full", "backup"))
    if not any(step.error for step in steps):
        steps += _verified(place, shelves, rounds, say)
    return Told(
        "verify", {}, tuple(steps), (sheet(steps),), tuple(aims(steps)), failures=tuple(unsound(steps))
    )


def _verified(place: Workplace, shelves: Mapping[str, Shelf], rounds: int, say: Say) -> Iterator[Step]:
    measured: dict[tuple[str, str], list[Step]] = {}
    for number in range(rounds):
        for part, shelf in shelves.items():
            for mode in MODES:
                say(f"--{mode} {part}" + (f", round {number + 1}" if rounds > 1 else ""))
                step = Step(part, mode, f"verify --{mode}, {part}")
                log = place.scratch(f"{mode}.log")
                words = cli_words(shelf.config, "--json", "verify", SHARD, f"--{mode}")
                done = measured_step(
                    place, step, words, environ=place.environ(), grows=None,
                    report=partial(printed_json, log), store=part == S3,
                )  # fmt: skip
                measured.setdefault((part, mode), []).append(replace(done, added_bytes=0))
    yield from (joined(each) for each in measured.values())


def rate(steps: Sequence[Step], part: str, mode: str) -> float | None:
    """MB of the backup's stored bytes a second."""
    backup, step = step_named(steps, part, "backup"), step_named(steps, part, mode)
    if backup is None or step is None:
        return None
    return ratio(float(backup.report["stored_bytes"]) / 1e6, step.seconds)


def sheet(steps: Sequence[Step]) -> Sheet:
    """Each way to verify. ``--quick`` reads no packs, so it has no rate."""
    rows: list[tuple[str, ...]] = []
    for part in (FILES, S3):
        backup = step_named(steps, part, "backup")
        for mode in MODES:
            step = step_named(steps, part, mode)
            if backup is None or step is None or step.usage is None:
                continue
            usage = step.usage
            rows.append(
                (
                    step.title, megabytes(float(backup.report["stored_bytes"])), shown(step.seconds, 2),
                    shown(rate(steps, part, mode) if mode == "full" else None, 0),
                    shown(usage.cpu_seconds, 2), shown(usage.servers_cpu_seconds.get("store"), 2),
                    shown(usage.peak_bytes / 1e6, 0),
                )
            )  # fmt: skip
    return Sheet("verify", ("", "stored MB", "wall s", "MB/s", "CPU s", "store", "peak MB"), tuple(rows))


def aims(steps: Sequence[Step]) -> Iterator[Aim]:
    """All is read at 300 MB of stored data a second."""
    for part in (FILES, S3):
        yield Aim(f"verify --full, {part}: MB/s", rate(steps, part, "full"), MB_PER_SECOND, at_least=True)


def unsound(steps: Sequence[Step]) -> Iterator[str]:
    """What was found to be damaged, though nothing was."""
    for step in steps:
        if step.name in MODES and step.report.get("damages"):
            yield f"{step.title}: {step.report['damages']}"
