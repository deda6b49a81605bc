"""The files of the target while they are filled: many more of them than may be open at once."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from fleet.direct_io import BLOCK_BYTES, open_direct, write_direct
from fleet.errors import DiskFull, TargetRefused

# From so many files on, syncing the whole file system at once is cheaper than each file alone.
_SYNC_ALL_FROM = 48
_MOST_OPEN = 1024
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# Below this, past the page cache is the long way round: a direct write waits for the disk. What a chain
# leaves of a full's blocks, 100 KiB on average, came into place in two thirds of the time by the cache.
_LARGE_BYTES = 512 * 1024


class OpenFile:
    """One file of the target, while it is open. Thread-safe."""

    def __init__(self, path: Path) -> None:
        # Nothing but what was laid out is ever written to: no file is made here, no link followed.
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._opening = threading.Lock()
        # For large writes: None until the first one, -1 where the file system has none.
        self._direct: int | None = None
        self.users = 0

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of ``data`` at byte ``offset``. Raises ``OSError``."""
        if len(data) >= _LARGE_BYTES and offset % BLOCK_BYTES == 0:
            written = self._write_past_cache(offset, data)
            data, offset = data[written:], offset + written
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written

    def read(self, offset: int, into: memoryview) -> bool:
        """Fill ``into`` from byte ``offset`` on; False when the file ends earlier. Raises ``OSError``."""
        while into:
            got = os.preadv(self._descriptor, [into], offset)
            if got == 0:
                return False
            into, offset = into[got:], offset + got
        return True

    def sync(self) -> None:
        """Make what was written durable. Raises ``OSError``."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Once nobody uses it."""
        os.close(self._descriptor)
        if self._direct is not None and self._direct >= 0:
            os.close(self._direct)

    def _write_past_cache(self, offset: int, data: memoryview) -> int:
        with self._opening:
            if self._direct is None:
                found = open_direct(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                self._direct = -1 if found is None else found
        return write_direct(self._direct, data, offset) if self._direct >= 0 else 0


class TargetFiles:
    """Opens and syncs files by number; keeps those used last open. Thread-safe.

    ``name_of`` gives a file's present name below ``directory``. Raises ``DiskFull`` when there is no room,
    and ``TargetRefused`` for any other failure of the disk.
    """

    def __init__(
        self, directory: Path, name_of: Callable[[int], str], *, most_open: int | None = None
    ) -> None:
        self._directory = directory
        self._name_of = name_of
        self._most_open = most_open or min(_MOST_OPEN, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._lock = threading.Lock()
        self._open: OrderedDict[int, OpenFile] = OrderedDict()
        self._is_closed = False

    @contextmanager
    def open(self, number: int) -> Generator[OpenFile]:
        """The file, open until the end of the context; what the disk says in it is mapped to our errors."""
        path = self._directory / self._name_of(number)
        with disk_errors(path):
            opened = self._take(number, path)
            try:
                yield opened
            finally:
                self._give_back(number, opened)

    def sync(self, numbers: Iterable[int]) -> None:
        """Make what was written to these files durable."""
        wanted = list(numbers)
        if len(wanted) >= _SYNC_ALL_FROM:
            self.sync_all()
            return
        for number in wanted:
            with self.open(number) as opened:
                opened.sync()

    def sync_all(self) -> None:
        """Make everything durable: data, sizes and names."""
        with disk_errors(self._directory):
            sync_file_system(self._directory)

    def close(self) -> None:
        """Close what nobody uses now, and the rest when it is given back; no file is opened any more."""
        with self._lock:
            self._is_closed = True
            for number in [number for number, opened in self._open.items() if not opened.users]:
                self._open.pop(number).close()

    def _take(self, number: int, path: Path) -> OpenFile:
        with self._lock:
            if self._is_closed:
                raise TargetRefused(f"{self._directory} was closed", hint="The restore was stopped.")
            opened = self._open.get(number)
            if opened is None:
                opened = self._open[number] = OpenFile(path)
            self._open.move_to_end(number)
            opened.users += 1
            self._close_surplus()
            return opened

    def _give_back(self, number: int, opened: OpenFile) -> None:
        with self._lock:
            opened.users -= 1
            if self._is_closed and not opened.users:
                del self._open[number]
                opened.close()

    def _close_surplus(self) -> None:
        surplus = len(self._open) - self._most_open
        if surplus <= 0:
            return
        idle = (number for number, opened in self._open.items() if not opened.users)
        for number in [number for number, _ in zip(idle, range(surplus), strict=False)]:
            self._open.pop(number).close()


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Map what the operating system says of the disk to our errors, once."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        if error.errno in _NO_ROOM:
            raise DiskFull(
                f"{place}: {error.strerror}",
                hint="Make room and run the same command again: it goes on where it was.",
            ) from error
        raise TargetRefused(
            f"{place}: {error.strerror}", hint="Is the disk sound, and may this user write there?"
        ) from error


def sync_file_system(directory: Path) -> None:
    """Make everything on the file system of ``directory`` durable. Raises ``OSError``."""
    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if sync is None:
        os.sync()
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if sync(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)
