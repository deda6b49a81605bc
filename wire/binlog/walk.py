"""Steps over whole events without looking into them."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from fleet.errors import BinlogUnreadable
from wire.binlog.fields import Buffer
from wire.binlog.header import HEADER_BYTES, type_name, unreadable

_TYPE_AND_LENGTH = Struct("<4xB4xI")


def walk(data: Buffer, at: int = 0) -> Iterator[tuple[int, int, int]]:
    """Offset in ``data``, type and length of each event from ``at`` on; ``data`` ends with a whole event.

    Raises BinlogUnreadable at the first that is cut off or says that it is shorter than a header. The magic
    at the start of a file is no event: begin behind it.
    """
    end = len(data)
    last_header = end - HEADER_BYTES
    step = _TYPE_AND_LENGTH.unpack_from
    while at < end:
        if at > last_header:
            raise cut_off(data, at)
        kind, length = step(data, at)
        if length < HEADER_BYTES or length > end - at:
            raise cut_off(data, at)
        yield at, kind, length
        at += length


def whole_events(data: Buffer, at: int = 0) -> int:
    """Where the last event that is complete in ``data`` ends: ``at`` if the first is not.

    Raises BinlogUnreadable for an event that says it is shorter than a header: no more bytes can mend it.
    """
    last_header = len(data) - HEADER_BYTES
    step = _TYPE_AND_LENGTH.unpack_from
    while at <= last_header:
        _, length = step(data, at)
        if length < HEADER_BYTES:
            raise cut_off(data, at)
        if length > len(data) - at:
            break
        at += length
    return at


def cut_off(data: Buffer, at: int, start: int = 0) -> BinlogUnreadable:
    """Why no event begins at ``at``: the error to raise. ``start``: where ``data`` begins in its file."""
    left, place = len(data) - at, start + at
    if left < HEADER_BYTES:
        return unreadable(f"an event header at byte {place} is cut off: {left} of {HEADER_BYTES} bytes")
    kind, length = _TYPE_AND_LENGTH.unpack_from(data, at)
    if length > left:
        return unreadable(f"a {type_name(kind)} event at byte {place} is cut off: {left} of {length} bytes")
    return unreadable(f"a {type_name(kind)} event at byte {place} says that it is {length} bytes long")
