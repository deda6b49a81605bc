"""What one transaction did, for people: its statements, its rows up to a bound, and exact counts of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from fleet.errors import BinlogUnreadable
from fleet.transaction import Gtid, Kind
from wire.binlog.changes import Change, Opening, Statement, TableRows, Unpacked, changes
from wire.binlog.fields import Buffer
from wire.binlog.header import ChecksumAlgorithm
from wire.binlog.rows import Row

MOST_PARTS = 1000
"""A transaction of a million statements is told by its first thousand, and by its counts."""


@dataclass(frozen=True, slots=True)
class RowsChange:
    """Rows of one table, changed by one statement or by several in a row.

    ``count`` is exact; ``rows`` are the first of them, as many as were asked for. ``key`` are the columns of
    the primary key, empty if there is none or the log does not say. ``query`` is the statement that made the
    rows, if the log has it (``binlog_rows_query_log_events``).
    """

    schema: str
    table: str
    kind: Kind
    columns: tuple[str, ...]
    key: tuple[str, ...]
    rows: tuple[Row, ...]
    count: int
    query: str | None = None


@dataclass(frozen=True, slots=True)
class TableCount:
    """How many rows of one table were changed in one way."""

    schema: str
    table: str
    kind: Kind
    rows: int


@dataclass(frozen=True, slots=True)
class TransactionDetail:
    """One transaction. Times in microseconds since 1970; sizes in bytes.

    ``parts`` are its statements and changes in order, at most ``MOST_PARTS``; ``parts_left_out`` more
    followed. ``counts`` are of all rows. ``packed_bytes`` is the size of its compressed payload, else 0.
    """

    gtid: Gtid
    committed_at_us: int
    first_committed_at_us: int
    server_id: int
    server_version: int
    thread_id: int | None
    length: int
    packed_bytes: int
    plain_bytes: int
    parts: tuple[Statement | RowsChange, ...]
    parts_left_out: int
    counts: tuple[TableCount, ...]

    @property
    def rows(self) -> int:
        """All rows that it changed."""
        return sum(count.rows for count in self.counts)


def describe_transaction(
    pieces: Iterable[Buffer], checksum: ChecksumAlgorithm | None = None, *, most_rows: int = 100
) -> TransactionDetail:
    """Describe the transaction whose events are ``pieces``, from its GTID event to its last.

    At most ``most_rows`` rows are decoded and kept; all are counted. ``checksum`` as for ``changes``. Raises
    BinlogUnreadable.
    """
    measured = _Measured(pieces)
    description = _Description(most_rows)
    for change in changes(measured, checksum):
        description.add(change)
    return description.finish(measured.length)


class _Measured:
    """Passes pieces on and adds up their lengths."""

    def __init__(self, pieces: Iterable[Buffer]) -> None:
        self._pieces = iter(pieces)
        self.length = 0

    def __iter__(self) -> _Measured:
        return self

    def __next__(self) -> Buffer:
        piece = next(self._pieces)
        self.length += len(piece)
        return piece


class _Growing:
    """A RowsChange to which the next event may add: large statements are cut into small events."""

    def __init__(self, change: TableRows) -> None:
        self._change = change
        self.rows: list[Row] = []
        self.count = 0

    def takes(self, change: TableRows) -> bool:
        ours = self._change
        return (ours.reader, ours.kind, ours.query) == (change.reader, change.kind, change.query)

    def finished(self) -> RowsChange:
        reader = self._change.reader
        return RowsChange(
            schema=reader.table.schema,
            table=reader.table.table,
            kind=self._change.kind,
            columns=reader.names,
            key=reader.key,
            rows=tuple(self.rows),
            count=self.count,
            query=self._change.query,
        )


class _Description:
    def __init__(self, most_rows: int) -> None:
        self._rows_left = most_rows
        self._opening: Opening | None = None
        self._thread: int | None = None
        self._unpacked = Unpacked(0, 0)
        self._parts: list[Statement | _Growing] = []
        self._left_out = 0
        self._counts: dict[tuple[str, str, Kind], int] = {}
        self._growing: _Growing | None = None

    def add(self, change: Change) -> None:
        if isinstance(change, TableRows):
            self._add_rows(change)
        elif isinstance(change, Opening):
            self._opening = change
        elif isinstance(change, Unpacked):
            self._unpacked = change
        else:
            self._thread = change.thread_id if self._thread is None else self._thread
            if isinstance(change, Statement):
                self._growing = None
                self._append(change)

    def _add_rows(self, change: TableRows) -> None:
        kept = list(islice(change, self._rows_left))
        count = len(kept) if len(kept) < self._rows_left else change.count()
        self._rows_left -= len(kept)
        table = change.reader.table
        key = (table.schema, table.table, change.kind)
        self._counts[key] = self._counts.get(key, 0) + count
        if self._growing is None or not self._growing.takes(change):
            self._growing = _Growing(change)
            self._append(self._growing)
        self._growing.rows += kept
        self._growing.count += count

    def _append(self, part: Statement | _Growing) -> None:
        if len(self._parts) < MOST_PARTS:
            self._parts.append(part)
        else:
            self._left_out += 1

    def finish(self, length: int) -> TransactionDetail:
        if self._opening is None:
            raise BinlogUnreadable("a transaction should begin here, and there is none")
        event = self._opening.gtid
        return TransactionDetail(
            gtid=event.gtid,
            committed_at_us=event.immediate_commit_us,
            first_committed_at_us=event.original_commit_us,
            server_id=self._opening.server_id,
            server_version=event.server_version,
            thread_id=self._thread,
            length=length,
            packed_bytes=self._unpacked.stored,
            plain_bytes=length - self._unpacked.stored + self._unpacked.plain,
            parts=tuple(p.finished() if isinstance(p, _Growing) else p for p in self._parts),
            parts_left_out=self._left_out,
            counts=tuple(TableCount(*key, rows) for key, rows in self._counts.items()),
        )
