"""Packets of a dump in a buffer: filled by few large reads, looked at where they lie.

A packet is ``u24 length | u8 sequence | payload``. A payload of 0xFFFFFF bytes or more goes on in the next
packet; such a one never fits into the buffer, and is read straight into memory of its own.
"""

from __future__ import annotations

from fleet.errors import ServerUnreachable
from wire.binlog.link import Link

BUFFER_BYTES = 1024 * 1024
PACKET_HEADER = 4
FULL_PACKET = 0xFFFFFF


class Incoming:
    """``view[at:end]`` is what was received and not taken yet; who takes some of it moves ``at`` on.

    What is read there must be copied before the next ``fill`` or ``more``.
    """

    __slots__ = ("_buffer", "_link", "_lost", "_patience", "at", "end", "view")

    def __init__(self, link: Link, *, patience_seconds: float) -> None:
        self._link = link
        self._patience = patience_seconds
        self._lost: ServerUnreachable | None = None
        self._buffer = bytearray(BUFFER_BYTES)
        self.view = memoryview(self._buffer)
        self.at = self.end = 0

    def has_one(self) -> bool:
        """Is a whole packet there, or the head of one that does not fit into the buffer?"""
        held = self.end - self.at - PACKET_HEADER
        return held >= 0 and (held >= self.length() or self.is_large())

    def is_large(self) -> bool:
        """Does the packet at hand not fit into the buffer?"""
        return self.length() + PACKET_HEADER > BUFFER_BYTES

    def length(self) -> int:
        """Of the payload of the packet at hand, whose header is there."""
        at, buffer = self.at, self._buffer
        return buffer[at] | buffer[at + 1] << 8 | buffer[at + 2] << 16

    def payload(self) -> memoryview:
        begin = self.at + PACKET_HEADER
        return self.view[begin : begin + self.length()]

    def fill(self, seconds: float) -> bool:
        """Add what is there, or comes within ``seconds``; False: nothing. Raises ServerUnreachable."""
        if self._lost is not None:
            raise self._lost
        left = self.end - self.at
        self.view[:left] = bytes(self.view[self.at : self.end])
        self.at, self.end = 0, left
        length = self._link.receive(self.view[left:], seconds)
        while length:
            self.end += length
            if self.end == BUFFER_BYTES:
                break
            try:
                length = self._link.receive(self.view[self.end :], 0)
            except ServerUnreachable as error:
                # What came before the end is read first.
                self._lost = error
                break
        return self.end > left

    def more(self) -> None:
        """As ``fill``, in the middle of an event: then silence is an error."""
        if not self.fill(self._patience):
            raise self._silence()

    def take_into(self, target: memoryview) -> None:
        """Move the next ``len(target)`` bytes out, past the buffer what is not there yet."""
        ready = min(len(target), self.end - self.at)
        target[:ready] = self.view[self.at : self.at + ready]
        self.at += ready
        while ready < len(target):
            if self._lost is not None:
                raise self._lost
            if not (length := self._link.receive(target[ready:], self._patience)):
                raise self._silence()
            ready += length

    def _silence(self) -> ServerUnreachable:
        return ServerUnreachable(f"{self._link.peer} fell silent in the middle of an event")
