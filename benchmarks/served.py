"""``backstay serve`` as systemd keeps it, started again whoever ended it; and its scheduler, asked."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.cases import ROOT
from drills.status.service_state import PartName, read_service
from fleet.config import load
from fleet.errors import SandboxFailed
from infra.sandbox import processes
from infra.sandbox.processes import Process

RESTART_SECONDS = 2.0
FIRST_START_SECONDS = 180.0
ENDING_SECONDS = 120.0
_PAGE = 200
_RUN = b"PREFECT__FLOW_RUN_ID="


class Serving:
    """The service of ``config``, from ``start`` to ``stop``. ``restarts``: how often it was started again."""

    def __init__(self, config: Path, directory: Path) -> None:
        self.config = config
        self.directory = directory
        self.restarts = 0
        self.log = directory / "serve.log"
        self._state = load(config).service.directory or directory
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._keeper = threading.Thread(target=self._keep, name="systemd", daemon=True)

    @property
    def pid(self) -> int | None:
        """The supervisor's, if it runs."""
        with self._lock:
            return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, and wait until all of its parts run. Raises SandboxFailed."""
        self._launch()
        self._keeper.start()
        deadline = time.monotonic() + FIRST_START_SECONDS
        while (seen := read_service(self._state)) is None or not seen.is_well:
            if time.monotonic() > deadline:
                raise SandboxFailed(f"not all parts of the service run: {self.log.read_text()[-600:]}")
            time.sleep(0.2)

    def part(self, name: PartName) -> int | None:
        """The pid of one of its parts, if that runs."""
        seen = read_service(self._state)
        return next((part.pid for part in seen.parts if part.name == name), None) if seen else None

    def flow_processes(self) -> dict[str, int]:
        """The process that carries out each running flow, by the id of the run."""
        found: dict[str, int] = {}
        for process in processes.find_owned(self.directory):
            with suppress(OSError, ValueError):
                run = _run_of(process.pid)
                # What a flow starts inherits its environment.
                if run and _run_of(_parent(process.pid)) != run:
                    found[run] = process.pid
        return found

    def stop(self) -> list[str]:
        """SIGTERM, and wait; what was wrong with its end, in words."""
        self._stopping.set()
        with self._lock:
            process = self._process
        wrong: list[str] = []
        if process is not None and processes.send(process, signal.SIGTERM):
            began = time.monotonic()
            while processes.is_alive(process) and time.monotonic() < began + ENDING_SECONDS:
                time.sleep(0.1)
            if processes.is_alive(process):
                wrong.append(f"the service did not end within {ENDING_SECONDS:.0f} s of a SIGTERM")
                processes.kill(process)
        else:
            wrong.append("the service did not run when it was to be stopped")
        left = [each.pid for each in processes.find_owned(self.directory)]
        if left:
            told = ", ".join(map(_command, left))
            wrong.append(f"{len(left)} processes outlived the service: {told}")
        return wrong

    def kill(self) -> None:
        """Whatever happened: nothing of it is left."""
        self._stopping.set()
        with self._lock:
            if self._process is not None:
                processes.kill(self._process)
            self._process = None
        for process in processes.find_owned(self.directory):
            processes.kill(process)

    def _keep(self) -> None:
        while not self._stopping.wait(0.1):
            with self._lock:
                process = self._process
            if process is None or processes.is_alive(process):
                continue
            processes.reap(process)
            if not self._stopping.wait(RESTART_SECONDS):
                self.restarts += 1
                self._launch()

    def _launch(self) -> None:
        words = [sys.executable, "-m", "cli.app", "--config", str(self.config), "serve"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        with self._lock:
            if not self._stopping.is_set():
                self._process = processes.spawn(words, owner=self.directory, output=self.log, environ=environ)


class Scheduler:
    """A Prefect server's API, asked as anybody would; ``auth`` is ``user:password``, where it has one."""

    def __init__(self, url: str, auth: str | None = None) -> None:
        self._url = url
        self._auth = httpx.BasicAuth(*auth.split(":", 1)) if auth else None

    def runs(self, states: tuple[str, ...] = ()) -> list[Mapping[str, Any]]:
        """All flow runs, or those whose state is of one of these types. Raises SandboxFailed."""
        asked: dict[str, Any] = {"limit": _PAGE, "sort": "ID_DESC"}
        if states:
            asked["flow_runs"] = {"state": {"type": {"any_": list(states)}}}
        found: list[Mapping[str, Any]] = []
        while page := self._asked("/flow_runs/filter", asked | {"offset": len(found)}):
            found += page
        return found

    def count(self) -> int:
        """How many flow runs there are, those ahead included. Raises SandboxFailed."""
        return int(self._asked("/flow_runs/count", {}))

    def _asked(self, path: str, body: Mapping[str, Any]) -> Any:
        deadline = time.monotonic() + 60
        while True:
            try:
                response = httpx.post(f"{self._url}{path}", json=body, timeout=30, auth=self._auth)
                response.raise_for_status()
                return response.json()
            except httpx.HTTPError as error:
                # A locked database is 503, and a server that was killed comes back.
                if time.monotonic() > deadline:
                    raise SandboxFailed(f"the scheduler does not answer: {error}") from error
                time.sleep(0.5)


def kind_of(run: Mapping[str, Any]) -> str:
    """``full``, ``incremental``, or what else it is for."""
    if told := run["parameters"].get("kind"):
        return str(told)
    return next((tag.partition(":")[2] for tag in run["tags"] if tag.startswith("kind:")), "other")


def since(run: Mapping[str, Any]) -> datetime:
    """When its state began."""
    return datetime.fromisoformat(run["state"]["timestamp"])


def descendants(pid: int) -> Iterator[int]:
    """``pid`` and all below it, as far as they still run."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))


def _run_of(pid: int) -> str | None:
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((word.removeprefix(_RUN).decode() for word in words if word.startswith(_RUN)), None)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
    return str(pid)
