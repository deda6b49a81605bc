"""A child process that cannot outlive us; ``guardian`` tells how."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from restore import guardian


class GuardedProcess:
    """Start ``command`` under a guardian; both outputs are appended to the file ``console``.

    ``pid`` is the command's own process id, None when it could not be started (the console says why).
    """

    def __init__(self, command: Sequence[str | Path], console: Path) -> None:
        with ExitStack() as if_not_started:
            ours, theirs = socket.socketpair()
            if_not_started.enter_context(ours)
            self._start(command, console, theirs)
            told = _read_line(ours)
            if_not_started.pop_all()
        self._lifeline = ours
        self.pid = int(told) if told else None

    def _start(self, command: Sequence[str | Path], console: Path, theirs: socket.socket) -> None:
        with theirs, console.open("ab") as output:
            # -I and -S: the guardian imports nothing from this folder or the environment, and starts at
            # once. Its own session keeps a terminal's Ctrl-C from it.
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", guardian.__file__, str(theirs.fileno()), *map(str, command)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """The exit status, 128 + n after signal n; None while it runs."""
        return self._noted(self._guardian.poll())

    def wait(self, timeout_seconds: float) -> int | None:
        """The exit status, or None when it still runs after ``timeout_seconds``."""
        try:
            return self._noted(self._guardian.wait(timeout_seconds))
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Ask it to end in order."""
        self._order(guardian.STOP)

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self._order(guardian.KILL)
        self._noted(self._guardian.wait())

    def leave(self) -> None:
        """From now on it may outlive us."""
        self._order(guardian.LEAVE)
        self._noted(self._guardian.wait())

    def _noted(self, status: int | None) -> int | None:
        if status is not None:
            self._lifeline.close()
        return status

    def _order(self, order: bytes) -> None:
        try:
            self._lifeline.send(order)
        except OSError:
            # The guardian is gone, and so is its child: it waits for the child's end before its own.
            return


def _read_line(lifeline: socket.socket) -> str:
    told = b""
    while not told.endswith(b"\n"):
        piece = lifeline.recv(32)
        if not piece:
            return ""
        told += piece
    return told.decode().strip()
