"""Binlog files as servers write them, small: true event headers and lengths, bodies of any bytes."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from fleet.transaction import Gtid, Kind, Transaction
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Epoch, EpochFacts
from repository.archive.segment import MAGIC, Closed, SegmentDraft
from repository.layout import BinlogFile

SOURCE = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"
THIRD = "cccccccc-0000-4000-8000-000000000003"
CREATED = 1_770_000_000
EMPTY = GtidSet()


def event(kind: int, body: bytes, at: int) -> bytes:
    """One event; ``at`` is where it begins in its file."""
    length = 19 + len(body)
    return struct.pack("<IBIIIH", CREATED, kind, 1, length, (at + length) % 2**32, 0) + body


@dataclass
class MadeFile:
    """A binlog file in the making: its bytes, where its events begin, and its transactions."""

    name: BinlogFile
    previous: GtidSet = EMPTY
    seed: int = 1
    data: bytearray = field(default_factory=lambda: bytearray(MAGIC))
    edges: list[int] = field(default_factory=lambda: [0, 4])
    transactions: list[Transaction] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.add(15, b"\x04\x00" + b"9.7.4".ljust(50, b"\0") + bytes(45))
        self.add(35, str(self.previous).encode())
        self.head = len(self.data)

    def add(self, kind: int, body: bytes) -> None:
        self.data += event(kind, body, len(self.data))
        self.edges.append(len(self.data))

    def commit(
        self,
        gtid: str,
        *,
        at_us: int | None = None,
        tables: tuple[str, ...] = ("shop.orders",),
        kinds: Kind = Kind.INSERT,
        statement: str = "",
        size: int = 60,
    ) -> Transaction:
        start = len(self.data)
        self.add(33, gtid.encode())
        self.add(2, b"BEGIN")
        self.add(30, self.chance.randbytes(size))
        self.add(16, bytes(8))
        made = Transaction(
            gtid=Gtid.parse(gtid),
            committed_at_us=CREATED * 10**6 + len(self.transactions) if at_us is None else at_us,
            start=start,
            length=len(self.data) - start,
            kinds=kinds,
            tables=tables,
            statement=statement,
        )
        self.transactions.append(made)
        return made

    def run(self, uuid: str, first: int, last: int, **facts: int) -> MadeFile:
        for number in range(first, last + 1):
            self.commit(f"{uuid}:{number}", **facts)
        return self

    def rotate(self) -> MadeFile:
        self.add(4, struct.pack("<Q", 4) + b"binlog.next")
        return self

    def gtids(self) -> GtidSet:
        return union(made.gtid.as_set() for made in self.transactions)

    def draft(self, start: int, end: int, closed: Closed | None = None) -> SegmentDraft:
        ends = {made.start + made.length: made for made in self.transactions}
        before = union(made.gtid.as_set() for behind, made in ends.items() if behind <= start)
        return SegmentDraft(
            file=self.name,
            start=start,
            data=bytes(self.data[start:end]),
            closed=closed,
            previous_gtids=self.previous,
            gtids_before=self.previous | before,
            transactions=[made for behind, made in ends.items() if start < behind <= end],
        )

    def cuts(self, pieces: int) -> list[int]:
        """Edges of so many pieces or fewer, at ends of events, from 0 to the end of the file."""
        inner = [edge for edge in self.edges if 4 < edge < len(self.data)]
        chosen = self.chance.sample(inner, min(pieces - 1, len(inner)))
        return sorted({0, len(self.data), *chosen})

    def put(self, archive: ShardArchive, cuts: Sequence[int], closed: Closed | None = None) -> None:
        for start, end in pairwise(cuts):
            ends = closed if end == len(self.data) else None
            archive.put(archive.seal(self.draft(start, end, ends)))


def union(sets: Iterable[GtidSet]) -> GtidSet:
    return GtidSet(origin for each in sets for origin in each)


def binlog(number: int = 1, *, epoch: int = 1, uuid: str = SOURCE, created: int = CREATED) -> BinlogFile:
    return BinlogFile(epoch, uuid, f"binlog.{number:06d}", created)


def facts(parent: int | None = None, **changes: object) -> EpochFacts:
    known = EpochFacts(
        reason="promotion" if parent else "first",
        server_uuid=SOURCE,
        server_name="s1-a",
        inherited=EMPTY,
        parent=parent,
        branch=EMPTY,
        skipped=EMPTY,
    )
    return known._replace(**changes)  # pyright: ignore[reportArgumentType]


def open_first(archive: ShardArchive) -> Epoch:
    return archive.open_epoch(facts(), SystemClock())
