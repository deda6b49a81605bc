"""Events with SQL text or without any body worth a module: query, rows query, xid, XA prepare, incident.

Query: ``thread_id u32 | exec_seconds u32 | schema length u8 | error u16 | status length u16``, then status
variables, ``schema \\0``, and the text. Source: libs/mysql/binlog/event/statement_events.h, control_events.h.
"""

from __future__ import annotations

from dataclasses import dataclass

from wire.binlog.fields import Buffer, Fields
from wire.binlog.header import ChecksumAlgorithm, EventType, fields_of

_LATIN1 = frozenset((5, 8, 15, 31, 47, 48, 49, 94))
"""Collations of latin1, which MySQL reads as Windows' 1252."""

_XID_BYTES = 128


@dataclass(frozen=True, slots=True)
class QueryEvent:
    """``schema`` is the session's default one; ``charset`` the collation number of ``sql``, if it was logged.

    ``sql_mode`` and ``time_zone`` are the session's, as far as they were logged.
    """

    schema: str
    sql: bytes
    thread_id: int
    error: int
    exec_seconds: int
    charset: int | None = None
    sql_mode: int | None = None
    time_zone: str | None = None

    @property
    def text(self) -> str:
        """The statement for people; what cannot be decoded is replaced."""
        return decode_text(self.sql, self.charset)


@dataclass(frozen=True, slots=True)
class XaPrepare:
    """An XA transaction's end in the log: prepared, or (``one_phase``) committed at once."""

    one_phase: bool
    format_id: int
    global_id: bytes
    branch: bytes


@dataclass(frozen=True, slots=True)
class Incident:
    """The source lost something (1: its log has a hole); a replica stops here."""

    number: int
    message: str


def decode_text(sql: bytes, charset: int | None) -> str:
    """Text of the client's character set; anything but latin1 is read as UTF-8."""
    return sql.decode("cp1252" if charset in _LATIN1 else "utf-8", "replace")


def parse_query(event: Buffer, checksum: ChecksumAlgorithm) -> QueryEvent:
    _, fields = fields_of(event, checksum, EventType.QUERY)
    return read_query(fields)


def read_query(fields: Fields) -> QueryEvent:
    """The body that ``fields`` holds; a text that is longer than they are is cut."""
    thread_id, exec_seconds = fields.number(4), fields.number(4)
    schema_length, error, status_length = fields.number(1), fields.number(2), fields.number(2)
    variables = _Status()
    variables.read(Fields(fields.take(status_length), f"the status variables of {fields.what}"))
    schema = fields.take(schema_length).decode("utf-8", "replace")
    if fields.number(1) != 0:
        raise fields.refused("has no zero byte after its schema")
    return QueryEvent(
        schema=schema,
        sql=fields.rest(),
        thread_id=thread_id,
        error=error,
        exec_seconds=exec_seconds,
        charset=variables.charset,
        sql_mode=variables.sql_mode,
        time_zone=variables.time_zone,
    )


class _Status:
    """The status variables that we use; the others are passed over by their known lengths."""

    _FIXED = {0: 4, 3: 4, 7: 2, 8: 2, 9: 8, 10: 4, 13: 3, 16: 1, 17: 8, 18: 2, 19: 1, 20: 1}  # noqa: RUF012
    _SQL_MODE, _CHARSET, _TIME_ZONE = 1, 4, 5
    _OLD_CATALOG, _CATALOG, _INVOKER, _SCHEMAS = 2, 6, 11, 12
    _TOO_MANY_SCHEMAS = 254

    def __init__(self) -> None:
        self.charset: int | None = None
        self.sql_mode: int | None = None
        self.time_zone: str | None = None

    def read(self, fields: Fields) -> None:
        """A variable of unknown number ends the reading: its length is not known. So does the server."""
        while fields.remaining:
            number = fields.number(1)
            if number in self._FIXED:
                fields.skip(self._FIXED[number])
            elif number == self._SQL_MODE:
                self.sql_mode = fields.number(8)
            elif number == self._CHARSET:
                self.charset = fields.number(2)
                fields.skip(4)
            elif number == self._TIME_ZONE:
                self.time_zone = fields.take(fields.number(1)).decode("utf-8", "replace")
            elif number == self._CATALOG:
                fields.skip(fields.number(1))
            elif number == self._OLD_CATALOG:
                fields.skip(fields.number(1) + 1)
            elif number == self._INVOKER:
                fields.skip(fields.number(1))
                fields.skip(fields.number(1))
            elif number == self._SCHEMAS:
                self._skip_schemas(fields)
            else:
                return

    def _skip_schemas(self, fields: Fields) -> None:
        count = fields.number(1)
        if count == self._TOO_MANY_SCHEMAS:
            return
        for _ in range(count):
            while fields.number(1):
                pass


def parse_rows_query(event: Buffer, checksum: ChecksumAlgorithm) -> str:
    """The statement that made the rows which follow (``binlog_rows_query_log_events=ON``).

    One byte of length comes first, which the server itself ignores since texts grew longer than it can say.
    """
    _, fields = fields_of(event, checksum, EventType.ROWS_QUERY)
    fields.skip(1)
    return fields.rest().decode("utf-8", "replace")


def parse_xid(event: Buffer, checksum: ChecksumAlgorithm) -> int:
    """The number of the commit, of meaning to the source's storage engines only."""
    _, fields = fields_of(event, checksum, EventType.XID)
    number = fields.number(8)
    fields.finish()
    return number


def parse_xa_prepare(event: Buffer, checksum: ChecksumAlgorithm) -> XaPrepare:
    _, fields = fields_of(event, checksum, EventType.XA_PREPARE)
    one_phase, format_id = fields.number(1), fields.signed(4)
    global_length, branch_length = fields.number(4), fields.number(4)
    if global_length + branch_length > _XID_BYTES:
        raise fields.refused(f"has an xid of {global_length} and {branch_length} bytes")
    prepared = XaPrepare(bool(one_phase), format_id, fields.take(global_length), fields.take(branch_length))
    fields.finish()
    return prepared


def parse_incident(event: Buffer, checksum: ChecksumAlgorithm) -> Incident:
    _, fields = fields_of(event, checksum, EventType.INCIDENT)
    number = fields.number(2)
    message = fields.take(fields.number(1)).decode("utf-8", "replace")
    return Incident(number, message)
