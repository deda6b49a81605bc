"""What a segment must say of the events in it: their transactions, and what was executed before them.

A binlog file is read from its beginning, or from where its archive ends: then the archived tail is read
again from the last transaction's end on, since a transaction may go over from one segment into the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from backup.archive.place import file_end, looked_again
from backup.archive.spool import Cut
from fleet.errors import ObjectMissing, StoreUnreachable
from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.cover import ArchivedFile
from repository.archive.segment import SegmentDraft
from repository.layout import BinlogFile
from wire.binlog.events import ChecksumAlgorithm, EventType, parse_format_description, parse_previous_gtids
from wire.binlog.header import MAGIC
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk

_FRONT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Front:
    """What the first two events of a binlog file say; ``previous`` is None while the second is not there."""

    checksum: ChecksumAlgorithm
    previous: GtidSet | None


def read_front(data: bytes | bytearray | memoryview) -> Front:
    """Of the first bytes of a file, from the magic number on. Raises ``BinlogUnreadable``."""
    view = memoryview(data)
    checksum = ChecksumAlgorithm.CRC32
    for at, kind, length in walk(view, len(MAGIC)):
        event = view[at : at + length]
        if kind == EventType.FORMAT_DESCRIPTION:
            checksum = parse_format_description(event).checksum
        elif kind == EventType.PREVIOUS_GTIDS:
            return Front(checksum, parse_previous_gtids(event, checksum))
        else:
            break
    return Front(checksum, None)


class FileParser:
    """Makes drafts of the segments of one binlog file, one after the other."""

    def __init__(
        self, file: BinlogFile, reader: TransactionReader, previous: GtidSet, executed: GtidSet
    ) -> None:
        self.file = file
        self.previous = previous
        self.executed = executed
        """All that is executed at the end of the last draft."""
        self._reader = reader

    @classmethod
    def at_beginning(cls, cut: Cut, executed: GtidSet) -> FileParser:
        """``executed`` stands in for a Previous_gtids that the source's crash did not let it write."""
        previous = read_front(cut.data).previous
        begun = executed if previous is None else previous
        return cls(cut.file, TransactionReader(verify=False), begun, begun)

    @classmethod
    def resumed(cls, archive: ShardArchive, name: BinlogFile, position: int) -> FileParser:
        """Goes on at ``position``, where the archived bytes end, while they may be composed.

        Raises ``StoreUnreachable`` when the store does not list as much as that yet.
        """
        return looked_again(lambda: cls._resumed(archive, archive.file(name), position))

    @classmethod
    def _resumed(cls, archive: ShardArchive, file: ArchivedFile, position: int) -> FileParser:
        if file.end < position:
            raise StoreUnreachable(
                f"the store lists {file.name} up to byte {file.end}, and {position} bytes of it were stored",
                hint="Its lists are behind; the archiver looks again.",
            )
        header = file_end(archive, file).header
        front = read_front(_bytes_from(archive, file, 0, _FRONT_BYTES))
        reader = TransactionReader(checksum=front.checksum, verify=False)
        begun = header.set_before | header.own_set
        whole = _whole_until(archive, file)
        if whole < position:
            tail = _bytes_from(archive, file, whole, position - whole)
            begun |= gtids_of(reader.feed(tail, whole))
        return cls(file.name, reader, header.previous_set, begun)

    def draft(self, cut: Cut) -> SegmentDraft:
        """The next segment. Raises ``BinlogUnreadable``."""
        before = self.executed
        transactions = self._reader.feed(cut.data, cut.start)
        self.executed = before | gtids_of(transactions)
        return SegmentDraft(cut.file, cut.start, cut.data, cut.closed, self.previous, before, transactions)


def _whole_until(archive: ShardArchive, file: ArchivedFile) -> int:
    """Behind the last transaction that is archived whole, or behind what comes before the first one."""
    for part in reversed(file.parts):
        header = archive.header(part.segment)
        if header.whole_until is not None:
            return min(header.whole_until, file.end)
    front = memoryview(_bytes_from(archive, file, 0, _FRONT_BYTES))
    frame = (EventType.FORMAT_DESCRIPTION, EventType.PREVIOUS_GTIDS)
    return next((at for at, kind, _ in walk(front, len(MAGIC)) if kind not in frame), len(front))


def _bytes_from(archive: ShardArchive, file: ArchivedFile, start: int, count: int) -> bytes:
    """``count`` archived bytes from ``start`` on, or all that there are if they are fewer; whole segments."""
    found: list[bytes] = []
    for part in file.parts:
        if part.last <= start or part.first >= start + count:
            continue
        if part.first > start + sum(map(len, found)):
            raise ObjectMissing(
                f"bytes {start + sum(map(len, found))} to {part.first} of {file.name} are missing"
            )
        for piece, segment in archive.read_part(part):
            offset = segment.header.start
            found.append(segment.data[max(piece.first, start) - offset : piece.last - offset])
    return b"".join(found)
