"""``python -m benchmarks mirror``: how fast a repository is copied to its mirror, and how far that lags.

A backup of the donor lies in a folder. A first ``mirror run --once`` copies it to another folder, and into
the object store; beside it the same copied plainly: ``cp -r``, and boto3's uploads, four files at once. Then
100 transactions a second are committed and archived, while the mirror follows: told is the time from a commit
to the segment that holds it, in the mirror.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from shlex import quote
from typing import NamedTuple

from benchmarks.archive_live import Watcher
from benchmarks.cases import Workplace
from benchmarks.commands import cli_words, printed_json, running, running_archiver
from benchmarks.dataset import rows_for
from benchmarks.donor_cost import PER_SECOND
from benchmarks.measuring import size_of_tree
from benchmarks.ours import SHARD, in_store
from benchmarks.peers import bash, clear
from benchmarks.results import percentile
from benchmarks.shelf import Shelf, joined, measured_step
from benchmarks.story import Aim, Sheet, Step, Told, megabytes, ratio, shown, step_named
from fleet.config import load
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.keys import Keyring
from repository.layout import BinlogFile, SegmentName
from repository.repository import Repository
from repository.stores.opening import open_store

FOLDER, STORE = "into a folder", "into S3"
MIRROR, PLAIN = "mirror", "plain"
TITLES = {
    (FOLDER, MIRROR): "mirror run --once, into a folder",
    (FOLDER, PLAIN): "cp -r, into a folder",
    (STORE, MIRROR): "mirror run --once, into S3",
    (STORE, PLAIN): "boto3, 4 files at once, into S3",
}
LOADED_SECONDS = 40.0
CATCH_UP_SECONDS = 15.0
POLLS = (5.0, 1.0)
_MIRROR = """
[mirror]
poll_seconds = {poll}
{where}
"""

Say = Callable[[str], None]


class Commit(NamedTuple):
    """A transaction that ends at the position ``end`` of a binlog file; ``at`` in Unix seconds."""

    file: BinlogFile
    end: int
    at: float


class Lag(NamedTuple):
    """Seconds from a commit to its segment in the mirror, of so many; ``lost`` were never seen there."""

    poll_seconds: float
    commits: int
    lost: int
    p50: float
    p95: float
    longest: float


def play(place: Workplace, size_bytes: int, rounds: int, say: Say) -> Told:
    """A backup, its copies, then the lag under a load."""
    source = Shelf(place, "mirrored")
    source.begin()
    say("taking the backup")
    steps = [source.take("backup", "backup", "the backup itself", "backup")]
    stored = size_of_tree(source.folder)
    if not steps[0].error:
        steps += _copied(place, source, rounds, say)
    source.remove()
    lags = [_lag(place, rows_for(size_bytes), poll, say) for poll in POLLS]
    return Told(
        "mirror",
        {"the repository": f"{megabytes(stored)} MB stored"},
        tuple(steps),
        (copy_sheet(steps, stored), lag_sheet(lags)),
        tuple(aims(steps)),
        failures=tuple(missed(lags)),
    )


def _copied(place: Workplace, source: Shelf, rounds: int, say: Say) -> Iterator[Step]:
    folder = place.scratch("mirror")
    measured: dict[tuple[str, str], list[Step]] = {}
    for _ in range(rounds):
        for part, where in ((FOLDER, f'url = "file://{folder}"'), (STORE, in_store(place, "mirror"))):
            for name, command in _ways(place, source, part, where).items():
                clear(folder)
                place.empty_store("mirror/")
                say(TITLES[part, name])
                log = place.scratch(f"{name}.log")
                step = measured_step(
                    place, Step(part, name, TITLES[part, name]), command, environ=place.environ(),
                    grows=folder if part == FOLDER else None, store=part == STORE,
                    report=partial(printed_json, log),
                )  # fmt: skip
                measured.setdefault((part, name), []).append(step)
    clear(folder)
    place.empty_store("mirror/")
    yield from (joined(each) for each in measured.values())


def _ways(place: Workplace, source: Shelf, part: str, where: str) -> Mapping[str, tuple[str, ...]]:
    config = place.scratch("mirror.toml")
    config.write_text(source.config.read_text() + _MIRROR.format(poll=1.0, where=where))
    config.chmod(0o600)
    plain = (
        bash(f"cp -r {quote(str(source.folder))} {quote(str(place.scratch('mirror')))}")
        if part == FOLDER
        else (sys.executable, "-m", "benchmarks.transfer", "tree", "mirror", str(source.folder))
    )
    return {MIRROR: cli_words(config, "mirror", "run", "--once", "--anew"), PLAIN: plain}


def _lag(place: Workplace, rows: int, poll: float, say: Say) -> Lag:
    """What is committed for a while, and when each commit came to lie in the mirror."""
    say(f"the mirror's lag under {PER_SECOND} transactions a second, looking every {poll:.0f} s")
    folder = place.scratch("mirror")
    where = _MIRROR.format(poll=poll, where=f'url = "file://{folder}"')
    shelf = Shelf(place, f"lag-{poll:.0f}", more=where, archived=True)
    shelf.begin()
    words = [str(place.donor.server.socket), str(place.scratch("oltp.json")), str(rows), str(PER_SECOND)]
    writers = (sys.executable, "-m", "benchmarks.oltp", *words)
    mirror = cli_words(shelf.config, "mirror", "run")
    with running_archiver(place, shelf), running(mirror, place.environ(), place.scratch("mirror-run.log")):
        time.sleep(3 * poll)
        watcher = Watcher(folder, SHARD)
        began_at = time.time()
        with running(writers, place.environ(), place.scratch("oltp.log")):
            time.sleep(LOADED_SECONDS)
        time.sleep(CATCH_UP_SECONDS)
        seen = watcher.end()
    fleet = load(shelf.config)
    repository = Repository.open(open_store(fleet.repository), Keyring.from_config(fleet.keys))
    commits = [
        Commit(entry.file, entry.transaction.start + entry.transaction.length, committed)
        for entry in Line.of(ShardArchive(repository, SHARD)).transactions()
        if (committed := entry.transaction.committed_at_us / 1e6) >= began_at
    ]
    clear(folder)
    shelf.remove()
    return lag_of(poll, commits, seen)


def lag_of(poll: float, commits: Sequence[Commit], seen: Mapping[SegmentName, float]) -> Lag:
    """``seen``: when each segment came to lie in the mirror."""
    by_file: dict[BinlogFile, list[tuple[int, int, float]]] = {}
    for name, at in sorted(seen.items()):
        by_file.setdefault(name.binlog, []).append((name.start, name.end, at))
    lags: list[float] = []
    for commit in commits:
        held = (at for start, end, at in by_file.get(commit.file, ()) if start < commit.end <= end)
        # Small segments are put together later: the first one that held it counts.
        if (first := min(held, default=None)) is not None:
            lags.append(max(0.0, first - commit.at))
    lags.sort()
    p50, p95, longest = (percentile(lags, percent) if lags else 0.0 for percent in (50, 95, 100))
    return Lag(poll, len(commits), len(commits) - len(lags), p50, p95, longest)


def rate(steps: Sequence[Step], part: str, name: str, stored: int) -> float | None:
    """MB of stored bytes a second."""
    step = step_named(steps, part, name)
    return ratio(stored / 1e6, step.seconds) if step else None


def copy_sheet(steps: Sequence[Step], stored: int) -> Sheet:
    """The mirror beside plain copies, and beside the backup that filled the repository."""
    rows: list[tuple[str, ...]] = []
    for step in steps:
        if step.usage is None:
            continue
        own = rate(steps, step.part, step.name, stored)
        rows.append(
            (
                step.title, shown(step.seconds, 2), shown(own, 0),
                shown(ratio(own, rate(steps, step.part, PLAIN, stored)), 2),
                shown(step.usage.cpu_seconds, 2), shown(step.usage.servers_cpu_seconds.get("store"), 2),
                shown(step.usage.peak_bytes / 1e6, 0),
            )
        )  # fmt: skip
    columns = ("", "wall s", "stored MB/s", "/ plain", "CPU s", "store", "peak MB")
    return Sheet("a first copy", columns, tuple(rows))


def lag_sheet(lags: Sequence[Lag]) -> Sheet:
    """One row for each pause of the mirror's."""
    rows = tuple(
        (
            f"poll_seconds = {lag.poll_seconds:.0f}", shown(lag.commits, 0),
            *(shown(value, 2) for value in (lag.p50, lag.p95, lag.longest)), str(lag.lost),
        )
        for lag in lags
    )  # fmt: skip
    title = f"seconds from a commit to the mirror, {PER_SECOND} transactions a second"
    return Sheet(title, ("", "commits", "p50", "p95", "longest", "never"), rows)


def aims(steps: Sequence[Step]) -> Iterator[Aim]:
    """The mirror keeps up with what fills the repository: it copies faster than a backup stores."""
    backup = step_named(steps, "backup", "backup")
    for part in (FOLDER, STORE):
        mirror = step_named(steps, part, MIRROR)
        value = ratio(mirror.seconds, backup.seconds) if mirror and backup else None
        yield Aim(f"{TITLES[part, MIRROR]}: wall time beside the backup's", value, 1.0)


def missed(lags: Sequence[Lag]) -> Iterator[str]:
    """Commits that were never seen in the mirror."""
    for lag in lags:
        if lag.lost:
            yield f"{lag.lost} of {lag.commits} commits never came to the mirror ({lag.poll_seconds:.0f} s)"
