"""Pages whose checksum is wrong when they are read from the donor."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from fleet.blocks import Extent
from repository.manifest import DamagedPage, FileEntry

MOST_LISTED = 1000
MOST_REMEMBERED = 100_000
"""A page that is read while it is written looks damaged too, until it comes again; there may be many."""


class SuspectPages:
    """Pages that looked damaged when they came, until they come again. Made for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offsets: dict[int, dict[int, int]] = {}
        self._count = 0

    def add(self, file: int, offset: int, page_bytes: int) -> None:
        """The page of ``page_bytes`` at ``offset`` of file number ``file`` has a wrong checksum."""
        with self._lock:
            if self._count < MOST_REMEMBERED:
                self._count += 1
                self._offsets.setdefault(file, {})[offset] = page_bytes

    def has(self, file: int, offset: int) -> bool:
        """Is the page there one of them?"""
        return bool(self._count) and offset in self._offsets.get(file, ())

    def came_again(self, extents: Iterable[Extent]) -> None:
        """The donor sent these bytes anew: what looked damaged there was being written when it was read."""
        if not self._count:
            return
        with self._lock:
            for file, offset, length in extents:
                if (suspects := self._offsets.get(file)) is None:
                    continue
                for again in [at for at in suspects if offset <= at < offset + length]:
                    del suspects[again]
                    self._count -= 1

    def damaged(self, files: Iterable[FileEntry]) -> tuple[DamagedPage, ...]:
        """The first ones that are left, of files that are still there, by the names of ``files``."""
        with self._lock:
            found = [
                DamagedPage(file=entry.name, page=offset // page_bytes)
                for entry in files
                for offset, page_bytes in self._offsets.get(entry.number, {}).items()
                if offset < entry.size
            ]
        return tuple(sorted(found, key=lambda page: (page.file, page.page))[:MOST_LISTED])
