"""MySQL's packets and integers: pure functions over bytes, strict about every length.

A packet is ``u24 length (little endian), u8 sequence number, payload``. Outer integers of the protocol are
little endian; what InnoDB wrote is big endian, so a ``Reader`` is told which it reads.
Source: the client/server protocol pages of the MySQL internals manual; sql-common/net_serv.cc.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleet.errors import ProtocolViolation

HEADER_BYTES = 4
LARGEST_PAYLOAD = 0xFFFFFF - 1
"""A payload of 0xFFFFFF bytes announces another packet; no part of what we speak is that long."""

OK_MARK = 0x00
ERROR_MARK = 0xFF

ByteOrder = Literal["little", "big"]


def frame(payload: bytes, sequence: int = 0) -> bytes:
    """One packet around ``payload``."""
    if len(payload) > LARGEST_PAYLOAD:
        raise ProtocolViolation(f"a payload of {len(payload)} bytes does not fit into one packet")
    return len(payload).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload


def payload_length(header: bytes | bytearray | memoryview) -> int:
    """The payload's length, from the 4 bytes of a header; the sequence number is ignored on purpose.

    The clone protocol starts it at 0 in every packet, both ways.
    """
    if len(header) != HEADER_BYTES:
        raise ProtocolViolation(f"a packet header has 4 bytes, not {len(header)}")
    length = header[0] | header[1] << 8 | header[2] << 16
    if length == 0:
        raise ProtocolViolation("a packet without payload")
    if length > LARGEST_PAYLOAD:
        raise ProtocolViolation("a packet of 16 MiB or more")
    return length


class Reader:
    """Takes fields off ``data`` one after the other; ``what`` names it in errors.

    Every method raises ProtocolViolation when there are too few bytes; ``end`` does when some are left.
    """

    __slots__ = ("_data", "_order", "_position", "_what")

    def __init__(self, data: bytes | memoryview, what: str, order: ByteOrder) -> None:
        self._data = bytes(data)
        self._what = what
        self._order: ByteOrder = order
        self._position = 0

    def take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise ProtocolViolation(
                f"{self._what} is truncated: {length} bytes wanted at {self._position} of {len(self._data)}"
            )
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def number(self, width: int) -> int:
        """An unsigned integer of ``width`` bytes."""
        return int.from_bytes(self.take(width), self._order)

    def counted(self) -> bytes:
        """A u32 length, then that many bytes."""
        return self.take(self.number(4))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._position)

    @property
    def remaining(self) -> int:
        return len(self._data) - self._position

    def end(self) -> None:
        if self.remaining:
            raise ProtocolViolation(f"{self._what} has {self.remaining} bytes too many")


def counted(data: bytes) -> bytes:
    """A u32 little-endian length, then ``data``."""
    return len(data).to_bytes(4, "little") + data


@dataclass(frozen=True, slots=True)
class ServerError:
    """An ERR packet: the server's error number, SQL state and text."""

    number: int
    state: str
    text: str


def parse_answer(payload: bytes) -> ServerError | None:
    """``None`` for an OK packet, the error for an ERR packet; anything else raises ProtocolViolation."""
    reader = Reader(payload, "the answer to a command", "little")
    mark = reader.number(1)
    if mark == OK_MARK:
        return None
    if mark != ERROR_MARK:
        raise ProtocolViolation(f"a command was answered by a packet of type {mark:#04x}")
    number = reader.number(2)
    text = reader.rest()
    state = "HY000"
    if text[:1] == b"#":
        if len(text) < 6:
            raise ProtocolViolation("an error packet is truncated in its SQL state")
        state, text = text[1:6].decode("ascii", "replace"), text[6:]
    return ServerError(number, state, text.decode("utf-8", "replace"))
