"""What all binlog events share: the header of 19 bytes, the checksum at the end, and the list of types.

Header: ``timestamp u32 | type u8 | server_id u32 | length u32 | log_pos u32 | flags u16``, little endian.
``length`` counts header and checksum; ``log_pos`` is where the event ends in its file, modulo 2^32 (0 in
artificial events and inside of compressed payloads). Source: libs/mysql/binlog/event/binlog_event.h of 9.7.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from fleet.errors import BinlogUnreadable
from wire.binlog.fields import Buffer, Fields

MAGIC = b"\xfebin"
"""The first bytes of every plain binlog file."""

ENCRYPTED_MAGIC = b"\xfdbin"
"""The first bytes of an encrypted one (``binlog_encryption=ON``)."""

HEADER_BYTES = 19
CHECKSUM_BYTES = 4
HEADER = Struct("<IBIIIH")

IN_USE = 0x01
"""Header flag of a format description: the server still writes this file, or crashed while it did."""

ARTIFICIAL = 0x20
"""Header flag: made for the connection; it stands in no file."""

RESIDUE = 0x2144DF1C
"""The CRC32 of any bytes that are followed by their own little-endian CRC32: one call checks an event."""

_FLAGS_AT = 17
_UNREADABLE_HINT = (
    "Check the source's own file: mysqlbinlog --verify-binlog-checksum. If it is whole, archive it anew."
)


class ChecksumAlgorithm(IntEnum):
    """How the events of a file are checked; the last byte but four of its format description."""

    NONE = 0
    CRC32 = 1


class EventType(IntEnum):
    """Every type that MySQL 5.7 to 9.7 writes, and the old ones it still knows."""

    UNKNOWN = 0
    QUERY = 2
    STOP = 3
    ROTATE = 4
    INTVAR = 5
    APPEND_BLOCK = 9
    DELETE_FILE = 11
    RAND = 13
    USER_VAR = 14
    FORMAT_DESCRIPTION = 15
    XID = 16
    BEGIN_LOAD_QUERY = 17
    EXECUTE_LOAD_QUERY = 18
    TABLE_MAP = 19
    WRITE_ROWS_V1 = 23
    UPDATE_ROWS_V1 = 24
    DELETE_ROWS_V1 = 25
    INCIDENT = 26
    HEARTBEAT = 27
    IGNORABLE = 28
    ROWS_QUERY = 29
    WRITE_ROWS = 30
    UPDATE_ROWS = 31
    DELETE_ROWS = 32
    GTID = 33
    ANONYMOUS_GTID = 34
    PREVIOUS_GTIDS = 35
    TRANSACTION_CONTEXT = 36
    VIEW_CHANGE = 37
    XA_PREPARE = 38
    PARTIAL_UPDATE_ROWS = 39
    TRANSACTION_PAYLOAD = 40
    HEARTBEAT_V2 = 41
    TAGGED_GTID = 42


class Header(NamedTuple):
    """``type`` is an int, since a newer server may send one that EventType does not know."""

    timestamp: int
    type: int
    server_id: int
    length: int
    log_pos: int
    flags: int


def type_name(number: int) -> str:
    """For messages: ``TABLE_MAP``, or ``type 99``."""
    try:
        return EventType(number).name
    except ValueError:
        return f"type {number}"


def parse_header(data: Buffer, at: int = 0) -> Header:
    """The header at ``at``; raises BinlogUnreadable if it is cut off or its length is less than its own.

    That the whole event is there is not checked: a caller may hold the header alone.
    """
    if at < 0 or at + HEADER_BYTES > len(data):
        left = max(len(data) - at, 0)
        raise unreadable(f"an event header at {at} is truncated: {left} of {HEADER_BYTES} bytes")
    header = Header._make(HEADER.unpack_from(data, at))
    if header.length < HEADER_BYTES:
        raise unreadable(
            f"a {type_name(header.type)} event at {at} says that it is {header.length} bytes long"
        )
    return header


def whole_header(event: Buffer, checksum: ChecksumAlgorithm) -> Header:
    """The header of exactly one event; raises BinlogUnreadable if ``event`` is not as long as it says."""
    header = parse_header(event)
    if header.length != len(event):
        raise unreadable(f"{described(header)} says {header.length} bytes, but {len(event)} are there")
    if checksum and header.length < HEADER_BYTES + CHECKSUM_BYTES:
        raise unreadable(f"{described(header)} has no room for its checksum")
    return header


def fields_of(
    event: Buffer, checksum: ChecksumAlgorithm, *expected: EventType, name: str | None = None
) -> tuple[Header, Fields]:
    """Header and body of one whole event of an ``expected`` type; the checksum is left out, not verified."""
    header = whole_header(event, checksum)
    if expected and header.type not in expected:
        wanted = name or " or ".join(kind.name for kind in expected)
        raise unreadable(f"{described(header)} where a {wanted} event should be")
    end = header.length - (CHECKSUM_BYTES if checksum else 0)
    return header, Fields(event, described(header), HEADER_BYTES, end)


def described(header: Header) -> str:
    """For messages: the type, and where the event begins as far as its header says."""
    if header.log_pos:
        return f"a {type_name(header.type)} event at {(header.log_pos - header.length) % 2**32}"
    return f"a {type_name(header.type)} event without a position"


def unreadable(message: str) -> BinlogUnreadable:
    """With the hint that fits every damaged binlog."""
    return BinlogUnreadable(message, hint=_UNREADABLE_HINT)


def make_event(
    kind: EventType,
    body: bytes,
    *,
    checksum: ChecksumAlgorithm,
    server_id: int = 0,
    timestamp: int = 0,
    log_pos: int = 0,
    flags: int = 0,
) -> bytes:
    """A whole event around ``body``, with its checksum if the file has checksums."""
    length = HEADER_BYTES + len(body) + (CHECKSUM_BYTES if checksum else 0)
    event = HEADER.pack(timestamp, kind, server_id, length, log_pos % 2**32, flags) + body
    return with_crc(event) if checksum else event


def with_crc(event: bytes) -> bytes:
    """``event``, whose header already counts it, and its CRC32."""
    return event + crc32(event).to_bytes(CHECKSUM_BYTES, "little")


def check_crc(event: Buffer) -> None:
    """Raises BinlogUnreadable if the CRC32 at the end of ``event`` is not that of the bytes before it.

    A format description is checked as if IN_USE were clear: that is how the server computes its checksum.
    """
    if crc32(event) == RESIDUE:
        return
    header = whole_header(event, ChecksumAlgorithm.CRC32)
    if header.type == EventType.FORMAT_DESCRIPTION and header.flags & IN_USE:
        cleared = bytearray(event)
        cleared[_FLAGS_AT] &= ~IN_USE & 0xFF
        if crc32(cleared) == RESIDUE:
            return
    stated = int.from_bytes(event[-CHECKSUM_BYTES:], "little")
    made = crc32(event[:-CHECKSUM_BYTES])
    raise unreadable(f"{described(header)} has checksum {stated:#010x}, but its bytes give {made:#010x}")
