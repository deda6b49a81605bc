"""Archives of real servers' binlog files for tests, made of the files themselves, without an archiver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from infra.sandbox.server import MysqlServer
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Epoch, EpochFacts
from repository.archive.segment import MAGIC, SegmentDraft
from repository.layout import BinlogFile
from wire.binlog.description import clear_in_use, parse_format_description
from wire.binlog.gtids import parse_previous_gtids
from wire.binlog.header import EventType, parse_header
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk, whole_events

PIECE_BYTES = 64 * 1024
NOTHING = GtidSet()


def executed(server: MysqlServer) -> GtidSet:
    return GtidSet.parse(str(server.query("SELECT @@global.gtid_executed AS g")[0]["g"]))


def open_epoch(
    archive: ShardArchive,
    server: MysqlServer,
    *,
    inherited: GtidSet = NOTHING,
    branch: GtidSet = NOTHING,
    skipped: GtidSet = NOTHING,
    reason: Literal["first", "promotion", "restore", "diverged"] = "first",
) -> Epoch:
    """The next epoch, which begins with ``server``."""
    epochs = archive.epochs()
    facts = EpochFacts(
        reason=reason,
        server_uuid=uuid_of(server),
        server_name=server.name,
        inherited=inherited,
        parent=epochs[-1].epoch if epochs else None,
        branch=branch,
        skipped=skipped,
    )
    return archive.open_epoch(facts, SystemClock())


def uuid_of(server: MysqlServer) -> str:
    return str(server.query("SELECT @@server_uuid AS u")[0]["u"])


@dataclass
class FileArchiver:
    """Puts the binlog files of ``server`` into the newest epoch, in pieces; each call takes what is new.

    ``leave_out``: names of files that are lost before they are archived.
    """

    archive: ShardArchive
    server: MysqlServer
    piece_bytes: int = PIECE_BYTES
    leave_out: tuple[str, ...] = ()
    _at: dict[str, _Place] = field(default_factory=dict)

    def run(self) -> None:
        epochs = self.archive.epochs()
        epoch = epochs[-1] if epochs else open_epoch(self.archive, self.server)
        logs = [row["Log_name"] for row in self.server.query("SHOW BINARY LOGS")]
        for name in logs:
            if name not in self.leave_out:
                self._archive(epoch.epoch, name, is_closed=name != logs[-1])

    def _archive(self, epoch: int, name: str, *, is_closed: bool) -> None:
        data = (self.server.datadir / name).read_bytes()
        data = data[: whole_events(data, len(MAGIC))]
        place = self._at.get(name) or self._at.setdefault(
            name, _Place.begin(epoch, uuid_of(self.server), name, data)
        )
        data = data[: len(MAGIC)] + clear_in_use(data[len(MAGIC) : place.head]) + data[place.head :]
        for start, end in self._pieces(data, place.position):
            closed = "rotate" if is_closed and end == len(data) else None
            transactions = place.reader.feed(data[start:end], start)
            draft = SegmentDraft(
                place.file, start, data[start:end], closed, place.previous, place.before, transactions
            )
            self.archive.put(self.archive.seal(draft))
            place.position = end
            place.before |= GtidSet(origin for each in transactions for origin in each.gtid.as_set())

    def _pieces(self, data: bytes, start: int) -> Iterator[tuple[int, int]]:
        for at, _, length in walk(data, max(start, len(MAGIC))):
            if at + length - start >= self.piece_bytes or at + length == len(data):
                yield start, at + length
                start = at + length


@dataclass
class _Place:
    """How far a file is archived."""

    file: BinlogFile
    head: int
    previous: GtidSet
    before: GtidSet
    reader: TransactionReader = field(default_factory=TransactionReader)
    position: int = 0

    @classmethod
    def begin(cls, epoch: int, uuid: str, name: str, data: bytes) -> _Place:
        created = parse_header(data, len(MAGIC)).timestamp
        ends = [at + length for at, _, length in walk(data, len(MAGIC))]
        description = parse_format_description(data[len(MAGIC) : ends[0]])
        assert parse_header(data, ends[0]).type == EventType.PREVIOUS_GTIDS
        previous = parse_previous_gtids(data[ends[0] : ends[1]], description.checksum)
        return cls(BinlogFile(epoch, uuid, name, created), ends[0], previous, previous)


def archive_files(archive: ShardArchive, server: MysqlServer, *, piece_bytes: int = PIECE_BYTES) -> None:
    """Everything that ``server`` has logged so far, into the newest epoch; the first is opened."""
    FileArchiver(archive, server, piece_bytes).run()
