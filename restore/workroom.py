"""A directory for as long as one run takes; what killed runs left is removed by the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from restore.files import disk_errors

PREFIX = "backstay-diff-"


@contextmanager
def open_workroom(parent: Path | None = None) -> Generator[Path]:
    """A new directory of mode 0700 below ``parent`` (default: where temporary files go), gone at the end.

    It is locked while it is in use: rows lie in it, and one that nobody holds was left by a run that died.
    Raises TargetRefused, DiskFull.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    with disk_errors(place):
        _remove_left_behind(place)
        room, lock = _make(place)
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(lock)


def _make(place: Path) -> tuple[Path, int]:
    """A directory and the lock on it. Another run may have taken it for left behind before it was locked."""
    while True:
        room = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = _lock(room)
        if lock is not None:
            if room.exists():
                return room, lock
            os.close(lock)


def _remove_left_behind(place: Path) -> None:
    for room in place.glob(f"{PREFIX}*"):
        lock = _lock(room)
        if lock is not None:
            shutil.rmtree(room, ignore_errors=True)
            os.close(lock)


def _lock(room: Path) -> int | None:
    """An open descriptor that holds the lock, None if somebody else does, or the directory is not ours."""
    try:
        if room.is_symlink() or room.stat().st_uid != os.geteuid():
            return None
        descriptor = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
