"""A lock is waited for as long as a child of a killed process may have it, and no longer."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.clock import SystemClock
from fleet.file_lock import PATIENCE_SECONDS, lock_soon
from tests.conftest import ManualClock

# The parent is killed while its child, which has the lock open, has not come to its exec yet.
_KILLED_BETWEEN_FORK_AND_EXEC = """
import fcntl, os, signal, sys, time
fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX)
if not os.fork():
    os.close(1)
    time.sleep(0.3)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def test_a_free_lock_is_taken_at_once(tmp_path: Path, clock: ManualClock) -> None:
    with opened(tmp_path / "lock") as ours, opened(tmp_path / "lock") as other:
        assert lock_soon(ours, clock)
        assert is_locked(other)
    assert not clock.slept


def test_a_lock_that_somebody_holds_is_given_up_after_a_while(tmp_path: Path, clock: ManualClock) -> None:
    with opened(tmp_path / "lock") as ours, opened(tmp_path / "lock") as other:
        assert lock_soon(other, clock)
        assert not lock_soon(ours, clock)
    assert PATIENCE_SECONDS <= sum(clock.slept) < 2 * PATIENCE_SECONDS


def test_the_lock_of_a_killed_process_is_had_when_its_last_child_lets_go(tmp_path: Path) -> None:
    with opened(tmp_path / "lock") as theirs:
        command = [sys.executable, "-c", _KILLED_BETWEEN_FORK_AND_EXEC, str(theirs)]
        killed = subprocess.run(command, pass_fds=[theirs], stdout=subprocess.DEVNULL, check=False)
    assert killed.returncode == -9
    with opened(tmp_path / "lock") as ours:
        assert is_locked(ours)
        assert lock_soon(ours, SystemClock())
