"""Events that a replica applies without foreign keys: neither checked nor cascading.

For a replica that has the child of a foreign key and not its parent. Each rows event says whether the session
that wrote it checked (flags u16 behind the table id, bit 1), each query in its first status variable (number
0, u32, bit 26). Source: sql/log_event.h (NO_FOREIGN_KEY_CHECKS_F, Q_FLAGS2_CODE), sql/query_options.h.
"""

from __future__ import annotations

import struct
from zlib import crc32

import zstandard

from wire.binlog.fields import Buffer, packed
from wire.binlog.header import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    ChecksumAlgorithm,
    EventType,
    make_event,
    parse_header,
)
from wire.binlog.payload import decompress_payload
from wire.binlog.walk import walk

_ROWS = frozenset(
    map(
        int,
        (
            EventType.WRITE_ROWS,
            EventType.UPDATE_ROWS,
            EventType.DELETE_ROWS,
            EventType.PARTIAL_UPDATE_ROWS,
            EventType.WRITE_ROWS_V1,
            EventType.UPDATE_ROWS_V1,
            EventType.DELETE_ROWS_V1,
        ),
    )
)
CHECKED = _ROWS | {int(EventType.QUERY), int(EventType.TRANSACTION_PAYLOAD)}
"""The types of event that say, by themselves or inside, whether foreign keys are checked."""

_ROWS_FLAGS_AT = HEADER_BYTES + 6
_NO_CHECKS_OF_ROWS = 1 << 1
_STATUS_LENGTH_AT = HEADER_BYTES + 11
_STATUS_AT = HEADER_BYTES + 13
_FLAGS2 = 0
_NO_CHECKS_OF_QUERY = 1 << 26
_U32 = struct.Struct("<I")
_PAYLOAD_SIZE, _COMPRESSION, _UNCOMPRESSED_SIZE, _END = 1, 2, 3, 0
_ZSTD = 0
_LEVEL = 1


def without_foreign_keys(kind: int, event: Buffer, checksum: ChecksumAlgorithm) -> bytes:
    """``event``, whose ``kind`` is one of ``CHECKED``, as a session would have logged it that does not check.

    A compressed transaction gets another length. Raises BinlogUnreadable.
    """
    if kind == EventType.TRANSACTION_PAYLOAD:
        return _payload(event, checksum)
    changed = bytearray(event)
    _turn_off(kind, changed, 0)
    if checksum:
        changed[-CHECKSUM_BYTES:] = crc32(changed[:-CHECKSUM_BYTES]).to_bytes(CHECKSUM_BYTES, "little")
    return bytes(changed)


def _turn_off(kind: int, data: bytearray, at: int) -> None:
    if kind in _ROWS:
        data[at + _ROWS_FLAGS_AT] |= _NO_CHECKS_OF_ROWS
    elif kind == EventType.QUERY:
        status = int.from_bytes(data[at + _STATUS_LENGTH_AT : at + _STATUS_AT], "little")
        # A server writes it first, and always.
        if status >= 1 + _U32.size and data[at + _STATUS_AT] == _FLAGS2:
            (flags,) = _U32.unpack_from(data, at + _STATUS_AT + 1)
            _U32.pack_into(data, at + _STATUS_AT + 1, flags | _NO_CHECKS_OF_QUERY)


def _payload(event: Buffer, checksum: ChecksumAlgorithm) -> bytes:
    plain = bytearray(decompress_payload(event, checksum))
    for at, kind, _ in list(walk(plain)):
        _turn_off(kind, plain, at)
    data = zstandard.ZstdCompressor(level=_LEVEL).compress(plain)
    fields = ((_PAYLOAD_SIZE, len(data)), (_COMPRESSION, _ZSTD), (_UNCOMPRESSED_SIZE, len(plain)))
    body = b"".join(packed(name) + packed(len(packed(value))) + packed(value) for name, value in fields)
    header = parse_header(event)
    return make_event(
        EventType.TRANSACTION_PAYLOAD,
        body + packed(_END) + data,
        checksum=checksum,
        server_id=header.server_id,
        timestamp=header.timestamp,
        log_pos=header.log_pos,
        flags=header.flags,
    )
