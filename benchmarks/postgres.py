"""A PostgreSQL server in a scratch directory of its own, as a user that it accepts."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fleet.errors import SandboxFailed
from infra.sandbox.ports import free_ports

_START_SECONDS = 60.0
_USERS = ("postgres", "nobody")


class Postgres(NamedTuple):
    """A server that runs: its process, and what SQLAlchemy calls it."""

    pid: int
    url: str


class _Account(NamedTuple):
    """Whom a process runs as; None: as whoever starts it."""

    user: int | None = None
    group: int | None = None

    @property
    def groups(self) -> list[int] | None:
        return [] if self.user is not None else None


@contextmanager
def running_postgres() -> Generator[Postgres]:
    """A new, empty one; deleted in the end. Raises SandboxFailed, also where PostgreSQL is not installed."""
    folder = Path(tempfile.mkdtemp(prefix="backstay-postgres-"))
    (port,) = free_ports(1)
    account = _account()
    try:
        if account.user is not None:
            shutil.chown(folder, account.user, account.group)
        data = folder / "data"
        made = [_program("initdb"), "-D", data, "-U", "backstay", "-A", "trust", "-E", "UTF8", "--no-locale"]
        _run(made, folder, account)
        words = ["-D", data, "-k", folder, "-p", port, "-c", "listen_addresses=127.0.0.1"]
        with (folder.parent / f"{folder.name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in (_program("postgres"), *words)], cwd=folder,
                stdout=log, stderr=log, start_new_session=True,
                user=account.user, group=account.group, extra_groups=account.groups,
            )  # fmt: skip
        try:
            _wait(process, port, folder)
            yield Postgres(process.pid, f"postgresql+asyncpg://backstay@127.0.0.1:{port}/postgres")
        finally:
            # Its quick way to end: clients are dropped.
            process.send_signal(signal.SIGQUIT)
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    asked = [str(_program("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(asked, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            told = (folder.parent / f"{folder.name}.log").read_text(errors="replace")[-300:]
            raise SandboxFailed(f"PostgreSQL does not answer: {told}")
        time.sleep(0.1)


def _run(command: Sequence[object], folder: Path, account: _Account) -> None:
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        capture_output=True,
        check=False,
        user=account.user,
        group=account.group,
        extra_groups=account.groups,
    )
    if ended.returncode:
        raise SandboxFailed(f"{command[0]} failed: {ended.stderr.decode(errors='replace')[-300:]}")


def _account() -> _Account:
    """Root's servers run as somebody else; nobody else's do."""
    if os.geteuid() != 0:
        return _Account()
    for name in _USERS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Account(found.pw_uid, found.pw_gid)
    raise SandboxFailed("PostgreSQL does not run as root, and this machine has no user postgres or nobody")


def _program(name: str) -> Path:
    if on_path := shutil.which(name):
        return Path(on_path)
    # Debian keeps them out of the path.
    if found := sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")):
        return found[-1]
    raise SandboxFailed(f"PostgreSQL's {name} is not on this machine", hint="Run infra/parts.sh.")
