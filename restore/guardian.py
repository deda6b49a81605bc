"""A small process between ours and a mysqld: it sees to it that the mysqld never outlives us.

Run as ``python guardian.py <fd> <command> ...``. The descriptor is one end of a socket pair; the other end
is ours alone. A letter on it is an order; its end means that we are gone, by whatever signal, and the mysqld
goes too. (PR_SET_PDEATHSIG would not do: it follows the *thread* that started the child, not the process,
and it could not be taken back for a server that is to be left running.)

It imports nothing of Backstay and little of Python, so it starts in some hundredths of a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys

STOP = b"T"
KILL = b"K"
LEAVE = b"L"

NOT_STARTED = 127


def main(arguments: list[str]) -> int:
    """Start the command, tell its process id over the descriptor, obey until it ends; its exit status is
    ours.
    """
    lifeline = socket.socket(fileno=int(arguments[0]))
    ended, ending = socket.socketpair()
    ending.setblocking(False)
    signal.set_wakeup_fd(ending.fileno())
    # Only the owner decides when the server stops; a Ctrl-C or a hang-up in a terminal is the owner's to
    # answer. A function and not SIG_IGN, since the mysqld would inherit that.
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, _note)
    try:
        child = subprocess.Popen(arguments[1:], start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"[ERROR] {arguments[1]} cannot be started: {error.strerror}\n")
        return NOT_STARTED
    try:
        lifeline.send(b"%d\n" % child.pid)
        return _obey(lifeline, ended, child)
    except OSError:
        _signal(child, signal.SIGKILL)
        return child.wait()


def _note(_number: int, _frame: object) -> None:
    """The wake-up descriptor has already been written to."""


def _obey(lifeline: socket.socket, ended: socket.socket, child: subprocess.Popen[bytes]) -> int:
    while child.poll() is None:
        readable, _, _ = select.select([lifeline, ended], [], [])
        if ended in readable:
            ended.recv(64)
        if lifeline not in readable:
            continue
        order = lifeline.recv(1)
        if order == LEAVE:
            return 0
        _signal(child, signal.SIGTERM if order == STOP else signal.SIGKILL)
        if order == b"":
            return child.wait()
    return child.wait()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The whole group: where mysqld is a wrapper script that did not exec, the signal must reach the server
    # behind it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)
