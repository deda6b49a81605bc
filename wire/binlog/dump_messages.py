"""What a replica says to its source: pure encoders, each the payload of one packet.

Source: sql/rpl_source.cc (``register_replica``, ``com_binlog_dump_gtid``) and plugin/semisync of MySQL 9.7.
"""

from __future__ import annotations

from struct import Struct

from fleet.errors import ProtocolViolation
from fleet.gtid import GtidSet
from wire.binlog.gtids import encode_gtid_set

COM_REGISTER_REPLICA = 0x15
COM_BINLOG_DUMP_GTID = 0x1E
FIRST_POSITION = 4
"""Where the first event of a file begins; the magic is never sent."""

SEMI_SYNC_MARK = 0xEF
ACK_WANTED = 0x01

_HEARTBEATS_V2 = 0x02
_REGISTER = Struct("<BI")
_DUMP = Struct("<BHII")
_LONGEST_HOST = 60


def register_replica(server_id: int, report_host: str) -> bytes:
    """COM_REGISTER_SLAVE: with it the source lists us in SHOW REPLICAS. Answered by OK.

    User, password and port of the replica are empty: nobody is to connect back.
    """
    host = report_host.encode()
    if len(host) > _LONGEST_HOST:
        raise ProtocolViolation(
            f"the host to report has {len(host)} bytes, and the source takes {_LONGEST_HOST}"
        )
    return _REGISTER.pack(COM_REGISTER_REPLICA, server_id) + bytes((len(host),)) + host + bytes(2 + 2 + 4 + 4)


def dump(
    server_id: int, *, file: str = "", position: int = FIRST_POSITION, have: GtidSet | None = None
) -> bytes:
    """COM_BINLOG_DUMP_GTID, also to resume by file: then with an empty set, since only so nothing is left
    out.

    The older COM_BINLOG_DUMP has positions of 32 bits, and changes the format description on the way.
    Heartbeats are asked for in version 2, which can name positions over 4 GiB.
    """
    name, gtids = file.encode(), encode_gtid_set(have or GtidSet())
    head = _DUMP.pack(COM_BINLOG_DUMP_GTID, _HEARTBEATS_V2, server_id, len(name))
    return head + name + position.to_bytes(8, "little") + len(gtids).to_bytes(4, "little") + gtids


def acknowledgement(file: str, position: int) -> bytes:
    """All events of ``file`` that end at ``position`` or before it are durable. No answer comes."""
    return bytes((SEMI_SYNC_MARK,)) + position.to_bytes(8, "little") + file.encode()
