"""``python -m benchmarks.archive_live``: what an archive costs a busy source, and how far it lags.

One server, eight clients that insert 250-byte rows as fast as they are let, and an archiver in a process of
its own that stores into a folder. Each mode in its turn, and once nobody archives. Told are the clients'
commits and their latency, the time from a commit (as the log says) to the segment that holds it (as the
folder says), and the archiver's share of a core and most memory.
"""

from __future__ import annotations

import argparse
import bisect
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.rpo import MODES, fleet_of, start_archiver
from fleet.clock import SystemClock
from infra.sandbox.distribution import MysqlDistribution, find_mysql
from infra.sandbox.latency import Latencies, LatencySummary
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.keys import Keyring
from repository.layout import SegmentName, parse_segment
from repository.repository import Repository
from repository.stores.opening import open_store

CLIENTS = 8
NOBODY = "nobody"
PATIENCE_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


class Live(NamedTuple):
    """Latencies in seconds; ``lags`` are p50, p95 and longest, None while nobody archives."""

    mode: str
    per_second: float
    commit: LatencySummary
    lags: tuple[float, float, float] | None
    core_share: float
    peak_mb: float
    falls: int


def main() -> int:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="backstay-live-", dir=arguments.dir))
    measured: list[Live] = []
    try:
        for mode in (NOBODY, *MODES):
            place = folder / mode.replace(" ", "-")
            place.mkdir()
            measured.append(play(place, find_mysql(), mode, arguments.seconds))
            Console(stderr=True, highlight=False).print(f"· {mode}", style="dim")
            shutil.rmtree(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Console().print(table(measured))
    if arguments.json:
        arguments.json.write_text(json.dumps([one._asdict() for one in measured], indent=1) + "\n")
    return 0


def play(place: Path, distribution: MysqlDistribution, mode: str, seconds: float) -> Live:
    """One mode: warm up, write for ``seconds``, let the archiver finish, and reckon."""
    server = start_scratch_server(place, distribution)
    try:
        server.query("CREATE DATABASE live")
        server.query("CREATE TABLE live.rows (id BIGINT PRIMARY KEY AUTO_INCREMENT, pad VARCHAR(300))")
        if mode == NOBODY:
            work = Work(server, seconds)
            return Live(mode, work.per_second, work.latency, None, 0.0, 0.0, 0)
        fleet = fleet_of(server, place, next(one for one in MODES if one == mode), None)
        repository = Repository.create(
            open_store(fleet.repository), Keyring.from_config(fleet.keys), SystemClock()
        )
        if mode != "async":
            server.query("SET GLOBAL rpl_semi_sync_source_timeout = 60000")
            server.query("SET GLOBAL rpl_semi_sync_source_enabled = 1")
        archiver = start_archiver(fleet, place)
        watcher = Watcher(place / "repository")
        try:
            _wait_for_text(place / "archiver.log", "following")
            before = _cpu_seconds(archiver.pid)
            work = Work(server, seconds)
            share = (_cpu_seconds(archiver.pid) - before) / work.seconds
            peak = _peak_mb(archiver.pid)
        finally:
            archiver.send_signal(signal.SIGTERM)
            archiver.wait(PATIENCE_SECONDS)
        pieces = watcher.end()
        falls = (place / "archiver.log").read_text().count("fell-to-async")
        lags = lags_of(Line.of(ShardArchive(repository, "s1")), pieces, work.began_at)
        return Live(mode, work.per_second, work.latency, lags, share, peak, falls)
    finally:
        server.remove()


class Work:
    """Clients that insert for ``seconds``; done when made."""

    def __init__(self, server: ScratchServer, seconds: float) -> None:
        self._until = 0.0
        connections = [server.connect() for _ in range(CLIENTS)]
        for connection in connections:
            with connection.cursor() as cursor:
                for _ in range(20):
                    cursor.execute("INSERT INTO live.rows (pad) VALUES (REPEAT('x', 250))")
        self.began_at = time.time()
        self.seconds = seconds
        self._until = time.monotonic() + seconds
        each = [Latencies() for _ in connections]
        threads = [
            threading.Thread(target=self._write, args=pair) for pair in zip(connections, each, strict=True)
        ]
        for thread in threads:
            thread.start()
        total = Latencies()
        for thread, own in zip(threads, each, strict=True):
            thread.join()
            total.add(own)
        self.latency = total.summary()
        self.per_second = self.latency.count / seconds

    def _write(self, connection: Any, own: Latencies) -> None:
        with connection.cursor() as cursor:
            while (began := time.monotonic()) < self._until:
                cursor.execute("INSERT INTO live.rows (pad) VALUES (REPEAT('x', 250))")
                own.record(time.monotonic() - began)


class Watcher:
    """Notes when each segment came to lie in the folder, before it is composed with others."""

    def __init__(self, repository: Path, shard: str = "s1") -> None:
        self._repository = repository
        self._shard = shard
        self._seen: dict[SegmentName, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> dict[SegmentName, float]:
        self._over.set()
        self._thread.join()
        return self._seen

    def _watch(self) -> None:
        last_look = False
        while not last_look:
            last_look = self._over.wait(0.1)
            for path in (self._repository / "archive").glob(f"{self._shard}/*/binlogs/*/*/*"):
                name = parse_segment(str(path.relative_to(self._repository)))
                if name and name not in self._seen:
                    with suppress(FileNotFoundError):
                        self._seen[name] = path.stat().st_mtime


def lags_of(line: Line, pieces: dict[SegmentName, float], since: float) -> tuple[float, float, float]:
    """p50, p95 and the longest time from a commit to its segment, of what was committed after ``since``."""
    by_file: dict[object, list[tuple[int, float]]] = {}
    for name, at in pieces.items():
        by_file.setdefault(name.binlog, []).append((name.end, at))
    for ends in by_file.values():
        ends.sort()
    lags: list[float] = []
    for entry in line.transactions():
        committed = entry.transaction.committed_at_us / 1e6
        if committed >= since:
            ends = by_file[entry.file]
            end = entry.transaction.start + entry.transaction.length
            lags.append(min(at for _, at in ends[bisect.bisect_left(ends, (end, 0.0)) :][:3]) - committed)
    lags.sort()
    return lags[len(lags) // 2], lags[int(len(lags) * 0.95)], lags[-1]


def table(measured: list[Live]) -> Table:
    """One row a mode."""
    shown = Table(
        title=f"a source under {CLIENTS} clients, and its archive (medians where nothing else is said)",
        box=None,
    )
    names = ("mode", "commits/s", "p50 ms", "p95", "max", "lag s", "p95", "max", "core %", "MB", "fell")
    for name in names:
        shown.add_column(name, justify="left" if name == "mode" else "right", no_wrap=True)
    for one in measured:
        commit = one.commit
        shown.add_row(
            one.mode,
            f"{one.per_second:,.0f}",
            *(f"{1000 * s:.1f}" for s in (commit.p50_seconds, commit.p95_seconds, commit.longest_seconds)),
            *(f"{lag:.2f}" for lag in one.lags or ()),
            *([""] * (0 if one.lags else 3)),
            *((f"{100 * one.core_share:.0f}", f"{one.peak_mb:.0f}", str(one.falls)) if one.lags else ()),
        )
    return shown


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


def _wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in path.read_text():
        assert time.monotonic() < deadline, f"{path} does not say {text!r}"
        time.sleep(0.05)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive_live", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of writing in each mode")
    parser.add_argument("--dir", type=Path, help="where everything lies meanwhile (default: temporary)")
    parser.add_argument("--json", type=Path, help="write all figures into this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
