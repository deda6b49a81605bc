"""Compressed transactions: the payload event and the events inside of it.

Body: fields ``type packed | length packed | value packed`` (1 size, 2 compression, 3 uncompressed size), a 0,
then the payload: BEGIN to XID as events without checksums, whose log_pos means nothing. Source:
libs/mysql/binlog/event/codecs/binary.cpp, compression/payload_event_buffer_istream.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import zstandard

from fleet.errors import BinlogUnreadable
from wire.binlog.fields import Buffer, Fields
from wire.binlog.header import HEADER_BYTES, ChecksumAlgorithm, EventType, fields_of, parse_header

LARGEST_PAYLOAD = 1 << 30
"""What ``decompress_payload`` makes at most, unless told otherwise: MySQL's largest packet."""

LARGEST_STREAM = 1 << 36
"""What ``payload_heads`` passes over at most: beyond any transaction, and the end of a bomb."""

_END, _SIZE, _COMPRESSION, _UNCOMPRESSED = 0, 1, 2, 3
_ZSTD, _PLAIN = 0, 255
_AT_ONCE = 1 << 20
_STEP = 1 << 18


@dataclass(frozen=True, slots=True)
class Payload:
    """``data`` holds ``uncompressed`` bytes of events; ``what`` names the event in errors."""

    what: str
    compressed: bool
    uncompressed: int
    data: memoryview


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def parse_payload(event: Buffer, checksum: ChecksumAlgorithm) -> Payload:
    """The payload, not decompressed; raises BinlogUnreadable, also for an unknown compression."""
    _, fields = fields_of(event, checksum, EventType.TRANSACTION_PAYLOAD)
    found: dict[int, int] = {}
    while (kind := fields.packed()) != _END:
        value = Fields(fields.take(fields.packed()), fields.what)
        if kind in (_SIZE, _COMPRESSION, _UNCOMPRESSED):
            found[kind] = value.packed()
            value.finish()
    compression = found.get(_COMPRESSION, _PLAIN)
    if compression not in (_ZSTD, _PLAIN):
        raise fields.refused(f"is compressed in an unknown way ({compression})")
    if found.get(_SIZE, fields.remaining) != fields.remaining:
        raise fields.refused(f"says that its payload has {found[_SIZE]} bytes")
    size = found.get(_UNCOMPRESSED, fields.remaining)
    if compression == _PLAIN and size != fields.remaining:
        raise fields.refused(f"says that its payload, which is not compressed, makes {size} bytes")
    return Payload(fields.what, compression == _ZSTD, size, fields.rest_view())


def decompress_payload(
    event: Buffer, checksum: ChecksumAlgorithm, *, most_bytes: int = LARGEST_PAYLOAD
) -> bytes:
    """All events of the payload, one after the other, in memory; ``walk`` and the parsers read them.

    Raises BinlogUnreadable if they are more than ``most_bytes``, or not as many as the event says.
    """
    payload = parse_payload(event, checksum)
    if payload.uncompressed > most_bytes:
        raise _too_large(payload, most_bytes)
    stream = _Stream(payload)
    plain = stream.take(payload.uncompressed)
    stream.finish()
    return plain


def payload_heads(event: Buffer, checksum: ChecksumAlgorithm, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Type and the first ``most_bytes`` bytes of each event inside, header included; the rest is passed over.

    Memory stays small whatever the payload unpacks to. Raises BinlogUnreadable.
    """
    payload = parse_payload(event, checksum)
    if payload.uncompressed > LARGEST_STREAM:
        raise BinlogUnreadable(
            f"{payload.what} makes {payload.uncompressed} bytes, more than {LARGEST_STREAM}"
        )
    stream = _Stream(payload)
    while stream.left:
        head = stream.take(HEADER_BYTES)
        header = parse_header(head)
        kept = min(header.length, most_bytes) - HEADER_BYTES
        yield header.type, head + stream.take(kept)
        stream.skip(header.length - HEADER_BYTES - kept)
    stream.finish()


def _too_large(payload: Payload, most_bytes: int) -> BinlogUnreadable:
    return BinlogUnreadable(f"{payload.what} makes {payload.uncompressed} bytes, more than {most_bytes}")


def _small(payload: Payload) -> bytes:
    """The payload in one call, or nothing if only a stream can tell what is wrong with it."""
    try:
        # A frame that states another size would have that much memory reserved for it.
        if zstandard.frame_content_size(payload.data) in (-1, payload.uncompressed):
            return zstandard.decompress(payload.data, max_output_size=payload.uncompressed)
    except zstandard.ZstdError:
        pass
    return b""


class _Stream:
    """A payload as it unpacks: never more than the event says, never less."""

    def __init__(self, payload: Payload) -> None:
        self._what = payload.what
        self._source = self._open(payload)
        self.left = payload.uncompressed

    def _open(self, payload: Payload) -> _Source:
        if not payload.compressed:
            return BytesIO(payload.data)
        if 0 < payload.uncompressed <= _AT_ONCE:
            # Most transactions are small: one call is several times faster than a stream.
            plain = _small(payload)
            if len(plain) == payload.uncompressed:
                return BytesIO(plain)
        return zstandard.ZstdDecompressor().stream_reader(
            payload.data, read_size=_STEP, read_across_frames=True
        )

    def take(self, length: int) -> bytes:
        """Exactly ``length`` bytes."""
        if length > self.left:
            raise self._refused(f"has an event that needs {length} bytes inside, and {self.left} are left")
        parts: list[bytes] = []
        wanted = length
        while wanted:
            if not (part := self._read(min(wanted, _STEP))):
                raise self._refused("unpacks to less than it says")
            parts.append(part)
            wanted -= len(part)
        self.left -= length
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, length: int) -> None:
        if length > self.left:
            raise self._refused(f"has an event that needs {length} bytes inside, and {self.left} are left")
        while length:
            length -= len(self.take(min(length, _STEP)))

    def finish(self) -> None:
        if self._read(1):
            raise self._refused("unpacks to more than it says")

    def _read(self, length: int) -> bytes:
        try:
            return self._source.read(length)
        except zstandard.ZstdError as error:
            raise self._refused(f"cannot be decompressed: {error}") from error

    def _refused(self, why: str) -> BinlogUnreadable:
        return BinlogUnreadable(f"{self._what} {why}")
