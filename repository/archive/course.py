"""What the parts of a line give, added up once: a thousand backups are looked for in the same line. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fleet.gtid import GtidSet
from repository.archive.reckoning import Gap, LinePart


class Found(NamedTuple):
    """The part with which a set is complete, and what of it comes in that part alone."""

    number: int
    rest: GtidSet


@dataclass(frozen=True)
class Course:
    """``holes``: what is missing right before a part, by its number. ``moments`` and ``ends`` keep what was
    read from parts: when transactions of a part were committed, and the last that it gives, in microseconds.
    """

    holes: Mapping[int, GtidSet]
    moments: dict[tuple[int, GtidSet], int]
    ends: dict[int, int | None]
    _numbers: Sequence[int] = field(repr=False)
    _before: Sequence[GtidSet] = field(repr=False)
    _with: Sequence[GtidSet] = field(repr=False)

    @classmethod
    def of(cls, parts: Sequence[LinePart], gaps: Sequence[Gap]) -> Course:
        """Add up the parts, each with the gap before it."""
        holes = _holes(parts, gaps)
        numbers: list[int] = []
        before: list[GtidSet] = []
        until: list[GtidSet] = []
        so_far = GtidSet()
        for number, part in enumerate(parts):
            if number in holes:
                so_far |= holes[number]
            if part.wanted:
                numbers.append(number)
                before.append(so_far)
                so_far |= part.wanted
                until.append(so_far)
        return cls(holes, {}, {}, numbers, before, until)

    def complete_with(self, gtids: GtidSet, end: int) -> Found | None:
        """The first part before ``end`` up to and with which the line gives or lacks all of ``gtids``."""
        last = bisect_left(self._numbers, end)
        at = bisect_left(range(last), True, key=lambda number: gtids <= self._with[number])
        return Found(self._numbers[at], gtids - self._before[at]) if at < last else None


def _holes(parts: Sequence[LinePart], gaps: Sequence[Gap]) -> dict[int, GtidSet]:
    left = list(gaps)
    holes: dict[int, GtidSet] = {}
    for number, part in enumerate(parts):
        for gap in [gap for gap in left if gap.opens_at(part)]:
            left.remove(gap)
            holes[number] = holes.get(number, GtidSet()) | gap.missing
    return holes
