"""What a replica asks before it asks for the binlog, and what it is told: packets as bytes, pure.

The questions are those of sql/rpl_replica.cc (get_master_version_and_clock and what it calls) from 8.0 to
9.7, and of client/mysqlbinlog.cc. Everything else is an error, as on a server that lacks the thing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fleet.errors import BinlogUnreadable, ProtocolViolation
from fleet.gtid import GtidSet
from wire.binlog.gtids import decode_gtid_set
from wire.packet import Reader

COM_QUIT, COM_QUERY, COM_PING = 0x01, 0x03, 0x0E
COM_BINLOG_DUMP, COM_REGISTER_REPLICA, COM_BINLOG_DUMP_GTID = 0x12, 0x15, 0x1E

UNKNOWN_VARIABLE = 1193
UNKNOWN_COMMAND = 1047
ACCESS_DENIED = 1045
BAD_HANDSHAKE = 1043
FATAL_READING_BINLOG = 1236
"""The number of every error by which a source ends a stream; a replica does not try again after it."""

OK = bytes((0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00))
EOF = bytes((0xFE, 0x00, 0x00, 0x02, 0x00))

_LARGEST_TEXT = 512
_VARIABLE_TEXT = 0xFD
_UTF8MB4 = 0xFF
_ENDS_AT_LOG_END = 0x01
_HEARTBEAT_V2 = 0x02
_SETS = re.compile(
    r"@(?:source|master)_(heartbeat_period|binlog_checksum)\s*=\s*('[^']*'|[\w.@]+)", re.IGNORECASE
)


class DumpRequest(NamedTuple):
    """COM_BINLOG_DUMP_GTID. ``to_the_end``: stop where the log ends, instead of waiting for more."""

    server_id: int
    have: GtidSet
    to_the_end: bool
    heartbeat_v2: bool


@dataclass(slots=True)
class Settings:
    """What the replica set on its connection. A heartbeat period of 0 stands for none."""

    heartbeat_seconds: float = 0.0
    understands_checksums: bool = False

    def take(self, statement: str) -> None:
        """Keep what a SET statement says of heartbeats (nanoseconds) and checksums, and nothing else."""
        for name, value in _SETS.findall(statement):
            if name.lower() == "heartbeat_period":
                self.heartbeat_seconds = int(value) / 1e9 if value.isascii() and value.isdigit() else 0.0
            else:
                self.understands_checksums = value.strip("'").upper() not in {"NONE", "0", "NULL"}


class Identity(NamedTuple):
    """As whom the source answers."""

    version: str
    server_id: int
    server_uuid: str


def answer_query(statement: str, identity: Identity, settings: Settings, unix_time: int) -> list[bytes]:
    """The payloads that answer one statement; SET statements change ``settings``."""
    text = " ".join(statement.split()).rstrip("; ")
    if text[:4].upper() == "SET ":
        settings.take(text)
        return [OK]
    known: Mapping[str, str | None] = {
        "SELECT UNIX_TIMESTAMP()": str(unix_time),
        "SELECT VERSION()": identity.version,
        "SELECT @@GLOBAL.SERVER_ID": str(identity.server_id),
        "SELECT @@GLOBAL.SERVER_UUID": identity.server_uuid,
        "SELECT @@GLOBAL.GTID_MODE": "ON",
        "SELECT @SOURCE_BINLOG_CHECKSUM": "CRC32" if settings.understands_checksums else None,
        "SELECT @MASTER_BINLOG_CHECKSUM": "CRC32" if settings.understands_checksums else None,
    }
    if (key := text.upper()) not in known:
        return [error(UNKNOWN_VARIABLE, f"this source knows nothing of {text[:80]!r}")]
    return one_value(text[7:], known[key])


def one_value(name: str, value: str | None) -> list[bytes]:
    """A result of one row with one text: column count, column, EOF, row, EOF."""
    title = name.encode()[:200]
    column = b"".join(_counted(part) for part in (b"def", b"", b"", b"", title, title))
    column += b"\x0c" + _UTF8MB4.to_bytes(2, "little") + (4 * _LARGEST_TEXT).to_bytes(4, "little")
    column += bytes((_VARIABLE_TEXT, 0, 0, 0, 0, 0))
    row = b"\xfb" if value is None else _counted(value.encode()[:_LARGEST_TEXT])
    return [b"\x01", column, EOF, row, EOF]


def error(number: int, text: str, state: str = "HY000") -> bytes:
    """An ERR packet's payload; a replica shows up to 512 bytes of ``text``."""
    whole = text.encode()[:_LARGEST_TEXT].decode("utf-8", "ignore").encode()
    return b"\xff" + number.to_bytes(2, "little") + b"#" + state.encode() + whole


def parse_dump(payload: bytes) -> DumpRequest:
    """``1e | flags u16 | server_id u32 | file name counted | position u64 | GTID set counted``.

    Name and position mean nothing here: the set alone says where a replica stands. Raises ProtocolViolation.
    """
    reader = Reader(payload[1:], "a request for the binlog", "little")
    flags, server_id = reader.number(2), reader.number(4)
    reader.counted()
    reader.take(8)
    encoded = reader.counted()
    reader.end()
    try:
        have = decode_gtid_set(encoded)
    except BinlogUnreadable as failure:
        raise ProtocolViolation(f"a request for the binlog: {failure.message}") from failure
    # A server id of 0 is that of mysqlbinlog, which wants to come to an end.
    to_the_end = bool(flags & _ENDS_AT_LOG_END) or server_id == 0
    return DumpRequest(server_id, have, to_the_end, bool(flags & _HEARTBEAT_V2))


def _counted(data: bytes) -> bytes:
    """A length, then ``data``; packed, of which one byte and three are enough here."""
    if len(data) < 251:
        return bytes((len(data),)) + data
    return b"\xfc" + len(data).to_bytes(2, "little") + data
