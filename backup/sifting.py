"""The page filter: of what the donor sends, what a base already holds is left out (FORMAT.md, section 13).

It runs in the reader threads, in front of the spool. A page costs it some microseconds, most of them for the
checksum; only blocks of which some pages are kept, and some not, are copied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from backup.damage import SuspectPages
from backup.stored_pages import SpaceOf
from fleet.blocks import Block, Extent, Stage
from repository.chain import Space
from wire.clone.buffers import BufferPool
from wire.clone.outcome import SpaceFile
from wire.clone.pages import is_damaged, lsns

GATHERED_BYTES = 1024 * 1024
"""Kept pages of several blocks travel together in blocks of up to this size."""

_LSN = slice(16, 24)


@lru_cache
def _zeros(length: int) -> bytes:
    return bytes(length)


@dataclass(frozen=True, slots=True)
class HeldPages:
    """What the base holds: the pages of ``spaces`` that were not changed since ``checkpoint_lsn``."""

    checkpoint_lsn: int
    spaces: frozenset[Space]


@dataclass(slots=True)
class _Gathered:
    """Kept pages of one stream on their way into one block."""

    buffer: memoryview
    release: Callable[[], None]
    length: int = 0
    extents: list[Extent] = field(default_factory=list[Extent])


class Sieve:
    """Sifts blocks of the file stage, and checks every page's checksum; without ``held`` it keeps everything.

    Kept blocks go to ``keep``; damaged pages are kept, and told to ``suspects``. Each stream is used by one
    thread at a time.
    """

    def __init__(
        self,
        held: HeldPages | None,
        space_of: SpaceOf,
        suspects: SuspectPages,
        keep: Callable[[Block], None],
    ) -> None:
        self._held = held
        self._space_of = space_of
        self._suspects = suspects
        self._keep = keep
        self._pool = BufferPool(GATHERED_BYTES)
        self._lock = threading.Lock()
        self._gathered: dict[int, _Gathered] = {}
        self._unchanged: dict[int, int] = {}

    @property
    def unchanged_bytes(self) -> int:
        """What came and was left out."""
        return sum(self._unchanged.values())

    def put(self, block: Block, stream: int) -> None:
        """Take over ``block``, of the file stage. Raises what ``keep`` raises."""
        (extent,) = block.extents
        space = self._space_of(extent.file)
        if space is None:
            self._keep(block)
            return
        kept = self._kept_pages(extent, block.data, space)
        if kept is None:
            self._keep(block)
            return
        try:
            self._unchanged[stream] = self._unchanged.get(stream, 0) + len(block.data)
            for offset, length in kept:
                self._unchanged[stream] -= length
                for at in range(offset, offset + length, GATHERED_BYTES):
                    end = min(at + GATHERED_BYTES, offset + length)
                    self._gather(extent, at, block.data[at:end], stream)
        finally:
            block.release()

    def changed_of(self, block: Block, stream: int) -> Block | None:
        """What of ``block``, of the page stage, the base does not hold; ``None``, and released, if it is all.

        A donor sends what it noted while the clone ran, and may send what it had noted long before that. Page
        0 is kept, which may bring the tablespace's key, and so is a page whose first reading was damaged.
        """
        if self._held is None:
            return block
        kept: list[Extent] = []
        begin = end = 0
        for extent in block.extents:
            data = block.data[begin : begin + extent.length]
            if not self._is_held(extent, data):
                if begin != end:
                    block.data[end : end + extent.length] = data
                kept.append(extent)
                end += extent.length
            begin += extent.length
        self._unchanged[stream] = self._unchanged.get(stream, 0) + begin - end
        if not kept:
            block.release()
            return None
        return Block(block.stage, tuple(kept), block.data[:end], block.release)

    def flush(self) -> None:
        """Hand over what was gathered. No stream is in ``put``."""
        with self._lock:
            gathered, self._gathered = self._gathered, {}
        for each in gathered.values():
            self._hand_over(each)

    def discard(self) -> None:
        """Give back what was gathered and not handed over."""
        with self._lock:
            gathered, self._gathered = self._gathered, {}
        for each in gathered.values():
            each.release()

    def _kept_pages(self, extent: Extent, data: memoryview, space: SpaceFile) -> list[tuple[int, int]] | None:
        """The runs of pages to keep, as offset and length in ``data``; ``None`` if that is all of it."""
        size = space.page_size
        step = size.physical
        if extent.offset % step or extent.length % step:
            return None
        held = self._held
        checkpoint = held.checkpoint_lsn if held is not None else 0
        is_held = held is not None and (space.space_id, space.ordinal) in held.spaces
        zeros = _zeros(step)
        runs: list[tuple[int, int]] = []
        start = -1
        at = 0
        for lsn in lsns(data, step):
            page = data[at : at + step]
            if lsn == 0 and page.tobytes() == zeros:
                keeps = held is None
            elif is_damaged(page, size):
                self._suspects.add(extent.file, extent.offset + at, step)
                keeps = True
            else:
                keeps = not is_held or lsn >= checkpoint or lsn == 0
            if keeps and start < 0:
                start = at
            elif not keeps and start >= 0:
                runs.append((start, at - start))
                start = -1
            at += step
        if start == 0:
            return None
        if start > 0:
            runs.append((start, at - start))
        return runs

    def _is_held(self, extent: Extent, page: memoryview) -> bool:
        """Does the base hold this page as it is?"""
        assert self._held is not None
        space = self._space_of(extent.file)
        if space is None or extent.offset == 0 or (space.space_id, space.ordinal) not in self._held.spaces:
            return False
        if extent.length != space.page_size.physical or self._suspects.has(extent.file, extent.offset):
            return False
        return 0 < int.from_bytes(page[_LSN], "big") < self._held.checkpoint_lsn

    def _gather(self, extent: Extent, offset: int, data: memoryview, stream: int) -> None:
        """Copy a run of kept pages; what does not fit begins the next block."""
        room = self._gathered.get(stream)
        if room is not None and room.length + len(data) > len(room.buffer):
            with self._lock:
                del self._gathered[stream]
            self._hand_over(room)
            room = None
        if room is None:
            room = _Gathered(*self._pool.take())
            with self._lock:
                self._gathered[stream] = room
        room.buffer[room.length : room.length + len(data)] = data
        room.extents.append(Extent(extent.file, extent.offset + offset, len(data)))
        room.length += len(data)

    def _hand_over(self, gathered: _Gathered) -> None:
        block = Block(
            Stage.FILE, tuple(gathered.extents), gathered.buffer[: gathered.length], gathered.release
        )
        self._keep(block)
