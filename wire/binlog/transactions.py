"""What each transaction of a binlog did, told event by event, at little cost.

The reader looks into the events that tell (GTID, queries, table maps, the kind of rows events) and steps over
the values. A transaction begins at its GTID event, which says how many bytes it takes; where it ends by that
length it must also end by its events. Logs that do not say the length (MySQL 5.7) are read by events alone.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from fleet.errors import BinlogUnreadable
from fleet.gtid import LAST_NUMBER
from fleet.transaction import Gtid, Kind, Transaction
from wire.binlog.description import parse_format_description
from wire.binlog.fields import Buffer, Fields
from wire.binlog.gtids import parse_gtid_event, uuid_text
from wire.binlog.header import (
    CHECKSUM_BYTES,
    ENCRYPTED_MAGIC,
    HEADER_BYTES,
    MAGIC,
    RESIDUE,
    ChecksumAlgorithm,
    EventType,
    check_crc,
    parse_header,
    type_name,
    unreadable,
)
from wire.binlog.payload import payload_heads
from wire.binlog.sql_text import Part, excerpt, read_sql
from wire.binlog.statements import read_query
from wire.binlog.walk import cut_off

_HEADER = Struct("<4xB4xII")
_GTID_BODY = Struct("<B16sqBqqQ")
"""Flags, uuid, number, kind of clock, clock, 7 bytes of commit time and 1 of what follows it."""
_QUERY_BODY = Struct("<8xBxxH")
_U16 = Struct("<H")

_GTID_LEAST = HEADER_BYTES + _GTID_BODY.size + 4
_LOGICAL_CLOCK = 2
_TIME_BITS = (1 << 55) - 1
_MORE_TIME = 1 << 55
_TWO_BYTES_FOLLOW = 252
_BEGIN = b"BEGIN"

_POSITIONS = 0xFFFFFFFF
_NOT_SAID = 1 << 62
"""Stands for the end of a transaction whose GTID event does not say its length."""

_MOST_NAMES = 5_000
_LONGEST_KEY = 4_096
"""So many table maps of up to so many bytes are known by heart: 20 MB at the very most."""
_SHORT = 512
_SAME_AT = HEADER_BYTES + 8
"""Behind header, thread and seconds, a BEGIN is nearly always the same bytes; the known ones are not read."""
_MOST_QUERY = 90_000
"""Of a query event so much is read: all variables, and the beginning of the text."""

_ROWS = {
    EventType.WRITE_ROWS.value: int(Kind.INSERT),
    EventType.WRITE_ROWS_V1.value: int(Kind.INSERT),
    EventType.UPDATE_ROWS.value: int(Kind.UPDATE),
    EventType.UPDATE_ROWS_V1.value: int(Kind.UPDATE),
    EventType.PARTIAL_UPDATE_ROWS.value: int(Kind.UPDATE),
    EventType.DELETE_ROWS.value: int(Kind.DELETE),
    EventType.DELETE_ROWS_V1.value: int(Kind.DELETE),
}
_ROW_KINDS = [_ROWS.get(number, 0) for number in range(256)]
_KINDS = [Kind(number) for number in range(64)]
_GTIDS = frozenset((EventType.GTID.value, EventType.ANONYMOUS_GTID.value, EventType.TAGGED_GTID.value))
_BETWEEN = _GTIDS | frozenset(
    (
        EventType.FORMAT_DESCRIPTION.value,
        EventType.PREVIOUS_GTIDS.value,
        EventType.ROTATE.value,
        EventType.STOP.value,
    )
)
"""What begins a transaction, or stands between two."""
_NEVER_LAST = frozenset(
    (
        *_ROWS,
        EventType.INTVAR.value,
        EventType.APPEND_BLOCK.value,
        EventType.RAND.value,
        EventType.USER_VAR.value,
        EventType.BEGIN_LOAD_QUERY.value,
        EventType.EXECUTE_LOAD_QUERY.value,
        EventType.TABLE_MAP.value,
        EventType.ROWS_QUERY.value,
    )
)
"""What stands in transactions, but ends none."""
_INSIDE_ONLY = _NEVER_LAST | frozenset(
    (
        EventType.QUERY.value,
        EventType.XID.value,
        EventType.VIEW_CHANGE.value,
        EventType.XA_PREPARE.value,
        EventType.TRANSACTION_PAYLOAD.value,
    )
)
_COMMITS = frozenset((EventType.XID.value, EventType.XA_PREPARE.value))
# Plain numbers: they are compared for every event, and members of an enumeration more slowly.
_GTID, _QUERY = EventType.GTID.value, EventType.QUERY.value
_TABLE_MAP, _PAYLOAD = EventType.TABLE_MAP.value, EventType.TRANSACTION_PAYLOAD.value
_LOADED = frozenset((EventType.BEGIN_LOAD_QUERY.value, EventType.EXECUTE_LOAD_QUERY.value))


class Unfinished(NamedTuple):
    """A transaction whose end was not seen yet; ``start`` is where its GTID event begins in the file."""

    gtid: Gtid
    committed_at_us: int
    start: int


class TransactionReader:
    """Fed with the events of binlog files, in order and in pieces of any size, tells of each transaction.

    A piece holds whole events of one file and says where in the file it begins. A piece at 0 begins with the
    magic, one at 4 with the format description: either begins a new file, and what was unfinished in the one
    before is forgotten (its source crashed). The others must follow the piece before without a hole. A reader
    that is to go on in mid-file is told the file's ``checksum``, and its first piece begins between two
    transactions. After an error it is of no more use. ``verify=False`` leaves the CRCs unchecked, for bytes
    that were checked before.
    """

    def __init__(self, *, checksum: ChecksumAlgorithm = ChecksumAlgorithm.CRC32, verify: bool = True) -> None:
        self.checksum = checksum
        self.position: int | None = None
        """Where in the file the last piece ended; None before the first."""
        self._verify = verify
        self._gtid: Gtid | None = None
        self._committed_at_us = self._start = 0
        self._expected = 0
        self._kinds = 0
        self._tables: set[str] = set()
        self._statement = ""
        self._in_block = False
        self._uuids: dict[bytes, str] = {}
        self._names: dict[bytes, str] = {}
        self._begin_queries: set[bytes] = set()

    @property
    def unfinished(self) -> Unfinished | None:
        """The transaction in which the last piece ended, if it did not end between two."""
        return Unfinished(self._gtid, self._committed_at_us, self._start) if self._gtid else None

    def feed(self, data: Buffer, start: int) -> list[Transaction]:  # noqa: PLR0912, PLR0915 (one loop is fast)
        """The transactions that end in ``data``, whose first byte is at ``start`` of its file.

        Raises BinlogUnreadable, naming the event: cut off, in a wrong place, with a wrong checksum, or a
        transaction that is not as long as it says.
        """
        view = memoryview(data)
        at = self._first_event(view, start)
        end = len(view)
        found: list[Transaction] = []
        read_header, rows, names, tables = _HEADER.unpack_from, _ROW_KINDS, self._names, self._tables
        begins = self._begin_queries
        expected, kinds = self._expected, self._kinds
        tail = CHECKSUM_BYTES if self.checksum else 0
        verify = self._verify and tail > 0
        last_header = end - HEADER_BYTES - tail
        while at < end:
            if at > last_header:
                raise cut_off(view, at, start)
            kind, length, log_pos = read_header(view, at)
            stop = at + length
            position = start + stop
            if stop > end or length < HEADER_BYTES + tail:
                raise cut_off(view, at, start)
            if log_pos != position & _POSITIONS:
                raise _misplaced(kind, start + at, position, log_pos)
            if verify and crc32(view[at:stop]) != RESIDUE:
                check_crc(view[at:stop])
            if flag := rows[kind]:
                kinds |= flag
            elif kind == _TABLE_MAP:
                key = bytes(view[at + HEADER_BYTES : stop - tail])
                tables.add(names.get(key) or self._name(key, start + at))
            elif kind == _QUERY:
                if length < _SHORT and bytes(view[at + _SAME_AT : stop - tail]) in begins:
                    self._in_block = True
                else:
                    kinds |= self._query(view, at, stop - tail, start + at)
                if expected == _NOT_SAID and not self._in_block:
                    expected = position
            elif kind in _COMMITS:
                if expected != position:
                    expected = self._ends_at(expected, position, kind)
            elif kind in _BETWEEN:
                if expected:
                    found.append(self._cut_short(kind, kinds, start + at, expected))
                    tables.clear()
                expected = kinds = 0
                if kind in _GTIDS:
                    expected = self._open(view, at, stop, start)
                elif kind == EventType.FORMAT_DESCRIPTION:
                    self._describe(view[at:stop])
                    tail = CHECKSUM_BYTES if self.checksum else 0
                    verify = self._verify and tail > 0
                    last_header = end - HEADER_BYTES - tail
            elif kind == _PAYLOAD:
                kinds |= self._payload(view[at:stop], start + at)
                if expected == _NOT_SAID:
                    expected = position
            elif kind in _LOADED:
                kinds |= Kind.STATEMENT | Kind.INSERT
            if position >= expected:
                if expected:
                    found.append(self._close(kind, kinds, position, expected))
                    expected = kinds = 0
                    tables.clear()
                elif kind in _INSIDE_ONLY:
                    raise unreadable(f"a {type_name(kind)} event at {start + at} belongs to no transaction")
            at = stop
        self._expected, self._kinds, self.position = expected, kinds, start + end
        return found

    def _first_event(self, view: memoryview, start: int) -> int:
        """Where in the piece its first event begins; a new file forgets what was unfinished."""
        if start > len(MAGIC):
            if self.position not in (None, start):
                raise unreadable(f"the events between {self.position} and {start} of a file are missing")
            return 0
        begins = bytes(view[: len(MAGIC)]) if start == 0 else MAGIC
        if begins != MAGIC:
            why = "is encrypted" if begins == ENCRYPTED_MAGIC else f"begins with {begins!r}"
            raise unreadable(f"a binlog file {why}, and not with {MAGIC!r}")
        at = len(MAGIC) - start
        if len(view) > at and parse_header(view, at).type != EventType.FORMAT_DESCRIPTION:
            raise unreadable(f"a binlog file begins with a {type_name(view[at + 4])} event")
        self._gtid, self._expected, self._kinds = None, 0, 0
        self._tables.clear()
        return at

    def _describe(self, event: memoryview) -> None:
        if self._verify:
            check_crc(event)
        self.checksum = parse_format_description(event).checksum

    def _open(self, view: memoryview, at: int, stop: int, start: int) -> int:
        """Begin the transaction whose GTID event is at ``at``; returns where in the file it ends."""
        body, room = at + HEADER_BYTES, stop - at - (CHECKSUM_BYTES if self.checksum else 0)
        self._start, self._statement, self._in_block = start + at, "", False
        if view[at + 4] == _GTID and room >= _GTID_LEAST:
            _, raw, number, clock, _, _, time = _GTID_BODY.unpack_from(view, body)
            length = time >> 56
            if length == _TWO_BYTES_FOLLOW and room >= _GTID_LEAST + 2:
                (length,) = _U16.unpack_from(view, body + _GTID_BODY.size)
            elif length >= _TWO_BYTES_FOLLOW:
                length = 0
            # What most transactions have; tags, times of another server and great lengths go the long way.
            plain = clock == _LOGICAL_CLOCK and not time & _MORE_TIME
            if plain and 0 < number <= LAST_NUMBER and length >= stop - at:
                self._gtid = Gtid(self._uuids.get(raw) or self._uuid(raw), "", number)
                self._committed_at_us = time & _TIME_BITS
                return start + at + length
        event = parse_gtid_event(view[at:stop], self.checksum)
        self._gtid = event.gtid
        self._committed_at_us = event.immediate_commit_us or parse_header(view, at).timestamp * 1_000_000
        if not event.transaction_length:
            return _NOT_SAID
        if event.transaction_length < stop - at:
            said = event.transaction_length
            raise unreadable(f"{event.gtid} at {start + at} says that it takes {said} bytes")
        return start + at + event.transaction_length

    def _uuid(self, raw: bytes) -> str:
        if len(self._uuids) >= _MOST_NAMES:
            self._uuids.clear()
        return self._uuids.setdefault(raw, uuid_text(raw))

    def _name(self, body: bytes, place: int) -> str:
        """The table of a table map's ``body``; ``place`` in the file is for errors."""
        fields = Fields(body, f"a TABLE_MAP event at {place}", 8)
        schema = fields.take(fields.packed()).decode("utf-8", "replace")
        fields.skip(1)
        table = fields.take(fields.packed()).decode("utf-8", "replace")
        name = f"{schema}.{table}"
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        if len(body) <= _LONGEST_KEY:
            self._names[body] = name
        return name

    def _query(self, view: memoryview, at: int, end: int, place: int) -> int:
        """The kinds of the query event at ``at``; takes note of its tables, and of BEGIN and COMMIT."""
        body = at + HEADER_BYTES
        if end - body >= _QUERY_BODY.size:
            schema_length, status_length = _QUERY_BODY.unpack_from(view, body)
            text = body + _QUERY_BODY.size + status_length + schema_length + 1
            if end - text == len(_BEGIN) and bytes(view[text:end]) == _BEGIN:
                self._in_block = True
                if len(self._begin_queries) < _MOST_NAMES and end - at < _SHORT - CHECKSUM_BYTES:
                    self._begin_queries.add(bytes(view[at + _SAME_AT : end]))
                return 0
        query = read_query(Fields(view, f"a QUERY event at {place}", body, min(end, at + _MOST_QUERY)))
        text = query.text
        sql = read_sql(text, query.schema)
        if sql.part in (Part.BEGINS, Part.ENDS):
            self._in_block = sql.part is Part.BEGINS
        if sql.kinds & Kind.DDL and not self._statement:
            self._statement = excerpt(text)
        self._tables.update(sql.tables)
        return int(sql.kinds)

    def _payload(self, event: memoryview, place: int) -> int:
        """The kinds of what is in a compressed payload; takes note of its tables."""
        kinds = 0
        for kind, head in payload_heads(event, self.checksum, _MOST_QUERY):
            if kind in _ROWS:
                kinds |= _ROWS[kind]
            elif kind == _TABLE_MAP:
                body = head[HEADER_BYTES:]
                self._tables.add(self._names.get(body) or self._name(body, place))
            elif kind == _QUERY:
                kinds |= self._query(memoryview(head), 0, len(head), place)
        return kinds

    def _close(self, kind: int, kinds: int, position: int, expected: int) -> Transaction:
        """The open transaction, whose last event is of type ``kind`` and ends at ``position``."""
        gtid = self._gtid
        assert gtid is not None
        if position > expected:
            raise unreadable(f"{gtid} at {self._start} should end at {expected}, within an event")
        if kind in _NEVER_LAST or (kind == _QUERY and self._in_block):
            raise unreadable(
                f"{gtid} at {self._start} should end at {position}, behind a {type_name(kind)} event"
            )
        self._gtid = None
        return Transaction(
            gtid,
            self._committed_at_us,
            self._start,
            position - self._start,
            _KINDS[kinds],
            tuple(sorted(self._tables)),
            self._statement,
        )

    def _ends_at(self, expected: int, position: int, kind: int) -> int:
        """Where the transaction ends that an XID or XA PREPARE event ends at ``position``."""
        if expected == _NOT_SAID:
            return position
        if expected > position:
            raise unreadable(
                f"{self._gtid} at {self._start} should end at {expected}, "
                f"but a {type_name(kind)} event ends it at {position}"
            )
        return expected

    def _cut_short(self, kind: int, kinds: int, position: int, expected: int) -> Transaction:
        """The open transaction; it ends at ``position``, where an event of type ``kind`` is none of it.

        That is right only where the log did not say where it ends.
        """
        if expected != _NOT_SAID or self._in_block:
            end = "its commit" if expected == _NOT_SAID else str(expected)
            raise unreadable(
                f"{self._gtid} at {self._start} should go on to {end}, "
                f"but a {type_name(kind)} event comes at {position}"
            )
        return self._close(0, kinds, position, position)


def _misplaced(kind: int, start: int, end: int, stated: int) -> BinlogUnreadable:
    return unreadable(
        f"a {type_name(kind)} event at {start} ends at {end % 2**32} (modulo 2^32) by its length, "
        f"but at {stated} by its header"
    )
