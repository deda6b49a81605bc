"""Real conversations of a clone, recorded once and replayed without a server.

An event is what one side wrote on one connection, in the order of the whole conversation. The file is
``u8 connection, u8 direction, u32 length, bytes`` (big endian) for each, compressed by zstd.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import zstandard

from wire.session import RawConnection, ServerGone, Session

_EVENT = struct.Struct(">BBI")
_GOODBYE = b"\1\0\0\0\1"


class Direction(IntEnum):
    FROM_DONOR = 0
    TO_DONOR = 1


class Event(NamedTuple):
    connection: int
    direction: Direction
    data: bytes


class _Detached:
    """What a clone client needs of a session: that it can be detached."""

    def __init__(self, raw: socket.socket, peer: str) -> None:
        self._raw = raw
        self._peer = peer

    def detach(self) -> RawConnection:
        return RawConnection(self._raw, False, self._peer)


def session_over(raw: socket.socket, peer: str = "donor (recorded)") -> Session:
    return _Detached(raw, peer)  # type: ignore[return-value]


class Recorder:
    """Stands between a client and its donor, and writes down what passes after the login."""

    def __init__(self, connect: Callable[[], Session]) -> None:
        self.events: list[Event] = []
        self._connect = connect
        self._lock = threading.Lock()
        self._connections = 0

    def connect(self) -> Session:
        donor = self._connect().detach().socket
        donor.settimeout(None)
        client, ours = socket.socketpair()
        number, self._connections = self._connections, self._connections + 1
        for source, target, direction in (
            (donor, ours, Direction.FROM_DONOR),
            (ours, donor, Direction.TO_DONOR),
        ):
            threading.Thread(target=self._pump, args=(source, target, number, direction), daemon=True).start()
        return session_over(client)

    def _pump(self, source: socket.socket, target: socket.socket, number: int, way: Direction) -> None:
        try:
            while data := source.recv(1 << 20):
                with self._lock:
                    self.events.append(Event(number, way, data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Replayer:
    """Plays the donor's part; ``failure`` is the first thing that the client said otherwise."""

    def __init__(self, events: list[Event]) -> None:
        self.failure: str | None = None
        self._events = events
        self._ours: list[socket.socket] = []
        self._left: set[socket.socket] = set()
        self._opened = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def connect(self) -> Session:
        with self._opened:
            if self._is_over:
                raise ServerGone("the conversation is over")
            client, ours = socket.socketpair()
            self._ours.append(ours)
            self._opened.notify_all()
        return session_over(client)

    def finish(self) -> None:
        self._thread.join(timeout=10)
        assert not self._thread.is_alive(), "the client left before the conversation's end"
        assert self.failure is None, self.failure

    def _play(self) -> None:
        try:
            self._play_events()
        finally:
            with self._opened:
                self._is_over = True
                for ours in self._ours:
                    ours.close()

    def _play_events(self) -> None:
        for number, (connection, direction, data) in enumerate(self._events):
            with self._opened:
                self._opened.wait_for(lambda: len(self._ours) > connection, timeout=10)  # noqa: B023
            ours = self._ours[connection]
            try:
                if direction is Direction.FROM_DONOR:
                    self._say(ours, data)
                elif (said := self._hear(ours, data)) != data:
                    self.failure = f"event {number}: {said.hex(' ')} instead of {data.hex(' ')}"
            except OSError as error:
                self.failure = f"event {number}: {error}"
            if self.failure:
                return

    def _say(self, ours: socket.socket, data: bytes) -> None:
        """A client that speaks before it heard all of it has something else in mind than the recorded one."""
        view = memoryview(data)
        ours.setblocking(False)
        while view:
            readable, ready, _ = select.select([s for s in self._ours if s not in self._left], [ours], [], 10)
            spoken = [other for other in readable if not _has_left(other)]
            # A connection that was left stays readable, and must not keep us from waiting for this one.
            self._left.update(readable)
            if not readable and not ready:
                raise OSError("the client does not read")
            if spoken:
                raise OSError("the client spoke out of turn")
            if ready:
                view = view[ours.send(view) :]
        ours.setblocking(True)

    def _hear(self, ours: socket.socket, expected: bytes) -> bytes:
        """What the client says, up to where it differs from what is expected."""
        said = b""
        while len(said) < len(expected) and expected.startswith(said):
            readable, _, _ = select.select(self._ours, [], [], 10)
            if ours not in readable and any(not _has_left(other) for other in readable):
                raise OSError("the client spoke out of turn")
            if not readable or not (part := ours.recv(len(expected) - len(said))):
                raise OSError("the client is silent")
            said += part
        return said


def _has_left(ours: socket.socket) -> bool:
    """The client closed this connection, or said goodbye on it: when, is not part of the conversation."""
    return ours.recv(len(_GOODBYE), socket.MSG_PEEK) in (b"", _GOODBYE)


def save(events: list[Event], path: Path) -> None:
    parts: list[bytes] = []
    for connection, direction, data in _merged(events):
        parts += [_EVENT.pack(connection, direction, len(data)), data]
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
    path.write_bytes(zstandard.ZstdCompressor(compression_params=parameters).compress(b"".join(parts)))


def load(path: Path) -> list[Event]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    data = memoryview(decompressor.decompress(path.read_bytes()))
    events: list[Event] = []
    position = 0
    while position < len(data):
        connection, direction, length = _EVENT.unpack_from(data, position)
        position += _EVENT.size
        events.append(Event(connection, Direction(direction), bytes(data[position : position + length])))
        position += length
    return events


def _merged(events: list[Event]) -> list[Event]:
    merged: list[Event] = []
    for event in events:
        if event.data == _GOODBYE:
            continue
        if merged and merged[-1][:2] == event[:2]:
            merged[-1] = merged[-1]._replace(data=merged[-1].data + event.data)
        else:
            merged.append(event)
    return merged
