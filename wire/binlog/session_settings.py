"""What a statement in STATEMENT format needs beside its text: an insert id, seeds, user variables; as SQL.

Source: libs/mysql/binlog/event/statement_events.h (Intvar_event, Rand_event, User_var_event).
"""

from __future__ import annotations

import struct

from wire.binlog.charsets import charset_of
from wire.binlog.fields import Buffer, Fields
from wire.binlog.header import ChecksumAlgorithm, EventType, fields_of
from wire.binlog.packed import decode_decimal
from wire.binlog.sql_literals import identifier, text_literal

_INTVARS = {1: "LAST_INSERT_ID", 2: "INSERT_ID"}
_STRING, _REAL, _INTEGER, _DECIMAL = 0, 1, 2, 4
_UNSIGNED = 1


def parse_setting(event: Buffer, checksum: ChecksumAlgorithm) -> str:
    """The SET statement that an INTVAR, RAND or USER_VAR event means; raises BinlogUnreadable."""
    header, fields = fields_of(event, checksum, EventType.INTVAR, EventType.RAND, EventType.USER_VAR)
    if header.type == EventType.INTVAR:
        kind = fields.number(1)
        if kind not in _INTVARS:
            raise fields.refused(f"sets an unknown number {kind}")
        return f"SET {_INTVARS[kind]} = {fields.number(8)}"
    if header.type == EventType.RAND:
        return f"SET RAND_SEED1 = {fields.number(8)}, RAND_SEED2 = {fields.number(8)}"
    name = fields.take(fields.number(4)).decode("utf-8", "replace")
    value = "NULL" if fields.number(1) else _variable(fields)
    return f"SET @{identifier(name)} := {value}"


def _variable(fields: Fields) -> str:
    kind, collation = fields.number(1), fields.number(4)
    raw = fields.take(fields.number(4))
    if kind == _STRING:
        charset = charset_of(collation)
        return text_literal(raw, charset or "binary")
    if kind == _REAL and len(raw) == 8:
        return repr(struct.unpack("<d", raw)[0])
    if kind == _INTEGER and len(raw) == 8:
        flags = fields.number(1) if fields.remaining else 0
        return str(int.from_bytes(raw, "little", signed=not flags & _UNSIGNED))
    if kind == _DECIMAL and len(raw) > 2:
        return f"{decode_decimal(raw[2:], raw[0], raw[1]):f}"
    raise fields.refused(f"has a variable of unknown kind {kind} in {len(raw)} bytes")
