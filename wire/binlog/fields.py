"""Takes the fields of one binlog event, strictly: a length that lies is BinlogUnreadable, never IndexError.

Three kinds of integers meet here: fixed little-endian ones; *packed* ones, one byte up to 250, else 252, 253
or 254 and 2, 3 or 8 bytes (``net_field_length`` in the server); and the *varints* of tagged GTIDs, where the
first byte ends in as many one bits as bytes follow it (mysql/serialization/variable_length_integers.h).
"""

from __future__ import annotations

from fleet.errors import BinlogUnreadable

Buffer = bytes | bytearray | memoryview


class Fields:
    """Fields of ``data[at:end]``, one after the other; ``what`` names the event and its place in errors.

    Every method raises BinlogUnreadable when there are too few bytes; ``finish`` does when some are left.
    """

    __slots__ = ("_data", "at", "end", "what")

    def __init__(self, data: Buffer, what: str, at: int = 0, end: int | None = None) -> None:
        self._data = data
        self.what = what
        self.at = at
        self.end = len(data) if end is None else end

    @property
    def remaining(self) -> int:
        return self.end - self.at

    def refused(self, why: str) -> BinlogUnreadable:
        """The error to raise: ``what``, then ``why``, then how far it was read."""
        return BinlogUnreadable(f"{self.what} {why} (at byte {self.at} of {self.end})")

    def skip(self, length: int) -> int:
        """Pass over ``length`` bytes; returns where they begin in the event."""
        begin = self.at
        if length > self.end - begin:
            raise self.refused(f"is truncated: {length} bytes wanted, {self.end - begin} left")
        self.at = begin + length
        return begin

    def take(self, length: int) -> bytes:
        begin = self.skip(length)
        return bytes(self._data[begin : begin + length])

    def number(self, width: int) -> int:
        """An unsigned integer of ``width`` bytes."""
        return int.from_bytes(self.take(width), "little")

    def signed(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little", signed=True)

    def packed(self) -> int:
        """A packed integer. 251 (NULL) and 255 mean nothing in a binlog and are refused."""
        first = self.number(1)
        if first <= 250:
            return first
        width = {252: 2, 253: 3, 254: 8}.get(first)
        if width is None:
            raise self.refused(f"has {first} where a packed integer should begin")
        return self.number(width)

    def varint(self) -> int:
        """An unsigned varint of 1 to 9 bytes."""
        first = self.number(1)
        more = (first ^ 0xFF) & -(first ^ 0xFF)
        count = 9 if first == 0xFF else more.bit_length()
        value = first | int.from_bytes(self.take(count - 1), "little") << 8
        return value >> (8 if count == 9 else count)

    def signed_varint(self) -> int:
        """A varint whose lowest bit is the sign (zigzag)."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def rest(self) -> bytes:
        return self.take(self.remaining)

    def rest_view(self) -> memoryview:
        """What is left, without a copy."""
        begin = self.skip(self.remaining)
        return memoryview(self._data)[begin : self.end]

    def finish(self) -> None:
        if self.remaining:
            raise self.refused(f"has {self.remaining} bytes too many")


def packed(number: int) -> bytes:
    """The packed form of ``number``."""
    if number <= 250:
        return bytes((number,))
    for mark, width in ((252, 2), (253, 3), (254, 8)):
        if number < 1 << 8 * width:
            return bytes((mark,)) + number.to_bytes(width, "little")
    raise ValueError(f"{number} does not fit into 8 bytes")
