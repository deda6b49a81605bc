"""The stream of a dump, cut into batches of whole events: the hot path of the archive.

Packets are ``u24 length | u8 sequence | 00 | [EF flag] | event``; after 0xFFFFFF bytes a packet goes on in
the next. Sequence numbers are ignored: semi-sync resets them at will. Nearly all events are *plain*: their
length, place and checksum are checked where they lie in the buffer, and a batch is one join of them. Those
that say something about the stream itself (rotates, format descriptions, stops, heartbeats) leave that loop.

The position is our own, in 64 bits; the ``log_pos`` of an event must agree with it modulo 2^32.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from fleet.errors import ProtocolViolation, ServerUnreachable, SourceDiverged, ToolError
from wire.binlog.batch import Batch, Ending
from wire.binlog.description import clear_in_use, parse_format_description
from wire.binlog.dump_errors import source_error
from wire.binlog.dump_messages import ACK_WANTED, FIRST_POSITION, SEMI_SYNC_MARK
from wire.binlog.header import (
    ARTIFICIAL,
    HEADER_BYTES,
    MAGIC,
    RESIDUE,
    ChecksumAlgorithm,
    EventType,
    Header,
    check_crc,
    described,
    parse_header,
    unreadable,
)
from wire.binlog.heartbeats import Place, parse_heartbeat, parse_rotate
from wire.binlog.incoming import FULL_PACKET, PACKET_HEADER, Incoming
from wire.binlog.link import Link
from wire.packet import ERROR_MARK, parse_answer

LARGEST_EVENT = 1024**3 + 64 * 1024
"""The server's own bound: the largest max_allowed_packet, and some for headers."""

_OK_MARK, _EOF_MARK, _LONGEST_EOF = 0x00, 0xFE, 8
_U32 = 0xFFFFFFFF
_FIRST_PACKET_SECONDS = 120.0
"""The source may read the Previous_gtids of all its files before it says the first word."""

_PLAIN_HEADS = Struct("<IB4xB4xII")
_SEMI_SYNC_HEADS = Struct("<IBxx4xB4xII")
_HEARTBEATS = (EventType.HEARTBEAT, EventType.HEARTBEAT_V2)
_SPECIAL = bytearray(256)
for _kind in (EventType.ROTATE, EventType.FORMAT_DESCRIPTION, EventType.STOP, *_HEARTBEATS):
    _SPECIAL[_kind] = 1


class Reading:
    """Reads the answer to a dump command off ``link``. Not for two threads.

    ``patience`` is how many heartbeats may fail to come. ``created`` is what the format description of the
    file asked for must be stamped with; ``None``: not checked. Raises the errors that ``wire.binlog.dump``
    names, and LinkClosed.
    """

    def __init__(
        self,
        link: Link,
        *,
        asked: str,
        period_seconds: float,
        patience: int = 3,
        created: int | None = None,
    ) -> None:
        self.file = ""
        self.position = 0
        self.has_semi_sync = False
        self._link = link
        self._asked = asked
        self._period = period_seconds
        self._patience = patience
        self._expected = created
        self._packets = Incoming(link, patience_seconds=period_seconds * patience)
        self._failure: ToolError | None = None
        self._heads = _PLAIN_HEADS
        self._front = PACKET_HEADER + 1
        self._checksum = (
            ChecksumAlgorithm.CRC32
        )  # as we declared it; from the first format description on: its
        self._created = 0
        self._is_described = False
        self._is_resumed = False
        self._parts: list[bytes | bytearray | memoryview] = []
        self._start = 0
        self._ack_wanted = False
        self._ended_by: Ending | None = None
        self._next_file: str | None = None
        self._is_alive = False
        self._silent_periods = 0

    def begin(self) -> Place:
        """Read the first packet: the source names the file and position that it sends from."""
        while not self._packets.has_one():
            if not self._packets.fill(_FIRST_PACKET_SECONDS):
                raise ServerUnreachable(f"{self._link.peer} does not answer the dump command")
        payload = self._packets.payload()
        # It is an artificial rotate, whose time stamp is 0: this byte can be the mark of semi-sync or nothing
        # else.
        if len(payload) > 1 and payload[0] == _OK_MARK and payload[1] == SEMI_SYNC_MARK:
            self.has_semi_sync = True
            self._heads = _SEMI_SYNC_HEADS
            self._front = PACKET_HEADER + 3
        self._special()
        if not self.file:
            raise ProtocolViolation(f"the dump of {self._link.peer} does not begin by naming a file")
        return Place(self.file, self.position)

    def batch(self) -> Batch:
        """The next batch. Empty after a heartbeat, or when nothing came for one heartbeat period."""
        if self._failure is not None:
            raise self._failure
        while not (self._take() or self._parts or self._is_alive):
            if not self._packets.fill(self._period):
                self._silent_periods += 1
                if self._silent_periods == self._patience:
                    raise ServerUnreachable(
                        f"{self._link.peer} is silent for {self._patience * self._period:g} s, and should "
                        f"have sent a heartbeat every {self._period:g} s"
                    )
                break
            self._silent_periods = 0
        return self._finished()

    def _take(self) -> bool:
        """Take all that the buffer holds, up to the end of a file, or an error: then True."""
        while True:
            if self._is_described:
                self._plain_events()
            if not self._packets.has_one():
                return False
            if self._packets.is_large():
                if self._parts:
                    return False
                self._large_event()
                return False
            try:
                if self._special():
                    return True
            except ToolError as error:
                # What came before it is sound, and the source may not live to send it again.
                if not self._parts:
                    raise
                self._failure = error
                return True

    def _plain_events(self) -> None:
        """The loop that must be fast: up to the first event that is not plain, or not whole, or not right."""
        packets, front = self._packets, self._front
        view, at, end = packets.view, packets.at, packets.end
        unpack, append = self._heads.unpack_from, self._parts.append
        shortest, before, semi_sync = front + HEADER_BYTES, front - PACKET_HEADER, self.has_semi_sync
        position, checked = self.position, self._checksum is ChecksumAlgorithm.CRC32
        while end - at >= shortest:
            packet, mark, kind, length, log_pos = unpack(view, at)
            begin = at + front
            stop = begin + length
            if (
                stop > end
                or mark
                or _SPECIAL[kind]
                or packet & FULL_PACKET != length + before
                or (position + length) & _U32 != log_pos
                or length < HEADER_BYTES
            ):
                break
            event = view[begin:stop]
            if checked and crc32(event) != RESIDUE:
                break
            if semi_sync:
                if view[begin - 2] != SEMI_SYNC_MARK:
                    break
                if view[begin - 1] & ACK_WANTED:
                    self._ack_wanted = True
            append(event)
            position += length
            at = stop
        packets.at, self.position = at, position

    def _special(self) -> bool:
        """Take the packet at hand, which is no plain event; True if it ends a file."""
        payload = self._packets.payload()
        mark = payload[0] if payload else None
        if mark == ERROR_MARK and (refusal := parse_answer(bytes(payload))) is not None:
            raise source_error(refusal, self._link.peer, self._asked)
        if mark == _EOF_MARK and len(payload) <= _LONGEST_EOF:
            raise ServerUnreachable(
                f"{self._link.peer} ended the dump of {self._asked}: it shuts down, or was told to"
            )
        event = self._event_of(payload)
        header = parse_header(event)
        if header.length != len(event):
            raise ProtocolViolation(
                f"{described(header)} says {header.length} bytes, its packet has {len(event)}"
            )
        if self._checksum or header.type == EventType.FORMAT_DESCRIPTION:
            check_crc(event)
        if header.type == EventType.ROTATE and header.flags & ARTIFICIAL:
            if self._is_described:
                # Nothing was said of an end: the server crashed while it wrote this file, and is back.
                return self._end_file("torn", parse_rotate(event, self._checksum).file)
            self._packets.at += PACKET_HEADER + len(payload)
            self._begin_file(parse_rotate(event, self._checksum))
            return False
        self._packets.at += PACKET_HEADER + len(payload)
        if header.type in _HEARTBEATS:
            self._check_heartbeat(parse_heartbeat(event, self._checksum), header)
        elif header.type == EventType.FORMAT_DESCRIPTION and not self._is_described:
            self._describe(header, event)
        elif self._is_described and header.type != EventType.FORMAT_DESCRIPTION:
            return self._store(header, event)
        else:
            raise ProtocolViolation(
                f"{self._link.peer} sends {described(header)} of {self.file} out of its order"
            )
        return False

    def _event_of(self, payload: memoryview) -> memoryview:
        before = self._front - PACKET_HEADER
        if len(payload) < before + HEADER_BYTES or payload[0] != _OK_MARK:
            raise ProtocolViolation(
                f"{self._link.peer} sends {len(payload)} bytes that begin with {payload[:1].hex()}, no event"
            )
        if self.has_semi_sync:
            if payload[1] != SEMI_SYNC_MARK:
                raise ProtocolViolation(f"{self._link.peer} sends a packet without the header of semi-sync")
            self._ack_wanted |= bool(payload[2] & ACK_WANTED)
        return payload[before:]

    def _begin_file(self, place: Place) -> None:
        if self.file and place.position != FIRST_POSITION:
            raise ProtocolViolation(
                f"{self._link.peer} goes on at {place.position} of {place.file}, after {self.file}"
            )
        self.file, self.position = place
        self._is_resumed = place.position > FIRST_POSITION
        self._start = place.position if self._is_resumed else 0

    def _describe(self, header: Header, event: memoryview) -> None:
        if not self.file:
            raise ProtocolViolation(f"{self._link.peer} describes a file before it names it")
        description = parse_format_description(event)
        if self._expected not in (None, description.timestamp):
            raise SourceDiverged(
                f"{self.file} of {self._link.peer} was begun at {description.timestamp}, the archived file "
                f"of this name at {self._expected}",
                hint="Was RESET BINARY LOGS run, or the server set up anew?",
            )
        self._expected = None
        self._checksum, self._created = description.checksum, description.timestamp
        self._is_described = True
        if not self._is_resumed:
            self._parts.append(MAGIC)
            self._store(header, memoryview(clear_in_use(event)))

    def _store(self, header: Header, event: memoryview) -> bool:
        """An event that stands in the file; True if it ends the file."""
        position = self.position + header.length
        if position & _U32 != header.log_pos:
            raise ProtocolViolation(
                f"{described(header)} of {self.file} ends at {header.log_pos}, not at {position} as counted"
            )
        self.position = position
        self._parts.append(event)
        if header.type == EventType.ROTATE:
            return self._end_file("rotate", parse_rotate(event, self._checksum).file)
        return header.type == EventType.STOP and self._end_file("stop", None)

    def _end_file(self, ended_by: Ending, next_file: str | None) -> bool:
        self._ended_by, self._next_file = ended_by, next_file
        self._is_described = False
        return True

    def _check_heartbeat(self, place: Place, header: Header) -> None:
        self._is_alive = True
        counted = self.position if header.type == EventType.HEARTBEAT_V2 else self.position & _U32
        if place != (self.file, counted):
            raise ProtocolViolation(
                f"{self._link.peer} says that it has sent {place.file} up to {place.position}, and we have "
                f"received {self.file} up to {self.position}"
            )

    def _large_event(self) -> None:
        """An event that is larger than the buffer: read to its end, straight into its own memory."""
        event_at = self._packets.at + self._front
        while self._packets.end < event_at + HEADER_BYTES:
            self._packets.more()
            event_at = self._packets.at + self._front
        head = self._packets.view[self._packets.at + PACKET_HEADER : event_at + HEADER_BYTES]
        header = parse_header(self._event_of(head))
        if header.length > LARGEST_EVENT or _SPECIAL[header.type] or not self._is_described:
            raise unreadable(f"{self._link.peer} sends {described(header)} of {header.length} bytes")
        before = self._front - PACKET_HEADER
        event = bytearray(header.length)
        target = memoryview(event)
        left = before + header.length
        length = self._packet_of(left)
        self._packets.at = event_at
        self._packets.take_into(target[: length - before])
        done = length - before
        while length == FULL_PACKET:
            while self._packets.end - self._packets.at < PACKET_HEADER:
                self._packets.more()
            left -= length
            length = self._packet_of(left)
            self._packets.at += PACKET_HEADER
            self._packets.take_into(target[done : done + length])
            done += length
        if self._checksum:
            check_crc(event)
        self._store(header, target)
        self._parts[-1] = event

    def _packet_of(self, left: int) -> int:
        """Length of the packet at hand, which must take the next of the ``left`` bytes of a payload."""
        length = self._packets.length()
        if length != min(left, FULL_PACKET):
            raise ProtocolViolation(
                f"{self._link.peer} sends a packet of {length} bytes, with {left} of its event left"
            )
        return length

    def _finished(self) -> Batch:
        parts = self._parts
        data = parts[0] if len(parts) == 1 and isinstance(parts[0], bytearray) else b"".join(parts)
        batch = Batch(
            self.file,
            self._start,
            data,
            self._start + len(data),
            self._checksum,
            self._created,
            self._link.heard_at,
            self._ack_wanted,
            self._ended_by,
            self._next_file,
        )
        self._parts = []
        self._start = batch.end
        self._ack_wanted = self._is_alive = False
        self._ended_by = self._next_file = None
        return batch
