"""A real Prefect server for tests, started as Backstay starts it, and what is asked of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from cli.toml import to_toml
from fleet.config import effective
from fleet.model import Fleet
from infra.sandbox.ports import free_ports

_SECONDS = 120


def written(fleet: Fleet, path: Path) -> Path:
    """``fleet`` as a config file."""
    path.write_text(to_toml(effective(fleet)))
    path.chmod(0o600)
    return path


def wait_until(what: str, is_so: Callable[[], bool], seconds: float = _SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not in {seconds:g} s"
        time.sleep(0.1)


class Scheduler:
    """A Prefect server for one fleet, below ``directory``. Its port is free when the object is made."""

    def __init__(self, directory: Path, auth: tuple[str, str] | None = None) -> None:
        self.directory = directory
        self.auth = auth
        self.port = free_ports(1)[0]
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self.port}/api"

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it and wait until it answers: some 5 s."""
        Path(environment["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
        on_postgresql = "PREFECT_SERVER_DATABASE_CONNECTION_URL" in environment
        module = ("prefect", "server", "start") if on_postgresql else ("flows.service.scheduler",)
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module],
                env=dict(environment),
                cwd=self.directory,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until("Prefect's server", self._answers)

    def kill(self) -> None:
        """It, and all that it started."""
        if self.process is not None:
            kill_group(self.process)
            self.process = None

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """What the API answers; while its database is locked, it asks to come again."""
        deadline = time.monotonic() + _SECONDS
        while True:
            response = httpx.request(method, f"{self.url}{path}", json=body, timeout=30, auth=self.auth)
            if response.status_code != 503 or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        response.raise_for_status()
        return response.json() if response.content else None

    def runs(self, **matching: object) -> list[dict[str, Any]]:
        """Flow runs, those that are ahead included, whose fields are as given."""
        runs = self.ask("POST", "/flow_runs/filter", {"limit": 200, "sort": "EXPECTED_START_TIME_DESC"})
        return [run for run in runs if all(run[key] == value for key, value in matching.items())]

    def run(self, run_id: str) -> dict[str, Any]:
        return self.ask("GET", f"/flow_runs/{run_id}")

    def deployment(self, full_name: str) -> dict[str, Any]:
        return self.ask("GET", f"/deployments/name/{full_name}")

    def begin(self, full_name: str, parameters: Mapping[str, str], at: str | None = None) -> str:
        """The id of a new run, due now or ``at``."""
        deployment = self.deployment(full_name)
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at} if at else {}}
        body = {"parameters": dict(parameters), "state": state}
        return self.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"]

    def wait_for_state(self, run_id: str, *types: str, seconds: float = _SECONDS) -> dict[str, Any]:
        """The run, once it is in a state of one of these types."""
        wait_until(f"run in {types}", lambda: self.run(run_id)["state_type"] in types, seconds)
        return self.run(run_id)

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self._log()
        try:
            return httpx.get(f"{self.url}/health", timeout=5, auth=self.auth).status_code == 200
        except httpx.HTTPError:
            return False

    def _log(self) -> str:
        return (self.directory / "server.log").read_text()[-4000:]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 a process that leads a session, and its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
