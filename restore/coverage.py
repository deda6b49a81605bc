"""Which bytes of a file some record covers; what none covers is zeros. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Coverage:
    """Runs of covered bytes by file number; neighbours are joined, so a file read in order takes one run."""

    def __init__(self) -> None:
        self._starts: dict[int, list[int]] = {}
        self._ends: dict[int, list[int]] = {}

    def add(self, file: int, offset: int, length: int) -> None:
        """``length`` bytes (more than 0) of ``file`` from ``offset`` on are covered."""
        starts = self._starts.setdefault(file, [])
        ends = self._ends.setdefault(file, [])
        start, end = offset, offset + length
        # Runs that overlap or touch [start, end) are replaced by one.
        first = bisect_left(ends, start)
        last = bisect_right(starts, end)
        if first < last:
            start, end = min(start, starts[first]), max(end, ends[last - 1])
        starts[first:last] = [start]
        ends[first:last] = [end]

    def gaps(self, file: int, size: int) -> Iterator[tuple[int, int]]:
        """Start and end of each run of the first ``size`` bytes that nothing covers."""
        at = 0
        for start, end in zip(self._starts.get(file, ()), self._ends.get(file, ()), strict=True):
            if at >= size:
                return
            if start > at:
                yield at, min(start, size)
            at = end
        if at < size:
            yield at, size
