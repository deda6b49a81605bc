"""Which segments of a binlog file to read (FORMAT.md, section 10, rule 3). Pure.

Two archivers that did not know of each other, or a list that was behind, leave segments that overlap: every
one holds the file's own bytes, so what is needed is only a choice that everybody makes in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from repository.layout import BinlogFile, SegmentName


class SegmentRef(NamedTuple):
    """A stored segment and the size of its object in bytes."""

    name: SegmentName
    size: int

    @property
    def start(self) -> int:
        return self.name.start

    @property
    def end(self) -> int:
        return self.name.end


class Part(NamedTuple):
    """The bytes ``[first, last)`` of a file, to be read from ``segment``, which may hold more."""

    segment: SegmentRef
    first: int
    last: int


@dataclass(frozen=True)
class ArchivedFile:
    """A binlog file in the archive.

    ``parts``: what to read, by position, without overlap; between two of them bytes may be missing.
    ``spare``: segments that are not read, because others hold all of their bytes.
    """

    name: BinlogFile
    parts: tuple[Part, ...]
    spare: tuple[SegmentRef, ...] = ()

    @property
    def segments(self) -> tuple[SegmentRef, ...]:
        return tuple(part.segment for part in self.parts)

    @property
    def end(self) -> int:
        """Up to here everything from byte 0 on is archived."""
        at = 0
        for part in self.parts:
            if part.first != at:
                break
            at = part.last
        return at

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """Bytes that are missing before a part: ``(from, to)``."""
        edges = [(0, 0), *((part.first, part.last) for part in self.parts)]
        return tuple((before[1], after[0]) for before, after in pairwise(edges) if before[1] < after[0])


def cover(name: BinlogFile, segments: Iterable[SegmentRef]) -> ArchivedFile:
    """From each position on, the segment that reaches farthest; of equal ones that which begins first."""
    ordered = sorted(set(segments))
    parts: list[Part] = []
    at = index = 0
    best: SegmentRef | None = None
    while True:
        while index < len(ordered) and ordered[index].start <= at:
            if best is None or ordered[index].end > best.end:
                best = ordered[index]
            index += 1
        if best is not None and best.end > at:
            parts.append(Part(best, at, best.end))
            at = best.end
        elif index < len(ordered):
            at = ordered[index].start
        else:
            break
    used = {part.segment for part in parts}
    return ArchivedFile(name, tuple(parts), tuple(each for each in ordered if each not in used))
