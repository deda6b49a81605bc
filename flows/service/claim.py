"""What a service needs for itself alone, taken before anything is started: its state directory, its ports."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleet.clock import Clock
from fleet.errors import ConfigError, PortTaken, ServiceRuns

LOCK = "service.lock"

_LEAVING_SECONDS = 15.0
"""How long the parts of a service that was killed may take to be gone."""
_BACKLOG = 64


@contextmanager
def claimed(directory: Path, clock: Clock) -> Generator[int]:
    """While it is held, no other service uses the state directory, which is made; the lock's descriptor.

    It is held by whoever has it open: handed on to the parts, it is free only when they are gone, too. Raises
    ``ServiceRuns``, and ``ConfigError`` where the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"the service cannot keep its state in {directory}: {error.strerror}",
            hint="Name a directory that can be written: [service] directory.",
        ) from error
    try:
        _lock(lock, directory, clock)
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        yield lock
    finally:
        os.close(lock)


def _lock(lock: int, directory: Path, clock: Clock) -> None:
    deadline = clock.monotonic() + _LEAVING_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        owner = os.pread(lock, 20, 0).strip()
        is_alive = owner.isdigit() and Path(f"/proc/{int(owner)}").exists()
        if is_alive or clock.monotonic() >= deadline:
            raise ServiceRuns(
                f"a service runs on {directory} already, process {owner.decode() or 'unknown'}",
                hint="Stop that one, or give this fleet a directory of its own: [service] directory.",
            )
        clock.sleep(0.1)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there, for the page. Raises ``PortTaken``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        raise _no_port(error, host, port, "[service] port") from error
    return found


def check_free(port: int) -> None:
    """Raises ``PortTaken`` if somebody listens on the loopback port that the scheduler is to have."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise _no_port(error, "127.0.0.1", port, "[scheduler] port") from error


def _no_port(error: OSError, host: str, port: int, setting: str) -> PortTaken:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(
            f"{host}:{port} is taken by another program",
            hint=f"See who it is: ss -ltnp 'sport = :{port}'; or set another: {setting}.",
        )
    return PortTaken(
        f"nobody can listen on {host}:{port}: {error.strerror or error}",
        hint=f"Set an address of this machine and a port above 1023: {setting}.",
    )
