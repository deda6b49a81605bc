"""``backstay serve`` in tests: started, asked, killed, and never left behind."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drills.status.service_state import ServiceSeen
from flows.password import read_password
from flows.service.leash import children_of
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.ports import free_ports
from tests.scenario import archiving
from tests.scenario.doors import PROGRAM, Door
from tests.scenario.scheduled import half_a_day_away

PATIENCE_SECONDS = 150.0
"""A server that makes its database first takes a minute on a machine with much else to do."""


def wait_until(holds: Callable[[], object], what: str | Callable[[], str]) -> None:
    """Until it holds; each of these processes may be slow to start."""
    archiving.wait_until(holds, what, PATIENCE_SECONDS)


class Service:
    """A service of a sandbox's fleet, with a repository and a state directory of its own."""

    def __init__(self, sandbox: SandboxFleet, directory: Path) -> None:
        self.page_port, self.scheduler_port = free_ports(2)
        self.directory = directory / "state"
        self.log = directory / "serve.log"
        # Beside the sandbox's own, since paths in it are relative to it.
        self.config = sandbox.config_path.with_name("served.toml")
        text = sandbox.config_path.read_text()
        text = text.replace('url = "s3://backstay/fleet"', 'url = "s3://backstay/served"')
        text = text.replace('spool_directory = "spool"', f'spool_directory = "{directory / "spool"}"')
        # Half a day away: nothing is due while a test runs, and a full was due before there was the fleet.
        away = half_a_day_away()
        text = re.sub(r"^\[(service|schedule|scheduler)\]\n([a-z_]+ = .*\n)*", "", text, flags=re.MULTILINE)
        self.config.write_text(
            f'{text}\n[service]\ndirectory = "{self.directory}"\nport = {self.page_port}\n'
            f"look_seconds = 1.0\n\n[schedule]\n"
            f'full_cron = "0 {away} * * *"\nincremental_cron = "30 {away} * * *"\n\n'
            f"[scheduler]\nport = {self.scheduler_port}\n"
        )
        self.door = Door(self.config, directory)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; it may take a while until it is well."""
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", "--json"],
                env=os.environ | {"BACKSTAY_CONFIG": str(self.config)},
                cwd=self.config.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def process(self) -> subprocess.Popen[str]:
        """The service's own process."""
        assert self._process is not None
        return self._process

    def end(self) -> dict[str, Any]:
        """Ask it to end; what it answers."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.said()
        return json.loads(out)

    def clear(self) -> None:
        """Whatever happened: nothing of it is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self.config.unlink(missing_ok=True)

    def said(self) -> str:
        """What it told people."""
        return self.log.read_text()

    def seen(self) -> ServiceSeen:
        """How its parts do."""
        return ServiceSeen.model_validate_json((self.directory / "service.json").read_bytes())

    def pids(self) -> dict[str, int]:
        """The processes of its parts."""
        return {part.name: part.pid for part in self.seen().parts if part.pid is not None}

    def wait_well(self) -> None:
        """Until every part runs."""
        wait_until(lambda: self.get("/healthz")[0] == 200, lambda: f"all is well: {self.said()}")

    def wait_said(self, text: str) -> None:
        """Until it has told that."""
        wait_until(lambda: text in self.said(), lambda: f"{text!r} is told in: {self.said()}")

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 if nobody answers."""
        return _ask(f"http://127.0.0.1:{self.page_port}{path}")

    def status(self) -> dict[str, Any]:
        """The fleet's status; a page that has just been started has none yet."""
        answers: list[str] = []

        def look() -> bool:
            code, body = self.get("/status.json")
            answers.append(body)
            return code == 200

        wait_until(look, "the fleet was looked at")
        return json.loads(answers[-1])

    def scheduler(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the scheduler's API answers; to a POST, if there is a ``body``.

        While its database is locked it asks to come again, which Prefect's own client does.
        """
        auth = read_password(self.directory)
        deadline = time.monotonic() + 30.0
        while True:
            code, text = _ask(f"http://127.0.0.1:{self.scheduler_port}/api{path}", body, auth)
            if code != 503 or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        assert 200 <= code < 300, (path, code, text)
        return json.loads(text)

    def scheduler_unasked(self, path: str) -> int:
        """The status of an answer to somebody without the password."""
        return _ask(f"http://127.0.0.1:{self.scheduler_port}/api{path}", {})[0]

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Runs of one flow that nobody had scheduled: somebody asked for them."""
        runs = self.scheduler("/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
        return [run for run in runs if not run["auto_scheduled"]]

    def deployments(self) -> set[str]:
        """What is scheduled."""
        return {each["name"] for each in self.scheduler("/deployments/filter", {})}


def descendants(pid: int) -> set[int]:
    """All processes below."""
    found = children_of(pid)
    return found.union(*(descendants(child) for child in found))


def is_gone(pid: int) -> bool:
    """It has ended, whether or not its parent has taken notice."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return re.search(r"^State:\s+[ZX]", status, re.MULTILINE) is not None


def _ask(url: str, body: dict[str, Any] | None = None, auth: str | None = None) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    if auth is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""
