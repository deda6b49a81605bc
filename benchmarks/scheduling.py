"""``python -m benchmarks scheduling``: how late runs begin, of many deployments that do nothing.

The Prefect server and the runner of ``backstay serve``, in its environment; the database is SQLite, then
PostgreSQL. Every deployment is due once, as many in each minute: spread as a schedule spreads them, with as
many runs at once as by default; and all of them within a few minutes, with eight at once. The first minutes
are looked at: when each run that was due then began, as Prefect has it, and what server and runner took. A
run that had not begun counts as late as it was by then.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx

from benchmarks.cases import ROOT
from benchmarks.idle_runner import main as idle_runner
from benchmarks.measuring import tree_cpu_seconds
from benchmarks.month_kills import Say
from benchmarks.postgres import running_postgres
from benchmarks.served import Scheduler, descendants
from benchmarks.story import Sheet, Told
from cli.toml import to_toml
from fleet.config import load
from fleet.errors import SandboxFailed
from fleet.model import Fleet
from fleet.service_config import SchedulerConfig
from flows.environment import api_url_of
from flows.service.parts import wanted_parts
from infra.sandbox import processes
from infra.sandbox.files import write_private
from infra.sandbox.ports import free_ports

DEPLOYMENTS = 500
SPREAD_MINUTES, STORM_MINUTES = 40, 5
MEASURED_MINUTES = 3
DATABASES = ("SQLite", "PostgreSQL")
SERVER_SECONDS = 180.0
PUT_SECONDS = 0.25  # for each deployment, at most
_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


class Case(NamedTuple):
    """All deployments are due within ``minutes``, and so many runs are carried out ``at_once``."""

    minutes: int
    at_once: int


CASES = (Case(SPREAD_MINUTES, SchedulerConfig().runs_at_once), Case(STORM_MINUTES, 8))


class Measured(NamedTuple):
    """One database in one case. Latenesses and times in seconds, memory in bytes."""

    database: str
    case: Case
    put_seconds: float
    begun: tuple[float, ...]
    waiting: tuple[float, ...]
    server_cores: float
    server_bytes: int
    database_cores: float
    runner_cores: float

    @property
    def late(self) -> list[float]:
        """Of all that was due, those that had not begun as late as they were then."""
        return sorted((*self.begun, *self.waiting))


class Place(NamedTuple):
    """Where one measurement is made, and with what."""

    directory: Path
    config: Path
    fleet: Fleet
    environ: dict[str, str]


def play(directory: Path, say: Say, *, deployments: int = DEPLOYMENTS) -> Told:
    """Measure each case with each database, always on a new server."""
    measured: list[Measured] = []
    failures: list[str] = []
    for case in CASES:
        for database in DATABASES:
            say(_name(database, case))
            try:
                with ExitStack() as stack:
                    postgres = stack.enter_context(running_postgres()) if database != DATABASES[0] else None
                    place = _place(
                        directory / f"{database}-{case.minutes}", case.at_once, postgres and postgres.url
                    )
                    watched = postgres.pid if postgres else None
                    measured.append(_measure(place, database, deployments, case, watched, say))
            except SandboxFailed as error:
                failures.append(f"{_name(database, case)}: {error}")
    failures += (f"{_name(each.database, each.case)}: no run began" for each in measured if not each.begun)
    return Told(
        "scheduling",
        {"deployments": f"{deployments:,}", "measured": f"the first {MEASURED_MINUTES} minutes"},
        (),
        (sheet(measured),),
        failures=tuple(failures),
    )


def sheet(measured: Sequence[Measured]) -> Sheet:
    """A row for each measurement."""
    rows = [
        (
            _name(each.database, each.case),
            f"{each.put_seconds:.0f}",
            str(len(each.late)),
            str(len(each.begun)),
            f"{len(each.begun) / MEASURED_MINUTES:.0f}",
            f"{median(each.late):.1f}" if each.late else "-",
            f"{part_of(each.late, 0.95):.1f}" if each.late else "-",
            f"{each.late[-1]:.1f}" if each.late else "-",
            f"{each.server_cores:.2f}",
            f"{each.server_bytes / 1e6:.0f}",
            f"{each.database_cores:.2f}" if each.database_cores else "-",
            f"{each.runner_cores:.2f}",
        )
        for each in measured
    ]
    columns = ("database", "put s", "due", "begun", "/ min", "p50 s", "p95", "max", "server cores", "MB",
               "DB cores", "runs cores")  # fmt: skip
    return Sheet("lateness of runs, from due to Running", columns, tuple(rows))


def _name(database: str, case: Case) -> str:
    return f"{database}, all within {case.minutes} min, {case.at_once} at once"


def part_of(ordered: Sequence[float], part: float) -> float:
    """That quantile, the nearest one that was seen."""
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]


def _place(directory: Path, at_once: int, database: str | None) -> Place:
    directory.mkdir(parents=True)
    (port,) = free_ports(1)
    write_private(directory / "password", b"none")
    write_private(directory / "key", bytes(32))
    server = {"name": "s1-a", "host": "127.0.0.1", "region": "here", "role": "primary"}
    document = {
        "name": "many",
        "regions": ["here"],
        "accounts": {"backup": {"user": "backstay", "password": {"file": "password"}}},
        "repository": {"url": (directory / "repository").as_uri()},
        "keys": [{"id": "one", "provider": "file", "file": "key"}],
        "scheduler": {"port": port, "runs_at_once": at_once},
        "service": {"directory": str(directory)},
        "shards": [{"name": "s1", "servers": [server]}],
    }
    # Under the name by which the parts of a service know it.
    config = directory / "backstay.toml"
    write_private(config, to_toml(document).encode() + b"\n")
    fleet = load(config)
    (environ,) = (
        dict(part.environ)
        for part in wanted_parts(fleet, config, directory, os.environ)
        if part.name == "runner"
    )
    # The working folder is nobody's, so where the idle flow is has to be said.
    environ |= {"PYTHONPATH": str(ROOT)} | ({_URL: database} if database else {})
    return Place(directory, config, fleet, environ)


def _measure(
    place: Place, database: str, deployments: int, case: Case, database_pid: int | None, say: Say
) -> Measured:
    scheduler = Scheduler(api_url_of(place.fleet))
    (command,) = (
        part.command
        for part in wanted_parts(place.fleet, place.config, place.directory, os.environ)
        if part.name == "scheduler"
    )
    with _running(place, command, "server") as server:
        _wait_healthy(api_url_of(place.fleet))
        began = datetime.now(UTC)
        first = _whole_minute(began + timedelta(seconds=30 + PUT_SECONDS * deployments))
        words = (str(place.config), str(deployments), first.isoformat(), str(case.minutes))
        with _running(place, (command[0], "-m", idle_runner.__module__, *words), "runner") as runner:
            put_seconds = _wait_put(scheduler, deployments, began, first)
            say(f"{deployments} deployments put in {put_seconds:.0f} s, due from {first:%T} on")
            _wait_until(first)
            watch = _Watch(server)
            watched = [pid for pid in (server, database_pid, runner) if pid is not None]
            before = {pid: tree_cpu_seconds(pid) for pid in watched}
            until = first + timedelta(minutes=MEASURED_MINUTES)
            _wait_until(until)
            seconds = (until - first).total_seconds()
            used = {pid: (tree_cpu_seconds(pid) - before[pid]) / seconds for pid in watched}
            begun, waiting = _lateness(scheduler, until)
            return Measured(
                database, case, put_seconds, begun, waiting, used[server],
                watch.stop(), used[database_pid] if database_pid is not None else 0.0, used[runner],
            )  # fmt: skip


def _lateness(scheduler: Scheduler, until: datetime) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of what was due before ``until``: how late it began; and how late what had not begun was then."""
    begun: list[float] = []
    waiting: list[float] = []
    for run in scheduler.runs():
        due = datetime.fromisoformat(run["expected_start_time"])
        if due >= until:
            continue
        start = datetime.fromisoformat(run["start_time"]) if run["start_time"] else None
        if start is not None and start <= until:
            begun.append((start - due).total_seconds())
        else:
            waiting.append((until - due).total_seconds())
    return tuple(begun), tuple(waiting)


class _Watch:
    """The most memory that a tree of processes held, looked at every second until ``stop``."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The peak, in bytes."""
        self._stopping.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._stopping.wait(1):
            self._peak = max(self._peak, sum(map(_resident, descendants(self._pid))))


@contextmanager
def _running(place: Place, command: Sequence[str], name: str) -> Generator[int]:
    """A process below the place's directory until the block ends, with all that it started."""
    owner = place.directory / name
    owner.mkdir()
    process = processes.spawn(
        command, owner=owner, output=place.directory / f"{name}.log", environ=place.environ
    )
    try:
        yield process.pid
        if not processes.is_alive(process):
            raise SandboxFailed(f"the {name} ended: {(place.directory / f'{name}.log').read_text()[-400:]}")
    finally:
        for each in (process, *processes.find_owned(owner)):
            processes.kill(each)


def _wait_healthy(url: str) -> None:
    deadline = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            httpx.get(f"{url}/health", timeout=5).raise_for_status()
            return
        time.sleep(0.2)
    raise SandboxFailed(f"the scheduler does not answer after {SERVER_SECONDS:.0f} s")


def _wait_put(scheduler: Scheduler, deployments: int, began: datetime, first: datetime) -> float:
    """Wait until all have a run ahead; the seconds that it took. Raises SandboxFailed when they are due."""
    while (there := scheduler.count()) < deployments:
        if datetime.now(UTC) > first:
            raise SandboxFailed(f"only {there} of {deployments} deployments had a run when they were due")
        time.sleep(1)
    return (datetime.now(UTC) - began).total_seconds()


def _whole_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _wait_until(at: datetime) -> None:
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))


def _resident(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
