"""A small process between the service and one part of it: no process of the part outlives either.

Run as ``python leash.py <fd> <log> <max bytes> <command> ...``. The descriptor is one end of a socket pair;
the other end is the service's alone. A letter on it is an order; its end means that the service is gone, by
whatever signal, and the part goes too, with all processes that it started: those that lose their parent fall
to this process, which is their subreaper (prctl(2)). Should this process itself be killed, the part gets a
SIGKILL by PR_SET_PDEATHSIG, and the service, a subreaper as well, ends the rest.

What the part says goes to ``<log>``; when that is full it becomes ``<log>.1``, and the one before is gone.

It imports nothing of Backstay and little of Python, so it starts in some hundredths of a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

ASK = b"T"
"""SIGTERM for the part's first process, which ends the others in its own way."""
REREAD = b"H"
"""SIGHUP for it: read the configuration again."""
KILL = b"K"
"""SIGKILL for every process of the part."""

NOT_STARTED = 127

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
_PIECE_BYTES = 65536
_LIBC = ctypes.CDLL(None)


def become_subreaper() -> None:
    """From now on a process that loses its parent, below this one, falls to this one."""
    _LIBC.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> set[int]:
    """The processes that ``pid`` is the parent of now; none if it is gone (proc(5))."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.update(map(int, (task / "children").read_text().split()))
    return found


def kill_all(pids: set[int]) -> None:
    """Kill our children ``pids`` and everything below them, and wait until they are gone."""
    for pid in pids:
        _kill_tree(pid)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _kill_tree(pid: int) -> None:
    # A stopped parent starts no more children while its own are looked up.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    for child in children_of(pid):
        _kill_tree(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Log:
    """A file of at most ``max_bytes``, and the one before it. A full disk loses lines and stops nobody."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def write(self, piece: bytes) -> None:
        """Append ``piece``."""
        with contextlib.suppress(OSError):
            if self._size() + len(piece) > self._max_bytes:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(file, piece)
            finally:
                os.close(file)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def main(arguments: list[str]) -> int:
    """Start the command, tell its process id over the descriptor, obey until it ends; its exit status is
    ours.
    """
    lifeline = socket.socket(fileno=int(arguments[0]))
    log = Log(Path(arguments[1]), int(arguments[2]))
    ended, ending = socket.socketpair()
    ending.setblocking(False)
    signal.set_wakeup_fd(ending.fileno())
    # Only the service decides when the part ends; a Ctrl-C in its terminal is its own to answer. A function
    # and not SIG_IGN, since the part would inherit that.
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, _note)
    become_subreaper()
    try:
        part = _start(arguments[3:], lifeline)
    except OSError as error:
        log.write(f"error: {arguments[3]} cannot be started: {error.strerror}\n".encode())
        return NOT_STARTED
    try:
        with contextlib.suppress(OSError):
            lifeline.send(b"%d\n" % part.pid)
            _obey(lifeline, ended, part, log)
        return part.returncode if part.returncode is not None else -signal.SIGKILL
    finally:
        part.poll()
        while left := children_of(os.getpid()):
            kill_all(left)


def _start(command: list[str], lifeline: socket.socket) -> subprocess.Popen[bytes]:
    mine = lifeline.fileno()
    os.set_inheritable(mine, False)
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    # Its standard input is what the service gave us; what else it handed on, it made inheritable.
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,
        preexec_fn=die_with_parent,  # noqa: PLW1509 (there is one thread here)
    )


def _note(_number: int, _frame: object) -> None:
    """The wake-up descriptor has already been written to."""


def _obey(lifeline: socket.socket, ended: socket.socket, part: subprocess.Popen[bytes], log: Log) -> None:
    assert part.stdout is not None
    said = part.stdout.fileno()
    os.set_blocking(said, False)
    heard = [lifeline, ended, said]
    while part.poll() is None:
        readable, _, _ = select.select(heard, [], [])
        if ended in readable:
            ended.recv(64)
        if said in readable and not _pass_on(said, log):
            heard.remove(said)
        if lifeline not in readable:
            continue
        order = lifeline.recv(1)
        if order in (ASK, REREAD):
            part.send_signal(signal.SIGTERM if order == ASK else signal.SIGHUP)
        else:
            return
    while _pass_on(said, log):
        pass


def _pass_on(said: int, log: Log) -> bool:
    """Write down what is there by now; False if there is nothing, or will never be more."""
    try:
        piece = os.read(said, _PIECE_BYTES)
    except BlockingIOError:
        return False
    log.write(piece)
    return bool(piece)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    # A part that was killed: we end in the way that a shell tells it.
    sys.exit(status if status >= 0 else 128 - status)
