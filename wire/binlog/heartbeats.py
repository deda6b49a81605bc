"""Events that a source makes for a connection and that stand in no file: heartbeats and artificial rotates.

A heartbeat says how far the source has come while it has nothing to send. Version 1 (27) has the position in
its header and the file name as body, so it ends at 4 GiB; version 2 (41) has fields ``type u8 | length packed
| value``: 1 the name, 2 the position as a packed integer, and a 0 at the end. Which one is sent, the replica
chooses by a flag of its dump command. Source: sql/rpl_binlog_sender.cc, libs/mysql/binlog/event/codecs.
"""

from __future__ import annotations

from typing import NamedTuple

from wire.binlog.fields import Buffer, Fields, packed
from wire.binlog.header import ARTIFICIAL, ChecksumAlgorithm, EventType, fields_of, make_event

_END, _NAME, _POSITION = 0, 1, 2


class Place(NamedTuple):
    """A binlog file's name, without directory, and a byte position in it."""

    file: str
    position: int


def parse_heartbeat(event: Buffer, checksum: ChecksumAlgorithm) -> Place:
    """Either version. ``checksum`` is that of the last format description on the connection."""
    header, fields = fields_of(event, checksum, EventType.HEARTBEAT, EventType.HEARTBEAT_V2, name="HEARTBEAT")
    if header.type == EventType.HEARTBEAT:
        return Place(file_name(fields, fields.rest()), header.log_pos)
    name, position = "", None
    while (kind := fields.number(1)) != _END:
        value = Fields(fields.take(fields.packed()), fields.what)
        if kind == _NAME:
            name = file_name(value, value.rest())
        elif kind == _POSITION:
            position = value.packed()
            value.finish()
    fields.finish()
    if not name or position is None:
        raise fields.refused("names no file or no position")
    return Place(name, position)


def heartbeat(place: Place, *, server_id: int, checksum: ChecksumAlgorithm) -> bytes:
    """Version 1; the position must be less than 2^32."""
    if place.position >= 1 << 32:
        raise ValueError(f"a heartbeat of version 1 cannot name position {place.position}")
    return make_event(
        EventType.HEARTBEAT,
        place.file.encode(),
        checksum=checksum,
        server_id=server_id,
        log_pos=place.position,
    )


def heartbeat_v2(place: Place, *, server_id: int, checksum: ChecksumAlgorithm) -> bytes:
    """Version 2, for any position."""
    name, position = place.file.encode(), packed(place.position)
    body = b"".join(
        (
            bytes((_NAME,)),
            packed(len(name)),
            name,
            bytes((_POSITION, len(position))),
            position,
            bytes((_END,)),
        )
    )
    return make_event(EventType.HEARTBEAT_V2, body, checksum=checksum, server_id=server_id)


def parse_rotate(event: Buffer, checksum: ChecksumAlgorithm) -> Place:
    """Where to go on: the next file of a real rotate, or the file that an artificial one announces."""
    _, fields = fields_of(event, checksum, EventType.ROTATE)
    position = fields.number(8)
    return Place(file_name(fields, fields.rest()), position)


def artificial_rotate(place: Place, *, server_id: int, checksum: ChecksumAlgorithm) -> bytes:
    """What announces a file to a replica: timestamp 0 and flag ARTIFICIAL.

    ``checksum`` follows the last format description sent, that is the file just finished; before the first
    one, what the replica declared in ``@source_binlog_checksum``.
    """
    body = place.position.to_bytes(8, "little") + place.file.encode()
    return make_event(EventType.ROTATE, body, checksum=checksum, server_id=server_id, flags=ARTIFICIAL)


def file_name(fields: Fields, raw: bytes) -> str:
    """The name of a binlog file; raises BinlogUnreadable for what could not be one, or leads elsewhere."""
    name = raw.decode("utf-8", "replace")
    if not name or "/" in name or not name.isprintable() or "\ufffd" in name:
        raise fields.refused(f"names a binlog file {name[:80]!r}")
    return name
