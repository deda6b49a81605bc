"""Locking a file that a process which was just killed may still seem to hold.

A lock of flock(2) belongs to the open file, and so to every process that has it open. A child that was forked
and has not yet come to its exec has it open too: a lock that is closed on exec outlives its killed owner by
that moment, measured at up to 0.09 s on a busy machine.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress

from fleet.clock import Clock

PATIENCE_SECONDS = 1.0
_TURN_SECONDS = 0.02


def lock_soon(descriptor: int, clock: Clock) -> bool:
    """Lock the whole file for us alone. False when it is still held by others after ``PATIENCE_SECONDS``.

    Raises ``OSError`` where the file system has no locks.
    """
    deadline = clock.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if clock.monotonic() >= deadline:
            return False
        clock.sleep(_TURN_SECONDS)
