"""One connection of the replication source: login, the replica's questions, then the stream."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

from fleet.clock import Clock
from fleet.errors import ProtocolViolation
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from wire.binlog import answers
from wire.binlog.answers import DumpRequest, Identity, Settings, answer_query, error, parse_dump
from wire.binlog.events import ChecksumAlgorithm
from wire.binlog.feed import BinlogFeed
from wire.binlog.greeting import (
    FAST_PATH_SUCCEEDED,
    PLUGIN,
    auth_switch,
    greeting,
    knows_password,
    make_nonce,
    parse_login,
)
from wire.binlog.outgoing import Outgoing
from wire.binlog.serving import Fetching, ReplicaGone, Stream
from wire.binlog.tally import Tally
from wire.packet import HEADER_BYTES, frame, payload_length

LOGIN_SECONDS = 10.0
_LARGEST_LOGIN = 64 << 10


@dataclass(frozen=True, slots=True)
class Terms:
    """What every connection of a source shares."""

    feed: BinlogFeed
    identity: Identity
    user: str
    password: str
    hold_before: Gtid | None
    leave_out: GtidSet
    unchecked: bool
    retry_seconds: float
    clock: Clock
    tally: Tally


class Conversation:
    """Speaks with one client until it goes. What is malformed ends this connection, and no other."""

    def __init__(self, connection: socket.socket, number: int, terms: Terms) -> None:
        self._connection = connection
        self._number = number
        self._terms = terms
        self._settings = Settings()
        self._cancelled = threading.Event()
        self._sequence = 0

    def run(self) -> None:
        """Returns when the connection is over; the socket is closed then."""
        with self._connection, suppress(OSError, ProtocolViolation, ReplicaGone):
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection.settimeout(LOGIN_SECONDS)
            if self._log_in():
                self._connection.settimeout(None)
                while self._answer(self._receive()):
                    pass

    def cancel(self) -> None:
        """End it, from another thread; whatever it waits for."""
        self._cancelled.set()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _log_in(self) -> bool:
        nonce = make_nonce()
        self._send(greeting(self._terms.identity.version, self._number, nonce))
        try:
            login = parse_login(self._receive(_LARGEST_LOGIN))
        except ProtocolViolation as violation:
            self._send(error(answers.BAD_HANDSHAKE, violation.message, "08S01"))
            raise
        answer = login.scramble
        if login.plugin != PLUGIN.decode():
            self._send(auth_switch(nonce))
            answer = self._receive(_LARGEST_LOGIN)
        if login.user != self._terms.user or not knows_password(answer, self._terms.password, nonce):
            self._send(error(answers.ACCESS_DENIED, f"access denied for user {login.user[:80]!r}", "28000"))
            return False
        self._send(FAST_PATH_SUCCEEDED)
        self._send(answers.OK)
        return True

    def _answer(self, payload: bytes) -> bool:
        """Answer one command; whether to wait for another."""
        command = payload[0]
        if command == answers.COM_QUERY:
            statement = payload[1:].decode("utf-8", "replace")
            now = int(self._terms.clock.now().timestamp())
            for part in answer_query(statement, self._terms.identity, self._settings, now):
                self._send(part)
        elif command in {answers.COM_PING, answers.COM_REGISTER_REPLICA}:
            self._send(answers.OK)
        elif command == answers.COM_BINLOG_DUMP_GTID:
            self._dump(payload)
            return False
        elif command == answers.COM_BINLOG_DUMP:
            self._send(
                error(answers.FATAL_READING_BINLOG, "this source positions by GTID alone, not by file")
            )
            return False
        elif command == answers.COM_QUIT:
            return False
        else:
            self._send(
                error(answers.UNKNOWN_COMMAND, f"this source knows no command {command:#04x}", "08S01")
            )
        return True

    def _dump(self, payload: bytes) -> None:
        terms = self._terms
        try:
            request = parse_dump(payload)
        except ProtocolViolation as violation:
            self._send(error(answers.FATAL_READING_BINLOG, violation.message))
            raise
        held = terms.hold_before
        if held is not None and held.as_set() <= request.have:
            text = f"this source stops before {held}, and the replica has executed that transaction"
            self._send(error(answers.FATAL_READING_BINLOG, text))
            return
        terms.tally.connected(1)
        try:
            self._stream(request)
        finally:
            terms.tally.connected(-1)

    def _stream(self, request: DumpRequest) -> None:
        terms = self._terms
        outgoing = Outgoing(
            request.have,
            server_id=terms.identity.server_id,
            replica_server_id=request.server_id,
            checksum=ChecksumAlgorithm(self._settings.understands_checksums),
            leave_out=terms.leave_out,
            hold_before=terms.hold_before,
            heartbeat_v2=request.heartbeat_v2,
            sequence=self._sequence,
            unchecked=terms.unchecked,
        )
        stream = Stream(
            self._connection,
            outgoing,
            terms.tally,
            heartbeat_seconds=self._settings.heartbeat_seconds,
            to_the_end=request.to_the_end,
            retry_seconds=terms.retry_seconds,
            cancelled=self._cancelled,
            clock=terms.clock,
        )
        stream.run(Fetching(terms.feed, request.have))

    def _receive(self, largest: int | None = None) -> bytes:
        """The payload of the next packet, of at least one byte. Raises ProtocolViolation, ReplicaGone."""
        header = self._exactly(HEADER_BYTES)
        length = payload_length(header)
        if largest is not None and length > largest:
            raise ProtocolViolation(f"a login of {length} bytes")
        self._sequence = header[3] + 1
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            part = self._connection.recv(min(length - len(received), 1 << 16))
            if not part:
                raise ReplicaGone
            received += part
        return bytes(received)

    def _send(self, payload: bytes) -> None:
        self._connection.sendall(frame(payload, self._sequence))
        self._sequence += 1
