"""One part as a process: started behind its leash, asked to end, killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

from flows.service import leash
from flows.service.parts import Part

LOG_BYTES = 5_000_000
"""A log is followed by one more of that size."""

_LONGEST_PROBLEM = 300
_TOLD = ("error: ", "hint: ")


class PartProcess:
    """A part that runs, or has ended. Start it in the thread that lives as long as the service does."""

    def __init__(self, part: Part, directory: Path, *, lock: int, given: int | None = None) -> None:
        """Start it in ``directory``, its log below ``logs``. It holds the descriptor ``lock`` as long as it
        lives; ``given`` is its standard input. Raises OSError.
        """
        self.part = part
        self.log = directory / "logs" / f"{part.name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._pid: int | None = None
        self._lifeline, theirs = socket.socketpair()
        with theirs:
            self._leash = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", leash.__file__),
                    *(str(theirs.fileno()), str(self.log), str(LOG_BYTES)),
                    *part.command,
                ],
                env=dict(part.environ),
                cwd=directory,
                stdin=subprocess.DEVNULL if given is None else given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # A Ctrl-C in the terminal is the service's to answer.
                start_new_session=True,
                pass_fds=(theirs.fileno(), lock),
            )
        self._lifeline.setblocking(False)

    @property
    def pid(self) -> int | None:
        """The part's own first process; None until it is known."""
        if self._pid is None:
            with suppress(OSError):
                self._pid = int(self._lifeline.recv(64) or b"0") or None
        return self._pid

    @property
    def leash_pid(self) -> int:
        """The process between the part and us."""
        return self._leash.pid

    @property
    def is_idle(self) -> bool:
        """Nothing that the part started is at work."""
        return self.pid is None or not leash.children_of(self.pid)

    def ended(self) -> bool:
        """True when no process of it is left."""
        return self._leash.poll() is not None

    def ask(self) -> None:
        """SIGTERM: end in order."""
        self._order(leash.ASK)

    def follow(self) -> None:
        """SIGHUP: read the configuration again."""
        self._order(leash.REREAD)

    def kill(self) -> None:
        """SIGKILL, all of it; returns when nothing is left."""
        self._order(leash.KILL)
        try:
            self._leash.wait(5)
        except subprocess.TimeoutExpired:
            # Stopped by somebody, perhaps; its part dies with it.
            self._leash.kill()
            self._leash.wait()
        self.close()

    def close(self) -> None:
        """Let go of what belongs to a process that has ended."""
        self._lifeline.close()

    @property
    def exit_code(self) -> int | None:
        """Of one that has ended."""
        return self._leash.returncode

    def how_it_ended(self) -> str:
        """``ended with exit code 1: last words``; of a part that has ended."""
        code = self._leash.returncode
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        if code > 128 and code - 128 in set(signal.Signals):
            return f"was killed by {signal.Signals(code - 128).name}"
        said = last_words(self.log)
        return f"ended with exit code {code}" + (f": {said}" if said else "")

    def _order(self, letter: bytes) -> None:
        with suppress(OSError):
            self._lifeline.send(letter)


def last_words(log: Path) -> str:
    """The error that the log ends with, or else its last line, in one line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            lines = deque(file.read().decode(errors="replace").splitlines(), 40)
    except OSError:
        return ""
    spoken = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("error: ") for line in spoken if line.startswith("error: ")]
    return (errors or spoken or [""])[-1][:_LONGEST_PROBLEM]
