"""A server's binlogs put into an archive at once, for tests that need an archive and no archiver."""

from __future__ import annotations

from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from fleet.transaction import Transaction
from infra.sandbox.server import MysqlServer
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.ledger import EpochFacts
from repository.archive.segment import SegmentDraft
from repository.layout import BinlogFile
from wire.binlog.events import ChecksumAlgorithm, clear_in_use, parse_format_description, parse_header
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk

EMPTY = GtidSet()


def archive_binlogs(archive: ShardArchive, server: MysqlServer, *, segment_bytes: int = 1 << 22) -> None:
    """Everything that the server has in its binlogs, as the first epoch."""
    (row,) = server.query("SELECT @@server_uuid AS uuid")
    facts = EpochFacts("first", row["uuid"], "primary", EMPTY, None, EMPTY, EMPTY)
    epoch = archive.open_epoch(facts, SystemClock()).epoch
    before = EMPTY
    logs = server.query("SHOW BINARY LOGS")
    for log in logs:
        path = server.datadir / log["Log_name"]
        content = path.read_bytes()
        length = parse_header(content, 4).length
        content = content[:4] + clear_in_use(content[4 : 4 + length]) + content[4 + length :]
        description = parse_format_description(content[4 : 4 + length])
        file = BinlogFile(epoch, row["uuid"], path.name, description.timestamp)
        closed = None if log is logs[-1] else "rotate"
        before = _archive_file(archive, file, content, before, closed, segment_bytes)


def _archive_file(
    archive: ShardArchive, file: BinlogFile, content: bytes, before: GtidSet, closed: str | None, size: int
) -> GtidSet:
    previous = before
    reader = TransactionReader(checksum=ChecksumAlgorithm.CRC32)
    start = 0
    ends = [at + length for at, _, length in walk(memoryview(content), 4)]
    for at in ends:
        if at - start < size and at != ends[-1]:
            continue
        found: list[Transaction] = reader.feed(content[start:at], start)
        ends_file = closed if at == ends[-1] else None
        draft = SegmentDraft(file, start, content[start:at], ends_file, previous, before, found)  # type: ignore[arg-type]
        assert archive.put(archive.seal(draft))
        before |= gtids_of(found)
        start = at
    return before
