"""Binlog files made to order, event by event, for what no real server can be made to write."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from wire.binlog.events import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    MAGIC,
    ChecksumAlgorithm,
    EventType,
    encode_gtid_set,
    make_event,
)
from wire.binlog.fields import packed

UUID = "16886f80-e6e4-11f1-afc3-02fc00000001"
Body = tuple[EventType, bytes]
VERSION = b"9.7.4".ljust(50, b"\0")


def query(sql: str | bytes, schema: str = "app", status: bytes = b"") -> Body:
    text = sql.encode() if isinstance(sql, str) else sql
    fixed = struct.pack("<IIBHH", 7, 0, len(schema), 0, len(status))
    return EventType.QUERY, fixed + status + schema.encode() + b"\0" + text


BEGIN, COMMIT = query("BEGIN"), query("COMMIT")


def xid(number: int = 1) -> Body:
    return EventType.XID, number.to_bytes(8, "little")


def table_map(table: str, schema: str = "app", number: int = 90) -> Body:
    names = b"".join(packed(len(name)) + name.encode() + b"\0" for name in (schema, table))
    return EventType.TABLE_MAP, number.to_bytes(6, "little") + b"\1\0" + names + b"\1\3\0\0"


def rows(kind: EventType, size: int = 10, number: int = 90) -> Body:
    return kind, number.to_bytes(6, "little") + b"\1\0\2\0\1\xff" + bytes(size)


def gtid_body(
    gtid: Gtid,
    length: int,
    committed: int,
    original: int | None = None,
    *,
    since: str = "8.0",
    flags: int = 0,
) -> bytes:
    """Of an untagged event. ``since``: which server's form, "5.6", "5.7" or "8.0"."""
    body = bytes((flags,)) + bytes.fromhex(gtid.uuid.replace("-", "")) + gtid.number.to_bytes(8, "little")
    if since == "5.6":
        return body
    body += struct.pack("<Bqq", 2, gtid.number - 1, gtid.number)
    if since == "5.7":
        return body
    if original is None:
        body += committed.to_bytes(7, "little")
    else:
        body += (committed | 1 << 55).to_bytes(7, "little") + original.to_bytes(7, "little")
    return body + packed(length) + (90704).to_bytes(4, "little")


def varint(number: int) -> bytes:
    """As mysql/serialization writes it."""
    for count in range(1, 9):
        if number < 1 << 7 * count:
            return (number << count | (1 << count - 1) - 1).to_bytes(count, "little")
    return b"\xff" + number.to_bytes(8, "little")


def signed_varint(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else ~(number << 1))


def tagged_body(gtid: Gtid, length: int, committed: int, original: int | None = None) -> bytes:
    fields = varint(0) + varint(0)
    fields += varint(1) + b"".join(varint(byte) for byte in bytes.fromhex(gtid.uuid.replace("-", "")))
    fields += varint(2) + signed_varint(gtid.number)
    fields += varint(3) + varint(len(gtid.tag)) + gtid.tag.encode()
    fields += varint(4) + signed_varint(gtid.number - 1) + varint(5) + signed_varint(gtid.number)
    fields += varint(6) + varint(committed)
    if original is not None:
        fields += varint(7) + varint(original)
    fields += varint(8) + varint(length) + varint(9) + varint(90704)
    for size in range(len(fields), len(fields) + 12):
        front = varint(1) + varint(size) + varint(0)
        if len(front) + len(fields) == size:
            return front + fields
    raise AssertionError("no size fits")


class MadeFile:
    """A file from its magic on; ``data`` grows by every event. ``clock`` counts microseconds up."""

    def __init__(
        self,
        checksum: ChecksumAlgorithm = ChecksumAlgorithm.CRC32,
        previous: GtidSet | None = None,
        *,
        in_use: bool = False,
    ) -> None:
        self.checksum = checksum
        self.data = bytearray(MAGIC)
        self.clock = 1_795_400_000_000_000
        lengths = bytes(42)
        body = struct.pack("<H50sIB", 4, VERSION, 0, HEADER_BYTES) + lengths + bytes((checksum,))
        # Its checksum is there in any case.
        end = 4 + HEADER_BYTES + len(body) + CHECKSUM_BYTES
        self.data += make_event(
            EventType.FORMAT_DESCRIPTION,
            body,
            checksum=ChecksumAlgorithm.CRC32,
            server_id=1,
            timestamp=self.clock // 1_000_000,
            log_pos=end,
        )
        if in_use:
            self.data[21] |= 1
        self.add(EventType.PREVIOUS_GTIDS, encode_gtid_set(previous or GtidSet()))

    @property
    def position(self) -> int:
        return len(self.data)

    def add(self, kind: EventType, body: bytes) -> None:
        self.data += make_event(
            kind,
            body,
            checksum=self.checksum,
            server_id=1,
            timestamp=self.clock // 1_000_000,
            log_pos=self.position + self.size(body),
        )

    def size(self, body: bytes) -> int:
        return HEADER_BYTES + len(body) + (CHECKSUM_BYTES if self.checksum else 0)

    def transaction(
        self,
        gtid: Gtid | int,
        events: Iterable[Body],
        *,
        says: int = 0,
        since: str = "8.0",
        original: int | None = None,
        anonymous: bool = False,
    ) -> Gtid:
        """Add one; ``says``: how much more than the truth its GTID event says of its length."""
        if isinstance(gtid, int):
            gtid = Gtid(UUID, "", gtid)
        events = list(events)
        inside = sum(self.size(body) for _, body in events)
        self.clock += 1000

        def body(length: int) -> bytes:
            if gtid.tag:
                return tagged_body(gtid, length, self.clock, original)
            return gtid_body(gtid, length, self.clock, original, since=since)

        # The length counts the GTID event, whose own size depends on the length.
        length = inside + self.size(body(inside + 100))
        while self.size(body(length + says)) + inside != length:
            length = self.size(body(length + says)) + inside
        kind = EventType.TAGGED_GTID if gtid.tag else EventType.GTID
        self.add(EventType.ANONYMOUS_GTID if anonymous else kind, body(length + says))
        for event, content in events:
            self.add(event, content)
        return gtid

    def rotate(self, to: str = "binlog.000002") -> None:
        self.add(EventType.ROTATE, (4).to_bytes(8, "little") + to.encode())
