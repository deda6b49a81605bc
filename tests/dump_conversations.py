"""Dumps without a server: recorded from a real one, replayed, or scripted byte by byte."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Sequence
from struct import pack
from typing import Any

from fleet.errors import ToolError
from tests.conversations import Direction, Event
from wire.binlog.dump import Batch, BinlogDump, DumpOptions, StartAt
from wire.binlog.events import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    MAGIC,
    ChecksumAlgorithm,
    EventType,
    Place,
    artificial_rotate,
    heartbeat,
    heartbeat_v2,
    make_event,
)
from wire.session import RawConnection, Session

OPTIONS = DumpOptions(4_000_000_001, "8a94f357-aab4-11df-86ab-c80aa9429562", heartbeat_seconds=0.5)
SEMI_SYNC = DumpOptions(4_000_000_001, OPTIONS.replica_uuid, heartbeat_seconds=0.5, semi_sync=True)
FULL = 0xFFFFFF
CRC, NONE = ChecksumAlgorithm.CRC32, ChecksumAlgorithm.NONE
REGISTERED = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"


class ScriptedSession:
    """A session whose statements go nowhere, over a socket that somebody else plays."""

    def __init__(self, raw: socket.socket) -> None:
        self.said: list[str] = []
        self._raw = raw

    def query(self, sql: str, args: Sequence[object] = ()) -> list[dict[str, Any]]:
        self.said.append(sql)
        return []

    def detach(self) -> RawConnection:
        return RawConnection(self._raw, False, "source (recorded)")

    def close(self) -> None:
        self._raw.close()


class RecordingSession:
    """A session of a real server; after ``detach`` all that passes is written down, as connection 0."""

    def __init__(self, session: Session) -> None:
        self.events: list[Event] = []
        self._session = session
        self._lock = threading.Lock()

    def query(self, sql: str, args: Sequence[object] = ()) -> list[dict[str, Any]]:
        return self._session.query(sql, args)

    def detach(self) -> RawConnection:
        source = self._session.detach().socket
        source.settimeout(None)
        ours, theirs = socket.socketpair()
        for reader, writer, way in (
            (source, theirs, Direction.FROM_DONOR),
            (theirs, source, Direction.TO_DONOR),
        ):
            threading.Thread(target=self._pump, args=(reader, writer, way), daemon=True).start()
        return RawConnection(ours, False, "source")

    def close(self) -> None:
        self._session.close()

    def _pump(self, reader: socket.socket, writer: socket.socket, way: Direction) -> None:
        try:
            while data := reader.recv(1 << 20):
                with self._lock:
                    self.events.append(Event(0, way, data))
                writer.sendall(data)
            writer.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def as_session(session: ScriptedSession | RecordingSession) -> Session:
    return session  # type: ignore[return-value]


class Script:
    """A source that says ``data``, in pieces as the client asks for them, and then hangs up."""

    def __init__(self, data: bytes) -> None:
        ours, self._raw = socket.socketpair()
        scripted = ScriptedSession(self._raw)
        self.said, self.session = scripted.said, as_session(scripted)
        self._ours = ours
        self._thread = threading.Thread(target=self._play, args=(data,), daemon=True)
        self._thread.start()

    def _play(self, data: bytes) -> None:
        try:
            with self._ours:
                self._ours.sendall(data)
                self._ours.shutdown(socket.SHUT_WR)
                while self._ours.recv(4096):
                    pass
        except OSError:
            pass

    def finish(self) -> None:
        self._raw.close()
        self._thread.join(10)


class Heard:
    """What a client made of a script: its files, from where it began to receive them, and how it ended."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self._begun: dict[str, int] = {}
        self.batches: list[Batch] = []
        self.error: ToolError | None = None

    def digests(self) -> dict[str, str]:
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}

    def add(self, batch: Batch) -> None:
        begun = self._begun.setdefault(batch.file, batch.start)
        file = self.files.setdefault(batch.file, bytearray())
        assert batch.start == begun + len(file)
        file += batch.data
        assert batch.end == begun + len(file)
        self.batches.append(batch)


def hear(data: bytes, start: StartAt, options: DumpOptions = OPTIONS) -> Heard:
    """Let a client read ``data``; nothing but a ToolError may come of it."""
    heard, script = Heard(), Script(data)
    try:
        with BinlogDump.open(script.session, start, options) as dump:
            for batch in dump.batches():
                heard.add(batch)
    except ToolError as error:
        heard.error = error
    finally:
        script.finish()
    return heard


def said_by_source(events: Sequence[Event]) -> bytes:
    return b"".join(event.data for event in events if event.direction is Direction.FROM_DONOR)


def packets(data: bytes) -> list[tuple[int, int]]:
    """Begin and end of each packet, its header included."""
    found, at = list[tuple[int, int]](), 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 3], "little")
        found.append((at, end))
        at = end
    return found


class Stream:
    """Packets of a source, made one by one."""

    def __init__(self, file: str = "binlog.000001", position: int = 4) -> None:
        self.data = bytearray(REGISTERED)
        self.file, self.position, self.checksum = file, position, CRC
        self.stored = bytearray(MAGIC if position == 4 else b"")
        self.send(artificial_rotate(Place(file, position), server_id=1, checksum=CRC))

    def send(self, event: bytes) -> None:
        payload = b"\0" + event
        while len(payload) >= FULL:
            self.data += b"\xff\xff\xff\0" + payload[:FULL]
            payload = payload[FULL:]
        self.data += len(payload).to_bytes(3, "little") + b"\0" + payload

    def describe(self, checksum: ChecksumAlgorithm = CRC) -> None:
        body = pack("<H50sIB", 4, b"9.7.4", 0, HEADER_BYTES) + bytes(41) + bytes((checksum,))
        resumed = self.position > 4
        end = 4 if resumed else self.position
        event = make_event(
            EventType.FORMAT_DESCRIPTION,
            body,
            checksum=CRC,
            timestamp=1000,
            log_pos=end + HEADER_BYTES + len(body) + CHECKSUM_BYTES,
        )
        self.send(event)
        self.checksum = checksum
        if not resumed:
            self.stored += event
            self.position += len(event)

    def store(self, body: bytes, kind: EventType = EventType.QUERY) -> bytes:
        length = HEADER_BYTES + len(body) + (CHECKSUM_BYTES if self.checksum else 0)
        self.position += length
        event = make_event(kind, body, checksum=self.checksum, timestamp=5, log_pos=self.position)
        self.send(event)
        self.stored += event
        return event

    def alive(self, file: str | None = None, by: int = 0, *, version: int = 2) -> None:
        place = Place(file or self.file, self.position + by)
        self.send((heartbeat_v2 if version == 2 else heartbeat)(place, server_id=1, checksum=self.checksum))

    def hear(self, start: StartAt | None = None) -> Heard:
        return hear(bytes(self.data), start or StartAt(self.file, 0))
