"""A real PostgreSQL for tests: Debian's, which `make parts` installs."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from infra.sandbox.ports import free_ports

_USER = "postgres"
_SECONDS = 60


def programs() -> Path | None:
    """The folder of its programs, or None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[4])
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).resolve().parent if there else None


class PostgresServer:
    """A server with an empty database, on loopback, open to everybody on this machine.

    It refuses to run as root, so root lends it to Debian's own user.
    """

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self.port = free_ports(1)[0]
        self.directory = Path(tempfile.mkdtemp(prefix="backstay-pg-"))
        self.process: subprocess.Popen[bytes] | None = None
        self._user = _USER if os.getuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        data = str(self.directory / "data")
        self._run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self._bin / "postgres"),
                    *("-D", data, "-p", str(self.port), "-k", str(self.directory)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
                ],
                cwd=self.directory,
                stdout=log,
                stderr=log,
                user=self._user,
                start_new_session=True,
            )
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.1)

    def remove(self) -> None:
        if self.process is not None:
            # An immediate shutdown, for the whole data goes.
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(_SECONDS)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _answers(self) -> bool:
        asked = [self._bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments],
            cwd=self.directory,
            user=self._user,
            check=True,
            capture_output=True,
            timeout=_SECONDS,
        )
