"""The format description event: the first of every file, and how all others are to be read.

Body: ``binlog_version u16 (4) | server_version 50 bytes | created u32 | header_length u8 (19) | one byte a
type: length of its fixed part | checksum algorithm u8 | CRC32``. The CRC is there in files without checksums
too. Source: libs/mysql/binlog/event/control_events.h (Format_description_event).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

from wire.binlog.fields import Buffer
from wire.binlog.header import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    IN_USE,
    ChecksumAlgorithm,
    EventType,
    Header,
    described,
    fields_of,
    unreadable,
)

_BINLOG_VERSION = 4
_VERSION_BYTES = 50
_FLAGS_AT = 17
_CREATED_AT = HEADER_BYTES + 2 + _VERSION_BYTES


@dataclass(frozen=True, slots=True)
class FormatDescription:
    """``created``: seconds since 1970 of the server's start if this is the first file since then, else 0.

    ``timestamp`` is the header's: when this file was opened. ``post_header_lengths[type - 1]`` is the length
    of the fixed part of events of that type.
    """

    server_version: str
    created: int
    timestamp: int
    server_id: int
    in_use: bool
    checksum: ChecksumAlgorithm
    post_header_lengths: bytes

    @property
    def version(self) -> tuple[int, int, int]:
        """``(9, 7, 4)``; zeros where the text says nothing."""
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", self.server_version)
        return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def parse_format_description(event: Buffer) -> FormatDescription:
    """``event`` with its CRC; raises BinlogUnreadable, also for binlogs older than MySQL 5.6.1."""
    header, fields = fields_of(event, ChecksumAlgorithm.CRC32, EventType.FORMAT_DESCRIPTION)
    if (version := fields.number(2)) != _BINLOG_VERSION:
        raise fields.refused(f"is of binlog version {version}, and only {_BINLOG_VERSION} is read")
    server_version = fields.take(_VERSION_BYTES).split(b"\0", 1)[0]
    created = fields.number(4)
    if (length := fields.number(1)) != HEADER_BYTES:
        raise fields.refused(f"says that headers have {length} bytes, and they have {HEADER_BYTES}")
    lengths = fields.take(max(fields.remaining - 1, 0))
    return FormatDescription(
        server_version=server_version.decode("ascii", "replace"),
        created=created,
        timestamp=header.timestamp,
        server_id=header.server_id,
        in_use=bool(header.flags & IN_USE),
        checksum=_algorithm(fields.number(1), header),
        post_header_lengths=lengths,
    )


def clear_in_use(event: Buffer) -> bytes:
    """The format description as it lies in the closed file; its CRC needs no change."""
    fields_of(event, ChecksumAlgorithm.CRC32, EventType.FORMAT_DESCRIPTION)
    cleared = bytearray(event)
    cleared[_FLAGS_AT] &= ~IN_USE & 0xFF
    return bytes(cleared)


def for_replica(event: Buffer) -> bytes:
    """The format description as a source sends it: IN_USE clear, ``created`` 0, and the CRC made anew.

    At another ``created`` a replica would believe in a restart of the source, and drop its temporary tables.
    """
    parse_format_description(event)
    changed = bytearray(clear_in_use(event))
    changed[_CREATED_AT : _CREATED_AT + 4] = bytes(4)
    changed[-CHECKSUM_BYTES:] = crc32(changed[:-CHECKSUM_BYTES]).to_bytes(CHECKSUM_BYTES, "little")
    return bytes(changed)


def _algorithm(number: int, header: Header) -> ChecksumAlgorithm:
    try:
        return ChecksumAlgorithm(number)
    except ValueError:
        raise unreadable(f"{described(header)} names an unknown checksum algorithm {number}") from None
