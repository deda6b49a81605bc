"""Bulk writes that pass the page cache by.

A backup or a restore writes more than this host's memory holds and reads none of it again soon: in the page
cache it evicts what others need, and every page must first be found and cleared. Where the file system takes
O_DIRECT, large writes go straight to the disk; elsewhere they go the ordinary way.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading

BLOCK_BYTES = 4096
"""Offsets, lengths and memory of a direct write are multiples of it; no common disk asks for more."""

BOUNCE_BYTES = 1 << 20
_NOT_HERE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})
_DIRECT = getattr(os, "O_DIRECT", 0)


class _Bounce(threading.local):
    """Aligned memory for each thread, made on first use."""

    def __init__(self) -> None:
        self.memory = memoryview(mmap.mmap(-1, BOUNCE_BYTES))


_bounce = _Bounce()


def open_direct(name: str | os.PathLike[str], flags: int, *, dir_fd: int | None = None) -> int | None:
    """A descriptor for direct writes to the file ``name``, which exists; ``None`` where there are none."""
    if not _DIRECT:
        return None
    try:
        return os.open(name, flags | _DIRECT, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise


def write_direct(descriptor: int, data: memoryview, offset: int) -> int:
    """Write as many whole blocks of ``data`` as there are at ``offset``; returns the bytes written.

    ``offset`` must be a multiple of ``BLOCK_BYTES``. What is left over (less than a block, or all of it where
    the disk wants larger blocks) is the caller's to write through another descriptor. Raises ``OSError``.
    """
    bounce = _bounce.memory
    whole = len(data) - len(data) % BLOCK_BYTES
    done = 0
    while done < whole:
        length = min(BOUNCE_BYTES, whole - done)
        bounce[:length] = data[done : done + length]
        try:
            written = os.pwrite(descriptor, bounce[:length], offset + done)
        except OSError as error:
            if error.errno in _NOT_HERE:
                break
            raise
        # A short write may end within a block; only whole ones can be gone on from.
        done += written - written % BLOCK_BYTES
        if not written:
            break
    return done
