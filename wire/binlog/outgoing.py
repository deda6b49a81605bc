"""From pieces of binlog files to the packets that one replica is sent. Pure: bytes in, bytes out.

Every file goes out under a name of our own (``archive.000001``, ...) behind an artificial rotate, and its
real rotate or stop event stays here: so files of several servers, with names that collide or run backwards,
are one row of files to a replica. Events go out as they are, but for the format description
(``for_replica``). Positions are the real ones; a replica that was not sent some of the events learns by the
next heartbeat how far it is, as from a real source. Source: sql/rpl_binlog_sender.cc; sql/rpl_replica.cc
(queue_event).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from fleet.errors import BinlogUnreadable, ReplayFailed
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from wire.binlog.events import (
    HEADER_BYTES,
    ChecksumAlgorithm,
    EventType,
    Place,
    artificial_rotate,
    for_replica,
    heartbeat,
    heartbeat_v2,
    parse_format_description,
    parse_gtid_event,
)
from wire.binlog.feed import Piece
from wire.binlog.known import GrowingGtids, gtid_key, origin_key
from wire.binlog.unchecked import CHECKED, without_foreign_keys

FIRST_POSITION = 4
BUFFER_BYTES = 1 << 20
_PACKET_BYTES = 0xFFFFFF
_LARGEST_V1_POSITION = 2**32 - 1
_TYPE_SERVER_LENGTH = struct.Struct("<4xBII")
_UUID_AT = HEADER_BYTES + 1
_NUMBER_AT = _UUID_AT + 16
_NUMBER_END = _NUMBER_AT + 8

_GTIDS = frozenset({EventType.GTID, EventType.TAGGED_GTID, EventType.ANONYMOUS_GTID})
_UNSENT = frozenset({EventType.ROTATE, EventType.STOP, EventType.HEARTBEAT, EventType.HEARTBEAT_V2})
_TURNS = frozenset(map(int, _GTIDS | _UNSENT | {EventType.FORMAT_DESCRIPTION, EventType.PREVIOUS_GTIDS}))

Sendable = bytes | memoryview


class Counts(NamedTuple):
    """What one replica was sent so far. ``left_out``: transactions that it has, or shall not have."""

    transactions: int
    left_out: int
    sent_bytes: int
    torn: int


class _Opened(NamedTuple):
    """The transaction that the last GTID event opened, if it is being sent."""

    key: bytes
    number: int
    event: bytes
    start: int


class Outgoing:
    """The stream of one connection. ``have`` is the replica's set, ``leave_out`` is never sent to anybody.

    ``hold_before``: the stream stops before this transaction for ever; ``held`` says that it has.
    ``checksum``: how events are checked before the first file, as the replica declared. ``sequence`` is that
    of the first packet. ``unchecked``: no replica checks foreign keys on them (``without_foreign_keys``).
    """

    def __init__(
        self,
        have: GtidSet,
        *,
        server_id: int,
        replica_server_id: int,
        checksum: ChecksumAlgorithm,
        leave_out: GtidSet | None = None,
        hold_before: Gtid | None = None,
        heartbeat_v2: bool = True,
        sequence: int = 1,
        unchecked: bool = False,
    ) -> None:
        self.held = False
        self._turns = _TURNS | CHECKED if unchecked else _TURNS
        self.file, self.position = "", 0
        self._known = GrowingGtids((have, leave_out or GtidSet()))
        self._hold = gtid_key(hold_before) if hold_before else None
        self._server_id = server_id
        self._replica_server_id = replica_server_id
        self._checksum = checksum
        self._heartbeat_v2 = heartbeat_v2
        self._sequence = self._taken_sequence = sequence & 0xFF
        self._number = 0
        self._sending = False
        self._description = b""
        self._opened: _Opened | None = None
        self._transactions = self._left_out = self._sent_bytes = self._torn = 0
        self._parts: list[Sendable] = []
        self._gathered = 0

    @property
    def counts(self) -> Counts:
        return Counts(self._transactions, self._left_out, self._sent_bytes, self._torn)

    def announce(self) -> bytes:
        """The first packet: the first file's name, before the file is there, for heartbeats to name it."""
        self._number = 1
        self.position = FIRST_POSITION
        self._rotate()
        return self._take()

    def packets(self, piece: Piece) -> Iterator[Sendable]:
        """What to send for the next piece: buffers of about 1 MiB, and parts of events that are larger.

        Raises BinlogUnreadable if the pieces do not fit together or hold something else than events,
        ReplayFailed for transactions that no replica, or not this one, could take.
        """
        if self.held:
            return
        self._enter(piece)
        data, at, end = piece.data, 0, len(piece.data)
        while at < end:
            at = self._frame_run(data, at)
            if self._gathered >= BUFFER_BYTES:
                yield self._take()
            if at == end:
                break
            kind, server_id, length = self._header(data, at)
            event = data[at : at + length]
            if kind in self._turns:
                self._turn(kind, server_id, event, piece.start + at)
                if self.held:
                    break
            elif length >= BUFFER_BYTES:
                if self._sending:
                    yield self._take()
                    self._frame(event)
                    yield from self._take_apart()
            else:
                continue
            at += length
        self.position = piece.start + at
        if self._parts:
            yield self._take()

    def end_torn(self) -> bytes | None:
        """No piece will come any more: what makes the replica roll back a transaction that has no end.

        Replicas do that when another file begins. With a transaction left open, STOP REPLICA would wait a
        minute for the rest, and then complain of inconsistent data. None if there is nothing to end.
        """
        if not self._is_torn():
            return None
        self._close_file()
        return self._begin_nothing()

    def give_up(self) -> bytes | None:
        """After an error: the same, whatever was sent of the piece that failed; the rest of it is dropped.

        None if no file was begun yet. ``packets`` must not be called any more.
        """
        self._parts.clear()
        self._gathered = 0
        self._sequence = self._taken_sequence
        return self._begin_nothing() if self._description else None

    def heartbeat(self) -> bytes | None:
        """A packet that says how far the stream is; None where version 1 cannot say it."""
        place = Place(self._name, self.position)
        if not self._heartbeat_v2 and self.position > _LARGEST_V1_POSITION:
            return None
        make = heartbeat_v2 if self._heartbeat_v2 else heartbeat
        self._frame(make(place, server_id=self._server_id, checksum=self._checksum))
        return self._take()

    @property
    def sequence(self) -> int:
        """The sequence number of the packet behind those that were given out."""
        return self._taken_sequence

    @property
    def _name(self) -> str:
        return f"archive.{self._number:06}"

    def _enter(self, piece: Piece) -> None:
        """Take over from the piece before: the same file goes on, or another begins."""
        if piece.start != FIRST_POSITION:
            if self._is_between_transactions(piece):
                self.position = piece.start
            if (piece.file, piece.start) != (self.file, self.position):
                before = f"{self.file} to {self.position}" if self.file else "nothing"
                raise BinlogUnreadable(f"{piece.file} goes on at {piece.start}, behind {before}")
            return
        if self.file:
            self._close_file()
            self._number += 1
            self._rotate()
        self.file, self.position = piece.file, FIRST_POSITION
        kind = piece.data[4] if len(piece.data) > HEADER_BYTES else EventType.UNKNOWN
        if kind != EventType.FORMAT_DESCRIPTION:
            raise BinlogUnreadable(f"{piece.file} does not begin with a format description")

    def _is_between_transactions(self, piece: Piece) -> bool:
        """Whether the piece goes on in the same file behind a hole, with nothing cut off before it."""
        return piece.file == self.file and piece.start > self.position and not self._is_torn()

    def _frame_run(self, data: memoryview, at: int) -> int:
        """Frame events of a transaction, up to one that turns something, a large one, or a full buffer.

        This loop sees every event; it is written for speed.
        """
        parts, sequence, sending = self._parts, self._sequence, self._sending
        add, unpack, turns = parts.append, _TYPE_SERVER_LENGTH.unpack_from, self._turns
        begin, end = at, min(len(data), at + BUFFER_BYTES)
        try:
            while at < end:
                kind, _, length = unpack(data, at)
                if kind in turns or not HEADER_BYTES <= length < BUFFER_BYTES:
                    break
                if sending:
                    # A packet's header, and the 00 of an event.
                    add((length + 1 | sequence << 24).to_bytes(5, "little"))
                    add(data[at : at + length])
                    sequence = sequence + 1 & 0xFF
                at += length
        except struct.error:
            self._header(data, at)
        if at > len(data):
            raise BinlogUnreadable(f"the last event of a piece of {self.file} is cut off")
        self._sequence = sequence
        if sending:
            self._gathered += at - begin
        return at

    def _header(self, data: memoryview, at: int) -> tuple[int, int, int]:
        """Type, server id and length of the event at ``at``, which is wholly there."""
        left = len(data) - at
        if left >= HEADER_BYTES:
            kind, server_id, length = _TYPE_SERVER_LENGTH.unpack_from(data, at)
            if HEADER_BYTES <= length <= left:
                return kind, server_id, length
        raise BinlogUnreadable(f"{self.file} has {left} bytes that are no whole event in one of its pieces")

    def _turn(self, kind: int, server_id: int, event: memoryview, position: int) -> None:
        """An event that is more than the next one of a transaction."""
        if kind in _GTIDS:
            self._open(kind, server_id, event, position)
        elif kind in _UNSENT:
            self._close_transaction()
            self._sending = False
        elif kind == EventType.FORMAT_DESCRIPTION:
            if position != FIRST_POSITION:
                raise BinlogUnreadable(f"{self.file} has a second format description at {position}")
            self._checksum = parse_format_description(event).checksum
            self._sending = True
            self._description = for_replica(event)
            self._frame(self._description)
        elif kind in CHECKED:
            if self._sending:
                self._frame(without_foreign_keys(kind, event, self._checksum))
        else:
            self._frame(event)

    def _open(self, kind: int, server_id: int, event: memoryview, position: int) -> None:
        """A transaction begins: is it to be sent?"""
        self._close_transaction()
        if kind == EventType.ANONYMOUS_GTID:
            raise ReplayFailed(
                f"{self.file} has a transaction without a GTID at {position}",
                hint="It was written while gtid_mode was not ON; restore a backup that is newer than it.",
            )
        key, number = self._gtid_of(kind, event)
        if (key, number) == self._hold:
            self.held = True
            self._sending = False
            return
        self._sending = not self._known.holds(key, number)
        if not self._sending:
            self._left_out += 1
            return
        if server_id == self._replica_server_id:
            # It would take the transaction for one of its own that comes back, and drop it without a word.
            raise ReplayFailed(
                f"the replica has server_id {server_id}, as the server that wrote {self.file}",
                hint="Give it a server_id that occurs nowhere in the archive.",
            )
        self._transactions += 1
        self._opened = _Opened(key, number, bytes(event), position)
        self._frame(event)

    def _gtid_of(self, kind: int, event: memoryview) -> tuple[bytes, int]:
        if kind == EventType.GTID and len(event) >= _NUMBER_END:
            return bytes(event[_UUID_AT:_NUMBER_AT]), int.from_bytes(event[_NUMBER_AT:_NUMBER_END], "little")
        gtid = parse_gtid_event(event, self._checksum).gtid
        return origin_key(gtid.uuid, gtid.tag), gtid.number

    def _close_transaction(self) -> None:
        """The last transaction is over, since something else of the same file follows."""
        if self._opened is not None:
            self._known.add(self._opened.key, self._opened.number)
            self._opened = None

    def _close_file(self) -> None:
        """The file is over; if its server died in the middle of a transaction, it may come again, whole."""
        self._sending = False
        if not self._is_torn():
            self._close_transaction()
        elif self._opened is not None:
            self._opened = None
            self._torn += 1

    def _is_torn(self) -> bool:
        """Whether a transaction was begun of which the rest has not come."""
        if self._opened is None:
            return False
        length = parse_gtid_event(self._opened.event, self._checksum).transaction_length
        return self._opened.start + length != self.position

    def _begin_nothing(self) -> bytes:
        """A file without transactions."""
        self._number += 1
        self._rotate()
        self._frame(self._description)
        self.position = FIRST_POSITION + len(self._description)
        return self._take()

    def _rotate(self) -> None:
        place = Place(self._name, FIRST_POSITION)
        self._frame(artificial_rotate(place, server_id=self._server_id, checksum=self._checksum))

    def _frame(self, event: Sendable) -> None:
        """One event of any size: packets of 0xFFFFFF bytes, of which the last is shorter."""
        head, at, left = b"\0", 0, len(event)
        while True:
            size = min(left, _PACKET_BYTES - len(head))
            self._parts.append((size + len(head) | self._sequence << 24).to_bytes(4, "little") + head)
            self._parts.append(event[at : at + size])
            self._sequence = self._sequence + 1 & 0xFF
            at, left = at + size, left - size
            if size + len(head) < _PACKET_BYTES:
                break
            head = b""
        self._gathered += len(event)

    def _take(self) -> bytes:
        buffer = b"".join(self._parts)
        self._forget_parts()
        return buffer

    def _take_apart(self) -> list[Sendable]:
        """The same without a copy, for large events."""
        parts = list(self._parts)
        self._forget_parts()
        return parts

    def _forget_parts(self) -> None:
        self._sent_bytes += self._gathered
        self._taken_sequence = self._sequence
        self._parts.clear()
        self._gathered = 0
