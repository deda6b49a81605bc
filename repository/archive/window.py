"""When a shard can be recovered: what backups and the line give together. Pure, but for the opening of parts.

A backup leads to every point at which all that it may hold was executed, up to the first transactions that
neither it holds nor the archive: behind those only a later backup leads on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fleet.gtid import GtidSet
from fleet.moments import from_microseconds
from repository.archive.course import Found
from repository.archive.line import Line, Window
from repository.archive.reckoning import Gap, union
from repository.manifest import Manifest

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Base:
    """A backup: it holds all of ``low``, and nothing outside of ``high``."""

    low: GtidSet
    high: GtidSet
    label: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> Base:
        """What matters of a manifest."""
        return cls(GtidSet.parse(manifest.gtid.low), GtidSet.parse(manifest.gtid.high), manifest.label)


class _Reach(NamedTuple):
    """The parts to which a backup leads: from one, at a moment in it, up to another, which is not reached."""

    first: int
    first_at_us: int
    end: int


def recoverable(line: Line, bases: Iterable[Base]) -> tuple[Window, ...]:
    """The stretches of commit times between which the shard can be recovered, oldest first.

    Between two of them lie transactions that were never archived, up to the next backup that holds them.
    """
    found = sorted(reach for base in bases if (reach := _reach(line, base)))
    joined: list[_Reach] = []
    for reach in found:
        if joined and reach.first < joined[-1].end:
            joined[-1] = joined[-1]._replace(end=max(joined[-1].end, reach.end))
        else:
            joined.append(reach)
    return tuple(_window(line, reach) for reach in joined)


def uncovered(line: Line, bases: Sequence[Base]) -> tuple[Gap, ...]:
    """The gaps behind which no backup leads on: what comes after them cannot be recovered."""
    astray = union(branch.gtids for branch in line.branches)
    usable = [base for base in bases if not base.high & astray]
    return tuple(gap for gap in line.gaps if not any(gap.missing <= base.low for base in usable))


def _reach(line: Line, base: Base) -> _Reach | None:
    if not line.parts or not line.first_gtids - line.skipped <= base.low:
        return None
    holes = line.course.holes
    end = next((number for number, missing in holes.items() if not missing <= base.low), len(line.parts))
    left = base.high - line.first_gtids - line.skipped
    if not left:
        return _Reach(0, line.parts[0].file.created * _SECOND_US, end) if end else None
    found = line.course.complete_with(left, end)
    return _Reach(found.number, _time_of_the_last(line, found), end) if found else None


def _time_of_the_last(line: Line, found: Found) -> int:
    """When the last of ``found.rest`` was committed; of an empty set, the first transaction of the part."""
    part = line.parts[found.number]
    if part.is_whole and part.last_at_us is not None and part.wanted <= found.rest:
        return part.last_at_us
    known = line.course.moments
    if found not in known:
        times: list[int] = []
        last_at_us = 0
        for entry in line.entries(found.number):
            last_at_us = max(last_at_us, entry.transaction.committed_at_us)
            if not times or entry.transaction.gtid.as_set() <= found.rest:
                times.append(last_at_us)
        known[found] = times[-1]
    return known[found]


def _window(line: Line, reach: _Reach) -> Window:
    last_at_us = max(_ends(line, reach), default=reach.first_at_us)
    return Window(from_microseconds(reach.first_at_us), from_microseconds(max(last_at_us, reach.first_at_us)))


def _ends(line: Line, reach: _Reach) -> Iterator[int]:
    known = line.course.ends
    for number in range(reach.first, reach.end):
        if number not in known:
            known[number] = _end(line, number)
        if (end := known[number]) is not None:
            yield end


def _end(line: Line, number: int) -> int | None:
    """The latest commit time of what a part gives; None if that is nothing."""
    part = line.parts[number]
    if part.is_whole and part.last_at_us is not None:
        return part.last_at_us
    if not part.wanted:
        return None
    return max(entry.transaction.committed_at_us for entry in line.entries(number))
