"""GTID sets and GTID events as bytes.

A set without tags: ``n u64``, then n times ``uuid 16 | intervals u64 | (first u64, end u64, exclusive)...``.
With tags the first eight bytes are ``01 | n (6 bytes) | 01``, and after each uuid follows ``2 * length u8 |
tag``. COM_BINLOG_DUMP_GTID and Previous_gtids share this form. Source: sql/rpl_gtid_set.cc (encode,
add_gtid_encoding), libs/mysql/gtids; GTID events: libs/mysql/binlog/event/control_events.h, and for the
tagged one the message format of mysql/serialization/readme.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from struct import Struct
from typing import NamedTuple

from fleet.errors import GtidSetMalformed
from fleet.gtid import LAST_NUMBER, GtidSet, Interval, Origin
from fleet.transaction import Gtid
from wire.binlog.fields import Buffer, Fields
from wire.binlog.header import ChecksumAlgorithm, EventType, fields_of

ANONYMOUS = Gtid("00000000-0000-0000-0000-000000000000", "", 0)
"""Stands for the GTID of a transaction that has none (``gtid_mode=OFF``); it never enters a set."""

_TAGGED = 1
_TAGGED_MARK = 1 << 56 | _TAGGED
_TAGGED_COUNT = (1 << 48) - 1
_INTERVAL = Struct("<QQ")
_LARGEST_TAG = 32
_LOGICAL_TIMESTAMPS = 2
_SECOND_TIMESTAMP = 1 << 55
_SECOND_VERSION = 1 << 31
_VERSION_UNKNOWN = 999_999


@dataclass(frozen=True, slots=True)
class GtidEvent:
    """The event that opens every transaction.

    ``last_committed`` and ``sequence_number`` are the logical clock of the parallel applier. Commit times are
    microseconds since 1970 UTC: here, and on the server where it was first committed; 0 in logs before 8.0.
    ``transaction_length`` counts bytes from this event's first to the transaction's last; 0 if the log does
    not say. ``server_version`` is ``90704`` for 9.7.4, of the server that committed it first.
    """

    gtid: Gtid
    last_committed: int
    sequence_number: int
    immediate_commit_us: int
    original_commit_us: int
    transaction_length: int
    server_version: int
    flags: int


def encode_gtid_set(gtids: GtidSet) -> bytes:
    """The bytes that a server writes; the tagged form only if there are tags."""
    tagged = gtids.has_tags()
    count = len(gtids.origins)
    parts = [(_TAGGED_MARK | count << 8 if tagged else count).to_bytes(8, "little")]
    for uuid, tag, intervals in gtids:
        parts.append(bytes.fromhex(uuid.replace("-", "")))
        if tagged:
            parts.append(bytes((2 * len(tag),)) + tag.encode("ascii"))
        parts.append(len(intervals).to_bytes(8, "little"))
        parts += [_INTERVAL.pack(first, last + 1) for first, last in intervals]
    return b"".join(parts)


def decode_gtid_set(data: Buffer) -> GtidSet:
    """The set that ``data`` holds, and nothing else; raises BinlogUnreadable."""
    fields = Fields(data, "an encoded GTID set")
    decoded = take_gtid_set(fields)
    fields.finish()
    return decoded


def take_gtid_set(fields: Fields) -> GtidSet:
    """Take one encoded set; its counts say where it ends."""
    count = fields.number(8)
    tagged = count >> 56 == _TAGGED
    if tagged:
        if count & 0xFF != _TAGGED:
            raise fields.refused("has a GTID set of an unknown form")
        count = count >> 8 & _TAGGED_COUNT
    origins: list[Origin] = []
    # A count that lies ends at the first origin that is not there; nothing is reserved for it.
    for _ in range(count):
        uuid = uuid_text(fields.take(16))
        tag = _take_tag(fields) if tagged else ""
        intervals = fields.number(8)
        packed = fields.take(intervals * _INTERVAL.size)
        origins.append(Origin(uuid, tag, tuple(Interval(a, b - 1) for a, b in _INTERVAL.iter_unpack(packed))))
    try:
        return GtidSet(origins)
    except GtidSetMalformed as error:
        raise fields.refused(f"has a malformed GTID set: {error.message}") from error


def _take_tag(fields: Fields) -> str:
    doubled = fields.number(1)
    if doubled & 1 or doubled > 2 * _LARGEST_TAG:
        raise fields.refused(f"has a GTID tag of {doubled}/2 bytes")
    return _tag_text(fields, fields.take(doubled >> 1))


def _tag_text(fields: Fields, tag: bytes) -> str:
    if not tag.isascii():
        raise fields.refused(f"has a GTID tag that is not ASCII: {tag!r}")
    return tag.decode("ascii")


def parse_previous_gtids(event: Buffer, checksum: ChecksumAlgorithm) -> GtidSet:
    """All that was executed before the file of this event began."""
    _, fields = fields_of(event, checksum, EventType.PREVIOUS_GTIDS)
    gtids = take_gtid_set(fields)
    fields.finish()
    return gtids


def parse_gtid_event(event: Buffer, checksum: ChecksumAlgorithm) -> GtidEvent:
    """Of type GTID (33), TAGGED_GTID (42) or ANONYMOUS_GTID (34), whose gtid is ``ANONYMOUS``."""
    header, fields = fields_of(
        event, checksum, EventType.GTID, EventType.ANONYMOUS_GTID, EventType.TAGGED_GTID, name="GTID"
    )
    if header.type == EventType.TAGGED_GTID:
        return _parse_tagged(fields)
    parsed = _parse_untagged(fields)
    if header.type == EventType.ANONYMOUS_GTID:
        return replace(parsed, gtid=ANONYMOUS)
    _check_number(fields, parsed.gtid.number)
    return parsed


class _Times(NamedTuple):
    immediate: int = 0
    original: int = 0
    length: int = 0
    version: int = _VERSION_UNKNOWN


def _parse_untagged(fields: Fields) -> GtidEvent:
    """5.6 writes up to the number, 5.7 up to the logical clock; what newer servers append is left unread."""
    flags = fields.number(1)
    gtid = Gtid(uuid_text(fields.take(16)), "", fields.signed(8))
    last_committed = sequence_number = 0
    times = _Times()
    if fields.remaining:
        if (kind := fields.number(1)) != _LOGICAL_TIMESTAMPS:
            raise fields.refused(f"has a logical clock of unknown kind {kind}")
        last_committed, sequence_number = fields.signed(8), fields.signed(8)
        if fields.remaining:
            times = _take_times(fields)
    return GtidEvent(
        gtid,
        last_committed,
        sequence_number,
        times.immediate,
        times.original,
        times.length,
        times.version,
        flags,
    )


def _take_times(fields: Fields) -> _Times:
    immediate = fields.number(7)
    original = immediate & ~_SECOND_TIMESTAMP
    if immediate & _SECOND_TIMESTAMP:
        immediate, original = original, fields.number(7)
    length = fields.packed() if fields.remaining else 0
    version = _VERSION_UNKNOWN
    if fields.remaining:
        version = fields.number(4)
        if version & _SECOND_VERSION:
            version = fields.number(4)
    return _Times(immediate, original, length, version)


_FLAGS, _UUID, _NUMBER, _TAG, _LAST_COMMITTED, _SEQUENCE, _IMMEDIATE, _ORIGINAL, _LENGTH = range(9)
_VERSION, _ORIGINAL_VERSION, _TICKET = 9, 10, 11
_SIGNED = (_NUMBER, _LAST_COMMITTED, _SEQUENCE)


def _parse_tagged(fields: Fields) -> GtidEvent:
    """Numbered fields in ascending order; the server leaves out those that equal another."""
    begin = fields.at
    if (version := fields.varint()) != 1:
        raise fields.refused(f"is a message of version {version}")
    if (size := fields.varint()) != fields.end - begin:
        raise fields.refused(f"says that its message has {size} bytes, and it has {fields.end - begin}")
    if (needed := fields.varint()) > _TICKET + 1:
        raise fields.refused(f"cannot be read without its field {needed - 1}, which is newer than this tool")
    uuid, tag, numbers = _take_numbered(fields)
    gtid = Gtid(uuid, tag, numbers.get(_NUMBER, 0))
    _check_number(fields, gtid.number)
    immediate = numbers.get(_IMMEDIATE, 0)
    return GtidEvent(
        gtid=gtid,
        last_committed=numbers.get(_LAST_COMMITTED, 0),
        sequence_number=numbers.get(_SEQUENCE, 0),
        immediate_commit_us=immediate,
        original_commit_us=numbers.get(_ORIGINAL, immediate),
        transaction_length=numbers.get(_LENGTH, 0),
        server_version=numbers.get(_ORIGINAL_VERSION, numbers.get(_VERSION, _VERSION_UNKNOWN)),
        flags=numbers.get(_FLAGS, 0),
    )


def _take_numbered(fields: Fields) -> tuple[str, str, dict[int, int]]:
    """The uuid, the tag, and every other field by its number; newer fields end the reading."""
    uuid, tag, numbers = "", "", dict[int, int]()
    previous = -1
    while fields.remaining and (field := fields.varint()) <= _TICKET:
        if field <= previous:
            raise fields.refused(f"has field {field} after field {previous}")
        previous = field
        if field == _UUID:
            uuid = uuid_text(bytes(_byte(fields) for _ in range(16)))
        elif field == _TAG:
            tag = _tag_text(fields, fields.take(fields.varint()))
        else:
            numbers[field] = fields.signed_varint() if field in _SIGNED else fields.varint()
    if not uuid:
        raise fields.refused("names no uuid")
    return uuid, tag, numbers


def _byte(fields: Fields) -> int:
    if (value := fields.varint()) > 0xFF:
        raise fields.refused(f"has {value} where a byte should be")
    return value


def _check_number(fields: Fields, number: int) -> None:
    if not 1 <= number <= LAST_NUMBER:
        raise fields.refused(f"has transaction number {number}")


def uuid_text(raw: bytes) -> str:
    """Lower case with hyphens, as MySQL prints it."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
