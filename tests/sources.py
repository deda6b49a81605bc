"""Binlog files as a feed for a replication source, and a replica that says what a test wants it to say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fleet.errors import ArchiveGap
from fleet.gtid import GtidSet
from wire.binlog.answers import COM_BINLOG_DUMP_GTID, COM_QUERY
from wire.binlog.events import (
    ChecksumAlgorithm,
    EventType,
    encode_gtid_set,
    parse_format_description,
    parse_header,
    parse_previous_gtids,
)
from wire.binlog.greeting import scramble
from wire.binlog.source import Piece
from wire.binlog.walk import walk
from wire.packet import counted

MIB = 1 << 20


class BinlogFile(NamedTuple):
    """A whole file, or the beginning of one."""

    name: str
    data: bytes

    def previous_gtids(self) -> GtidSet:
        end = 4 + parse_header(self.data, 4).length
        header = parse_header(self.data, end)
        return parse_previous_gtids(self.data[end : end + header.length], self.checksum())

    def checksum(self) -> ChecksumAlgorithm:
        end = 4 + parse_header(self.data, 4).length
        return parse_format_description(self.data[4:end]).checksum

    def events(self) -> list[tuple[int, int, bytes]]:
        """Position, type and bytes of every event."""
        return [
            (at, kind, self.data[at : at + length]) for at, kind, length in walk(memoryview(self.data), 4)
        ]


def pieces_of(file: BinlogFile, piece_bytes: int = 4 * MIB) -> Iterator[Piece]:
    """The file in pieces of at least ``piece_bytes``, the last one excepted."""
    view, begin = memoryview(file.data), 4
    for at, _, length in walk(view, 4):
        if at + length - begin >= piece_bytes or at + length == len(view):
            yield Piece(file.name, begin, view[begin : at + length])
            begin = at + length


class FileFeed:
    """Serves ``files``, in their order. With ``follow`` there is no end: it waits for ``files`` to be added.

    ``asked`` lists the sets that replicas came with. ``from_the_first``: never skip a file.
    """

    def __init__(
        self,
        files: Sequence[BinlogFile],
        *,
        piece_bytes: int = 4 * MIB,
        follow: bool = False,
        from_the_first: bool = False,
    ) -> None:
        self.files = list(files)
        self.piece_bytes = piece_bytes
        self.follow = follow
        self.from_the_first = from_the_first
        self.asked: list[GtidSet] = []

    def pieces(self, have: GtidSet, cancelled: threading.Event) -> Iterator[Piece | None]:
        self.asked.append(have)
        at = self._first(have)
        while not cancelled.is_set():
            while at < len(self.files):
                yield from pieces_of(self.files[at], self.piece_bytes)
                at += 1
            if not self.follow:
                return
            cancelled.wait(0.02)
            yield None

    def _first(self, have: GtidSet) -> int:
        if self.from_the_first or not self.files:
            return 0
        known = [number for number, file in enumerate(self.files) if file.previous_gtids() <= have]
        if not known:
            missing = self.files[0].previous_gtids() - have
            raise ArchiveGap(f"transactions {missing.one_line()} are not in the archive")
        return known[-1]


class Packet(NamedTuple):
    sequence: int
    payload: bytes


class ScriptedReplica:
    """A client that speaks packet by packet. A context manager; ``receive`` raises EOFError at the end."""

    def __init__(self, port: int, *, timeout_seconds: float = 10) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds)
        self._stream = self.socket.makefile("rb")
        self._sequence = 0

    def __enter__(self) -> ScriptedReplica:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, payload: bytes, sequence: int = 0) -> None:
        self.socket.sendall(len(payload).to_bytes(3, "little") + bytes((sequence,)) + payload)

    def receive(self) -> Packet:
        header = self._exactly(4)
        return Packet(header[3], self._exactly(int.from_bytes(header[:3], "little")))

    def greet(self) -> bytes:
        """Take the greeting; its nonce."""
        payload = self.receive().payload
        assert payload[0] == 10
        rest = payload.index(b"\0") + 1 + 4
        return payload[rest : rest + 8] + payload[rest + 8 + 19 : rest + 8 + 19 + 12]

    def log_in(self, user: str, password: str) -> Packet:
        """The answer: OK, or an error."""
        self.send(login_packet(user, scramble(password, self.greet())), 1)
        answer = self.receive()
        return self.receive() if answer.payload == b"\x01\x03" else answer

    def ask(self, statement: str) -> str | None:
        """The one value of a result, None for NULL; an error raises RuntimeError."""
        self.send(bytes((COM_QUERY,)) + statement.encode())
        first = self.receive().payload
        if first[:1] == b"\xff":
            raise RuntimeError(first[9:].decode())
        if first[:1] == b"\0":
            return None
        _, _, row, _ = (self.receive().payload for _ in range(4))
        return None if row == b"\xfb" else row[1:].decode()

    def dump(self, have: GtidSet | None = None, *, server_id: int = 77, flags: int = 2) -> None:
        self.dump_with(dump_packet(have or GtidSet(), server_id=server_id, flags=flags))

    def dump_with(self, payload: bytes) -> None:
        """Send this request for the binlog; its stream begins."""
        self.send(payload)
        self._sequence = 1

    def next_event(self) -> bytes:
        """One event, put together from its packets; raises RuntimeError with what an error packet says."""
        payload, part = b"", self._next_packet()
        if part.payload[:1] == b"\xff":
            raise RuntimeError(part.payload[9:].decode())
        while len(part.payload) == 0xFFFFFF:
            payload += part.payload
            part = self._next_packet()
        payload += part.payload
        if payload[:1] == b"\xfe":
            raise EOFError
        assert payload[:1] == b"\0"
        return payload[1:]

    def events(self) -> Iterator[bytes]:
        """All events up to the end of the log, heartbeats left out."""
        while True:
            try:
                event = self.next_event()
            except EOFError:
                return
            if event[4] not in {EventType.HEARTBEAT, EventType.HEARTBEAT_V2}:
                yield event

    def _next_packet(self) -> Packet:
        """A packet of the stream; a real replica, too, insists on the sequence."""
        packet = self.receive()
        assert packet.sequence == self._sequence & 0xFF
        self._sequence += 1
        return packet

    def _exactly(self, length: int) -> bytes:
        data = self._stream.read(length)
        if len(data) < length:
            raise EOFError
        return data


def login_packet(user: str, answer: bytes, plugin: str = "caching_sha2_password") -> bytes:
    capabilities = 0x1 | 0x200 | 0x8000 | 0x80000
    head = capabilities.to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + b"\xff" + bytes(23)
    return head + user.encode() + b"\0" + bytes((len(answer),)) + answer + plugin.encode() + b"\0"


def dump_packet(have: GtidSet, *, server_id: int = 77, flags: int = 2) -> bytes:
    head = bytes((COM_BINLOG_DUMP_GTID,)) + flags.to_bytes(2, "little") + server_id.to_bytes(4, "little")
    return head + counted(b"") + (4).to_bytes(8, "little") + counted(encode_gtid_set(have))
