"""One transaction as a stream: what it is, the statements it logged, the rows it changed.

Bytes come in pieces of whole events, so that a transaction of any size is read in little memory; compressed
payloads are opened on the way. Rows are decoded only when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias
from zlib import crc32

from fleet.errors import BinlogUnreadable
from fleet.transaction import Kind
from wire.binlog.fields import Buffer
from wire.binlog.gtids import GtidEvent, parse_gtid_event
from wire.binlog.header import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    RESIDUE,
    ChecksumAlgorithm,
    EventType,
    parse_header,
)
from wire.binlog.payload import decompress_payload
from wire.binlog.rows import Row, RowReader
from wire.binlog.session_settings import parse_setting
from wire.binlog.statements import parse_query, parse_rows_query, parse_xa_prepare
from wire.binlog.tablemap import DUMMY_TABLE_ID, RowsEvent, parse_rows, parse_table_map
from wire.binlog.walk import walk


@dataclass(frozen=True, slots=True)
class Opening:
    """The GTID event, and the server that wrote the transaction."""

    gtid: GtidEvent
    server_id: int


@dataclass(frozen=True, slots=True)
class Begun:
    """The BEGIN before the first rows, and the connection that said it."""

    thread_id: int


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that was logged as text: DDL, a change in STATEMENT format, a part of an XA transaction.

    ``schema`` is the session's default one, if it matters. ``settings`` are SET statements without which the
    text means something else (seeds, user variables, an insert id). ``at`` is in seconds since 1970.
    """

    schema: str
    text: str
    at: int
    thread_id: int | None = None
    error: int = 0
    sql_mode: int | None = None
    settings: tuple[str, ...] = ()


class TableRows:
    """The rows of one rows event; ``query`` is the statement that made them, if the log has it."""

    __slots__ = ("_event", "kind", "query", "reader")

    def __init__(self, reader: RowReader, kind: Kind, event: RowsEvent, query: str | None) -> None:
        self.reader = reader
        self.kind = kind
        self.query = query
        self._event = event

    def __iter__(self) -> Iterator[Row]:
        return self.reader.rows(self._event)

    def count(self) -> int:
        """How many they are; much quicker than decoding them."""
        return self.reader.count(self._event)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What follows was compressed, to ``stored`` bytes from ``plain`` ones."""

    stored: int
    plain: int


Change: TypeAlias = Opening | Unpacked | Begun | Statement | TableRows

_NO_SCHEMA = 0x08
"""Header flag of a query: no USE before it, since it creates or drops that very schema."""

_KINDS = {
    EventType.WRITE_ROWS: Kind.INSERT,
    EventType.WRITE_ROWS_V1: Kind.INSERT,
    EventType.UPDATE_ROWS: Kind.UPDATE,
    EventType.UPDATE_ROWS_V1: Kind.UPDATE,
    EventType.PARTIAL_UPDATE_ROWS: Kind.UPDATE,
    EventType.DELETE_ROWS: Kind.DELETE,
    EventType.DELETE_ROWS_V1: Kind.DELETE,
}
_GTIDS = {EventType.GTID, EventType.TAGGED_GTID, EventType.ANONYMOUS_GTID}
_SETTINGS = {EventType.INTVAR, EventType.RAND, EventType.USER_VAR}


def changes(pieces: Iterable[Buffer], checksum: ChecksumAlgorithm | None = None) -> Iterator[Change]:
    """What the transaction did, in order; a COMMIT that was logged as text is left out.

    ``pieces`` are its events, from the GTID event to its last. ``checksum`` is that of its file; None: found
    out by trying it on the first event. Raises BinlogUnreadable, also if a second transaction follows.
    """
    reading = _Reading()
    for piece in pieces:
        view = memoryview(piece)
        for at, kind, length in walk(view):
            event = view[at : at + length]
            if checksum is None:
                checksum = ChecksumAlgorithm.CRC32 if crc32(event) == RESIDUE else ChecksumAlgorithm.NONE
            if kind == EventType.TRANSACTION_PAYLOAD:
                plain = memoryview(decompress_payload(event, checksum))
                yield Unpacked(length, len(plain))
                for inner_at, inner_kind, inner_length in walk(plain):
                    inner = plain[inner_at : inner_at + inner_length]
                    yield from reading.take(inner_kind, inner, ChecksumAlgorithm.NONE)
            else:
                yield from reading.take(kind, event, checksum)


def count_rows(pieces: Iterable[Buffer], checksum: ChecksumAlgorithm | None = None) -> int:
    """How many rows the transaction changed, exactly."""
    return sum(one.count() for one in changes(pieces, checksum) if isinstance(one, TableRows))


class _Reading:
    """What must be remembered from event to event."""

    def __init__(self) -> None:
        self._opened = False
        self._tables: dict[int, RowReader] = {}
        self._readers: dict[bytes, RowReader] = {}
        self._query: str | None = None
        self._settings: list[str] = []

    def take(self, kind: int, event: memoryview, checksum: ChecksumAlgorithm) -> Iterator[Change]:
        if kind == EventType.TABLE_MAP:
            self._map(event, checksum)
        elif kind in _KINDS:
            yield from self._rows(event, checksum)
        elif kind in _GTIDS:
            yield self._open(event, checksum)
        elif kind == EventType.QUERY:
            yield from self._statement(event, checksum)
        elif kind == EventType.ROWS_QUERY:
            self._query = parse_rows_query(event, checksum)
        elif kind in _SETTINGS:
            self._settings.append(parse_setting(event, checksum))
        elif kind == EventType.XA_PREPARE:
            yield self._prepare(event, checksum)

    def _open(self, event: memoryview, checksum: ChecksumAlgorithm) -> Opening:
        if self._opened:
            raise BinlogUnreadable("a second transaction follows where one should end")
        self._opened = True
        return Opening(parse_gtid_event(event, checksum), parse_header(event).server_id)

    def _map(self, event: memoryview, checksum: ChecksumAlgorithm) -> None:
        # Every statement sends its maps again; most are the same bytes.
        key = bytes(event[HEADER_BYTES : len(event) - CHECKSUM_BYTES * checksum])
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = RowReader(parse_table_map(event, checksum))
        self._tables[reader.table.table_id] = reader

    def _rows(self, event: memoryview, checksum: ChecksumAlgorithm) -> Iterator[TableRows]:
        rows = parse_rows(event, checksum)
        reader = self._tables.get(rows.table_id)
        if reader is not None:
            yield TableRows(reader, _KINDS[rows.type], rows, self._query)
        elif rows.table_id != DUMMY_TABLE_ID:
            raise BinlogUnreadable(f"rows of table number {rows.table_id}, which no table map describes")

    def _statement(self, event: memoryview, checksum: ChecksumAlgorithm) -> Iterator[Change]:
        query = parse_query(event, checksum)
        settings, self._settings = tuple(self._settings), []
        if query.sql == b"BEGIN":
            yield Begun(query.thread_id)
        elif query.sql != b"COMMIT":
            header = parse_header(event)
            yield Statement(
                schema="" if header.flags & _NO_SCHEMA else query.schema,
                text=query.text,
                at=header.timestamp,
                thread_id=query.thread_id,
                error=query.error,
                sql_mode=query.sql_mode,
                settings=settings,
            )

    def _prepare(self, event: memoryview, checksum: ChecksumAlgorithm) -> Statement:
        prepared = parse_xa_prepare(event, checksum)
        xid = f"X'{prepared.global_id.hex()}',X'{prepared.branch.hex()}',{prepared.format_id}"
        text = f"XA COMMIT {xid} ONE PHASE" if prepared.one_phase else f"XA PREPARE {xid}"
        return Statement("", text, parse_header(event).timestamp)
