"""Which pages were met already: a bit for each, so a shard of 20 TB takes 160 MB. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

Run = tuple[int, int]
"""Offset and length, in bytes."""

_NOT_ALL_ONES = re.compile(rb"[^\xff]{1,512}", re.DOTALL)


class ByteRuns:
    """Claimed runs of bytes; neighbours are joined, so a file that is met in order takes one run."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def claim(self, offset: int, length: int) -> list[Run]:
        """What nobody had claimed of ``length`` bytes from ``offset`` on; from now on it is."""
        if length <= 0:
            return []
        end = offset + length
        # Runs that overlap or touch [offset, end) are replaced by one.
        first = bisect_left(self._ends, offset)
        last = bisect_right(self._starts, end)
        free: list[Run] = []
        at = offset
        for start, stop in zip(self._starts[first:last], self._ends[first:last], strict=True):
            if start > at:
                free.append((at, start - at))
            at = max(at, stop)
        if at < end:
            free.append((at, end - at))
        if first < last:
            offset, end = min(offset, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [offset]
        self._ends[first:last] = [end]
        return free

    def gaps(self, size: int) -> Iterator[Run]:
        """The runs of the first ``size`` bytes that nobody claimed."""
        at = 0
        for start, end in zip(self._starts, self._ends, strict=True):
            if start >= size:
                break
            if start > at:
                yield at, start - at
            at = end
        if at < size:
            yield at, size - at

    def within(self, offset: int, length: int) -> Iterator[Run]:
        """The claimed runs of ``length`` bytes from ``offset`` on."""
        end = offset + length
        for at in range(bisect_right(self._ends, offset), bisect_left(self._starts, end)):
            start = max(self._starts[at], offset)
            yield start, min(self._ends[at], end) - start

    def __iter__(self) -> Iterator[Run]:
        """All claimed runs, by offset."""
        return ((start, end - start) for start, end in zip(self._starts, self._ends, strict=True))

    def holds(self, offset: int, length: int) -> bool:
        """Are all these bytes claimed?"""
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and self._ends[at] >= offset + length


class PageMap:
    """A bit for each page of each tablespace file, set when the page is claimed. Not thread-safe.

    A space is (space id, ordinal); the page size of a space is the same in all calls. A file of which a piece
    of a page is claimed is kept as runs of bytes from then on; such files are rare, and this stays right.
    """

    def __init__(self) -> None:
        self._bits: dict[tuple[int, int], bytearray] = {}
        self._odd: dict[tuple[int, int], tuple[int, ByteRuns]] = {}

    def claim(self, space: tuple[int, int], page_size: int, offset: int, length: int) -> list[Run]:
        """The runs (offset, length; bytes) that nobody had claimed of these; from now on they are."""
        if offset % page_size or length % page_size or (self._odd and space in self._odd):
            return self._claim_odd(space, page_size, offset, length)
        page, count = offset // page_size, length // page_size
        first, end = page >> 3, (page + count + 7) >> 3
        bits = self._bits.get(space)
        if bits is None:
            bits = self._bits[space] = bytearray()
        if len(bits) < end:
            bits += bytes(end - len(bits))
        mask = ((1 << count) - 1) << (page & 7)
        word = int.from_bytes(bits[first:end], "little")
        free = mask & ~word
        if not free:
            return []
        bits[first:end] = (word | mask).to_bytes(end - first, "little")
        if free == mask:
            return [(offset, length)]
        return [(at * page_size, many * page_size) for at, many in _ones(free, first << 3)]

    def holds(self, space: tuple[int, int], page: int) -> bool:
        """Was the whole page claimed?"""
        if odd := self._odd.get(space):
            return odd[1].holds(page * odd[0], odd[0])
        bits = self._bits.get(space, b"")
        return page >> 3 < len(bits) and bool(bits[page >> 3] >> (page & 7) & 1)

    def gaps(self, space: tuple[int, int], page_size: int, size: int) -> Iterator[Run]:
        """The runs (offset, length; bytes) of the first ``size`` bytes that nobody claimed, by offset."""
        if odd := self._odd.get(space):
            yield from odd[1].gaps(size)
            return
        start = end = 0
        for page, count in self._unset(space, -(-size // page_size)):
            offset = page * page_size
            if offset > end:
                if end > start:
                    yield start, end - start
                start = offset
            end = min(offset + count * page_size, size)
        if end > start:
            yield start, end - start

    def _unset(self, space: tuple[int, int], pages: int) -> Iterator[Run]:
        """First page and number of pages of the clear runs of so many pages; a long run comes in pieces."""
        bits = self._bits.get(space, b"")
        for match in _NOT_ALL_ONES.finditer(bits, 0, -(-pages // 8)):
            width = 8 * len(match[0])
            clear = ~int.from_bytes(match[0], "little") & ((1 << width) - 1)
            for page, count in _ones(clear, 8 * match.start()):
                if page < pages:
                    yield page, count
        if 8 * len(bits) < pages:
            yield 8 * len(bits), pages - 8 * len(bits)

    def _claim_odd(self, space: tuple[int, int], page_size: int, offset: int, length: int) -> list[Run]:
        odd = self._odd.get(space)
        if odd is None:
            odd = page_size, ByteRuns()
            bits = self._bits.get(space, b"")
            for at in range(0, len(bits), 512):
                word = int.from_bytes(bits[at : at + 512], "little")
                for page, count in _ones(word, 8 * at):
                    odd[1].claim(page * page_size, count * page_size)
            self._bits.pop(space, None)
            self._odd[space] = odd
        return odd[1].claim(offset, length)


def _ones(word: int, first: int) -> Iterator[tuple[int, int]]:
    """The runs of set bits, as position (the lowest bit is ``first``) and length."""
    while word:
        clear = (word & -word).bit_length() - 1
        word >>= clear
        count = (word ^ (word + 1)).bit_length() - 1
        yield first + clear, count
        first += clear + count
        word >>= count
