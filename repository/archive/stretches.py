"""What to fetch of a line, in order (FORMAT.md, section 10). Pure.

Only whole transactions are given out, each once: half a transaction at the end of a file is one that its
server never committed, or one whose rest is still to come.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from fleet.gtid import GtidSet
from repository.archive.reckoning import LinePart
from repository.archive.segment import MAGIC
from repository.layout import BinlogFile

_EVENT_HEADER_BYTES = 19
_TYPE_AND_LENGTH = struct.Struct("<4xB4xI")
_FORMAT_DESCRIPTION, _PREVIOUS_GTIDS = 15, 35


@dataclass(frozen=True, slots=True)
class Stretch:
    """Parts of one file that belong together: transactions may go over their borders, but not over its ends.

    ``file_parts``: all of the file. ``wanted``: what to give out of each part. ``is_plain``: that is
    everything, so bytes can be given out as they come, up to ``end``, behind the last whole transaction.
    """

    file: BinlogFile
    file_parts: tuple[LinePart, ...]
    parts: tuple[LinePart, ...]
    wanted: tuple[GtidSet, ...]
    is_plain: bool
    end: int

    def ranges(self) -> Iterator[tuple[LinePart, int, int]]:
        """Of a plain stretch: the parts and which of their bytes to give out."""
        for each in self.parts:
            # The source that will serve it begins a file behind the magic number.
            first = max(each.part.first, each.begin, len(MAGIC))
            last = min(each.part.last, self.end)
            if first < last:
                yield each, first, last


def stretches(parts: Sequence[LinePart], have: GtidSet) -> Iterator[Stretch]:
    """The stretches that hold a transaction outside of ``have``, in order."""
    for file, members in groupby(parts, key=lambda part: part.file):
        of_file = list(members)
        for linked in _linked(of_file):
            wanted = tuple(part.wanted - have if part.wanted else part.wanted for part in linked)
            if any(wanted):
                is_plain = all(
                    part.is_whole and want == part.wanted for part, want in zip(linked, wanted, strict=True)
                )
                yield Stretch(file, tuple(of_file), tuple(linked), wanted, is_plain, _whole_until(linked))


def head_end(data: bytes) -> int:
    """Behind format description and Previous_gtids, with which ``data``, the file's first bytes, begins.

    Events as in binlog files: a header of 19 bytes with the type at 4 and the length at 9.
    """
    at = len(MAGIC)
    while at + _EVENT_HEADER_BYTES <= len(data):
        kind, length = _TYPE_AND_LENGTH.unpack_from(data, at)
        if kind not in (_FORMAT_DESCRIPTION, _PREVIOUS_GTIDS) or length < _EVENT_HEADER_BYTES:
            break
        at += length
    return min(at, len(data))


def _linked(parts: Sequence[LinePart]) -> Iterator[list[LinePart]]:
    group: list[LinePart] = []
    for part in parts:
        if group and (group[-1].part.last != part.part.first or _ends_whole(group[-1])):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _ends_whole(part: LinePart) -> bool:
    return part.header.whole_until == part.part.last


def _whole_until(parts: Sequence[LinePart]) -> int:
    return max((part.header.whole_until or 0 for part in parts if part.gtids), default=0)
