"""``python -m benchmarks``: one donor, one object store, every case, one table; or one of the stories."""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks import report, story_report
from benchmarks.cases import BUCKET, Case, Workplace
from benchmarks.dataset import rows_for
from benchmarks.donor import running_donor
from benchmarks.donor_cost import donor_costs
from benchmarks.measuring import settle, size_of_tree
from benchmarks.ours import our_cases
from benchmarks.peers import peer_cases
from benchmarks.results import Measured
from benchmarks.running import run_cases
from benchmarks.selection import Selection, room_for, select, size_for
from benchmarks.stories import LONE_STORIES, STORIES
from benchmarks.tools import find_tools
from fleet.errors import SandboxFailed, ToolError, UsageError
from infra.sandbox.files import write_private
from infra.sandbox.objectstore import SeaweedServer

_STEADY_SECONDS = 20.0
_NUMBERS = ("days", "minutes", "shards", "seed", "deployments")

Say = Callable[[str], None]


def main() -> int:
    """Measure, print the tables, write the JSON. Returns the exit code."""
    arguments = _arguments()
    console = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        console.print(f"· {text}", style="dim", markup=False)

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if not arguments.json.absolute().parent.is_dir():
            raise UsageError(
                f"{arguments.json} lies in no directory", hint="Name a --json that can be written."
            )
        found = _all_cases(arguments, say) if arguments.story is None else _story(arguments, say)
    except ToolError as error:
        console.print(f"error: {error.message}", style="red", markup=False)
        if error.hint:
            console.print(f"hint: {error.hint}", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    found.show(Console(width=report.WIDTH, highlight=False))
    arguments.json.write_text(json.dumps(found.document, indent=2) + "\n")
    say(f"figures of every round are in {arguments.json}")
    return 1 if found.failed else 0


class _Found(NamedTuple):
    """What a run prints, what it writes, and whether anything of it failed."""

    show: Callable[[Console], None]
    document: dict[str, Any]
    failed: bool


def _all_cases(arguments: argparse.Namespace, say: Say) -> _Found:
    size_bytes = (arguments.size_mb or size_for(arguments.only)) * 10**6
    with _scratch(arguments.dir, size_bytes * room_for(arguments.only)) as directory:
        measured = _measure(directory, size_bytes, arguments.only, arguments.rounds, say)
    failed = any(outcome.error for outcome in measured.outcomes)
    return _Found(partial(report.show, measured), report.as_json(measured), failed)


def _story(arguments: argparse.Namespace, say: Say) -> _Found:
    if arguments.only:
        raise UsageError(
            "--only names cases, and a story has none", hint="Give a story, or --only, but not both."
        )
    if arguments.story in LONE_STORIES:
        return _lone_story(arguments, say)
    story = STORIES[arguments.story]
    size_bytes = (arguments.size_mb or story.size_mb) * 10**6
    with (
        _scratch(arguments.dir, int(size_bytes * story.room)) as directory,
        _workplace(directory, size_bytes, say) as place,
    ):
        data_bytes, dropped = _warm_up(place, say)
        told = story.told(place, size_bytes, arguments.rounds, say, arguments.days)
        facts = _facts(place, data_bytes, arguments.rounds, dropped)
    told = replace(told, facts={**facts, **told.facts})
    return _Found(partial(story_report.show, told), story_report.as_json(told), bool(told.failed))


def _lone_story(arguments: argparse.Namespace, say: Say) -> _Found:
    story = LONE_STORIES[arguments.story]
    with _scratch(arguments.dir, story.room_bytes) as directory:
        told = story.told(directory, {name: getattr(arguments, name) for name in _NUMBERS}, say)
    told = replace(told, facts={"machine": _machine(), **told.facts})
    return _Found(partial(story_report.show, told), story_report.as_json(told), bool(told.failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "story",
        nargs="?",
        choices=[*STORIES, *LONE_STORIES],
        help="one story; default: every case beside its peers",
    )
    parser.add_argument(
        "--size-mb",
        type=int,
        help="data files of the donor (2048; 20480 for memory-large, 256 for referring, 48 for retention)",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME",
        help="backup, restore, donor-cost, memory-large, or the name of a case; may be repeated",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=1, help="how often each case runs; medians are shown")
    parser.add_argument(
        "--days", type=int, help="days that retention lives (40; three quarters are the window)"
    )
    parser.add_argument("--minutes", type=int, help="how long a month is (20)")
    parser.add_argument("--shards", type=int, help="of the month (8)")
    parser.add_argument("--seed", type=int, help="by which victims and moments of a month are chosen (7)")
    parser.add_argument("--deployments", type=int, help="that are scheduled (500)")
    parser.add_argument(
        "--dir", type=Path, help="an empty directory for everything (default: a temporary one)"
    )
    parser.add_argument("--json", type=Path, help="where all figures go (benchmark[-STORY].json)")
    arguments = parser.parse_args()
    if arguments.json is None:
        arguments.json = Path(f"benchmark-{arguments.story}.json" if arguments.story else "benchmark.json")
    return arguments


def _measure(directory: Path, size_bytes: int, only: Sequence[str], rounds: int, say: Say) -> Measured:
    with _workplace(directory, size_bytes, say) as place:
        cases = [*our_cases(place), *peer_cases(place)]
        selection = select(cases, only)
        data_bytes, dropped = _warm_up(place, say)
        outcomes = run_cases(place, cases, selection.cases, rounds, say)
        costs = donor_costs(
            place, _beside_load(cases, selection), rows_for(size_bytes), _STEADY_SECONDS, say
        ) if selection.beside_load else []  # fmt: skip
    facts = _facts(place, data_bytes, rounds, dropped)
    missing = tuple(tool.missing_because for tool in place.tools.values() if tool.path is None)
    return Measured(data_bytes, facts, tuple(outcomes), tuple(costs), missing)


@contextmanager
def _workplace(directory: Path, size_bytes: int, say: Say) -> Generator[Workplace]:
    """The tools, a donor with data, and an object store."""
    tools = find_tools(say)
    with running_donor(directory, size_bytes, say) as donor, _running_store(directory) as store:
        place = Workplace(directory, donor, store, tools)
        write_private(place.secret, secrets.token_hex(32).encode())
        yield place


def _beside_load(cases: Sequence[Case], selection: Selection) -> list[Case]:
    return [case for case in cases if case.name in selection.beside_load]


def _warm_up(place: Workplace, say: Say) -> tuple[int, bool]:
    """Copy the donor once, unmeasured: every page was read once, and the size of a physical copy is known."""
    say("warming up")
    target = place.scratch("warm-up")
    connection = place.donor.server.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CLONE LOCAL DATA DIRECTORY = '{target}'")
    finally:
        connection.close()
    data_bytes = size_of_tree(target)
    shutil.rmtree(target)
    return data_bytes, settle()


@contextmanager
def _running_store(directory: Path) -> Generator[SeaweedServer]:
    store = SeaweedServer(directory / "store", owner=directory)
    try:
        store.start()
        store.create_bucket(BUCKET, versioning=False)
        yield store
    finally:
        store.remove()


@contextmanager
def _scratch(directory: Path | None, needed_bytes: int) -> Generator[Path]:
    if directory is None:
        made = Path(tempfile.mkdtemp(prefix="backstay-benchmark-"))
    else:
        made = directory.absolute()
        made.mkdir(parents=True, exist_ok=True)
        if any(made.iterdir()):
            raise UsageError(f"{made} is not empty", hint="Name a directory that is empty or not there yet.")
    try:
        free = shutil.disk_usage(made).free
        if free < needed_bytes:
            raise SandboxFailed(
                f"{made} has {free / 1e9:.0f} GB free, {needed_bytes / 1e9:.0f} GB may be needed",
                hint="Use a smaller --size-mb, or another --dir.",
            )
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _facts(place: Workplace, data_bytes: int, rounds: int, dropped: bool) -> dict[str, str]:
    versions = {tool.name: tool.version for tool in place.tools.values() if tool.path}
    return {
        "data": f"{data_bytes / 1e6:,.0f} MB",
        "rounds": str(rounds),
        "page cache": "dropped before each run" if dropped else "not dropped",
        "machine": _machine(),
        "MySQL": place.donor.server.distribution.version,
        **versions,
    }


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{os.cpu_count()} cores, {memory / 1e9:.0f} GB, {_processor()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
