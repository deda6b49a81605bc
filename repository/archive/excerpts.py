"""The bytes of single transactions of a line, as the binlog file has them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from fleet.errors import ArchiveGap
from repository.archive.cover import Part
from repository.archive.line import Entry, Line
from repository.archive.segment import Segment

_KEPT = 2


class Excerpts:
    """Reads transactions of ``line``. The segments that were read last are kept: neighbours cost one read.

    Not for two threads at once. Raises what the archive raises.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._kept: OrderedDict[Part, list[tuple[Part, Segment]]] = OrderedDict()

    def pieces(self, entry: Entry) -> Iterator[memoryview]:
        """The transaction, in pieces of whole events, each from one segment.

        Raises ``ArchiveGap`` if some of its bytes are not in the archive.
        """
        at = entry.transaction.start
        end = at + entry.transaction.length
        for part in self._parts(entry, at):
            for piece, segment in self._read(part):
                first, last = max(at, piece.first), min(end, piece.last)
                if first == at and first < last:
                    base = segment.header.start
                    yield memoryview(segment.data)[first - base : last - base]
                    at = last
        if at < end:
            raise ArchiveGap(
                f"{entry.transaction.gtid}: its bytes {at} to {end} of {entry.file} are not in the archive"
            )

    def _parts(self, entry: Entry, first: int) -> list[Part]:
        """The parts that hold it, from position ``first`` on: that in which it ends, and those before."""
        found: list[Part] = []
        for number in range(entry.part, -1, -1):
            each = self._line.parts[number]
            if each.file != entry.file:
                break
            found.append(each.part)
            if each.part.first <= first:
                break
        return found[::-1]

    def _read(self, part: Part) -> list[tuple[Part, Segment]]:
        found = self._kept.pop(part, None) or self._line.archive.read_part(part)
        self._kept[part] = found
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found
