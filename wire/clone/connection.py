"""One connection that speaks the clone protocol: packets off a socket, commands onto it.

Made for speed where it counts. A block's bytes go from the kernel straight into the buffer they stay in
(``recv_into`` with MSG_WAITALL); only what was read ahead with the packet's head is copied. Page copies are
small packets, so then much is read ahead.

One thread reads. ``reset`` may be called by any other, at any moment, and lets go of the donor at once.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Generator

from fleet.clock import Clock
from fleet.errors import ProtocolViolation
from wire.clone.messages import (
    COM_CLONE,
    Complete,
    Failed,
    Request,
    Response,
    decode_response,
    encode_request,
)
from wire.clone.pacing import Pace
from wire.clone.refusals import ConnectionCut, donor_error
from wire.packet import ERROR_MARK, HEADER_BYTES, frame, parse_answer, payload_length
from wire.session import RawConnection

READ_AHEAD = 4096
READ_AHEAD_OF_PAGES = 256 * 1024

LONGEST_SILENCE_SECONDS = 2400.0
"""The donor may be silent while it waits for DDL (30 minutes); the kernel finds a dead network sooner."""

_COM_QUIT = 1
_RECEIVE_STEP_SECONDS = 0.25
_SEND_SECONDS = 30
_KEEP_ALIVE = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 4,
    socket.TCP_USER_TIMEOUT: 30_000,
}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class CloneConnection:
    """Turns a logged-in session into one of the clone protocol.

    ``should_stop`` is asked while nothing arrives, and raises to end the waiting. Methods that read or write
    raise ConnectionCut when the connection is lost.
    """

    def __init__(
        self,
        raw: RawConnection,
        clock: Clock,
        *,
        pace: Pace | None = None,
        should_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.peer = raw.peer
        self.read_ahead = READ_AHEAD
        self.away_since: float | None = None
        """Since when the reader has not been at its socket; ``None`` while it waits there."""
        self._socket = raw.socket
        self._is_tls = raw.is_encrypted
        self._clock = clock
        self._pace = pace
        self._should_stop = should_stop
        self._lock = threading.Lock()
        self._is_in_use = False
        self._is_cut = False
        self._buffer = bytearray(READ_AHEAD_OF_PAGES)
        self._begin = self._end = 0
        self._head = memoryview(bytearray(HEADER_BYTES + 1))
        _prepare(raw.socket, is_tls=self._is_tls)

    def start(self) -> None:
        """Send COM_CLONE. Raises ServerRefused without the plugin or the privilege."""
        self._send(bytes((COM_CLONE,)))
        head = memoryview(bytearray(HEADER_BYTES))
        self.read_into(head)
        answer = bytearray(payload_length(head))
        self.read_into(memoryview(answer))
        refusal = parse_answer(bytes(answer))
        if refusal is not None:
            raise donor_error(Failed(refusal.number, refusal.text), self.peer)

    def send(self, request: Request) -> None:
        self._send(encode_request(request))

    def ask(self, request: Request, *, seconds: float = LONGEST_SILENCE_SECONDS) -> list[Response]:
        """Send ``request`` and read all responses up to COMPLETE. Raises what the donor's ERROR means."""
        self.send(request)
        responses: list[Response] = []
        while True:
            response = self.response(seconds=seconds)
            if isinstance(response, Complete):
                return responses
            responses.append(response)

    def response(self, *, seconds: float = LONGEST_SILENCE_SECONDS) -> Response:
        """The next response, whole. Raises what an ERROR of the donor means."""
        kind, length = self.next_response(seconds=seconds)
        payload = bytes((kind,)) + self.read(length)
        # A session that is killed, or a server that shuts down, falls back to the classic protocol.
        if kind == ERROR_MARK and (refusal := parse_answer(payload)) is not None:
            raise donor_error(Failed(refusal.number, refusal.text), self.peer)
        response = decode_response(payload)
        if isinstance(response, Failed):
            raise donor_error(response, self.peer)
        return response

    def next_response(self, *, seconds: float = LONGEST_SILENCE_SECONDS) -> tuple[int, int]:
        """Type of the next response, and how many bytes of it are still to be read."""
        self.read_into(self._head, seconds=seconds)
        return self._head[HEADER_BYTES], payload_length(self._head[:HEADER_BYTES]) - 1

    def read(self, length: int) -> bytes:
        data = bytearray(length)
        self.read_into(memoryview(data))
        return bytes(data)

    def skip(self, length: int) -> None:
        """Read ``length`` bytes and forget them."""
        scratch = memoryview(bytearray(min(length, READ_AHEAD_OF_PAGES)))
        while length:
            part = scratch[: min(length, len(scratch))]
            self.read_into(part)
            length -= len(part)

    def read_into(self, view: memoryview, *, seconds: float = LONGEST_SILENCE_SECONDS) -> None:
        """Fill ``view``; nothing at all for ``seconds`` is a lost connection."""
        filled = self._from_buffer(view)
        while filled < len(view):
            wanted = len(view) - filled
            if wanted >= self.read_ahead:
                step = wanted if self._pace is None else min(wanted, self._pace.step)
                filled += self._receive(view[filled : filled + step], seconds, fill=True)
            else:
                self._end = self._receive(memoryview(self._buffer)[: self.read_ahead], seconds, fill=False)
                self._begin = 0
                filled += self._from_buffer(view[filled:])

    def reset(self) -> None:
        """Let go of the donor at once (RST), whatever the reader is doing; it will see ConnectionCut."""
        with self._lock:
            if self._is_cut:
                return
            self._is_cut = True
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            if self._is_in_use:
                # The descriptor must not be closed under a thread that uses it: wake it, and it closes.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RD)
            else:
                self._close_descriptor()

    def close(self) -> None:
        """Say goodbye and close, after EXIT: the session is one of the classic protocol again."""
        with contextlib.suppress(ConnectionCut):
            self._send(bytes((_COM_QUIT,)))
        with self._lock:
            self._is_cut = True
            self._close_descriptor()

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def _from_buffer(self, view: memoryview) -> int:
        length = min(len(view), self._end - self._begin)
        if length:
            view[:length] = memoryview(self._buffer)[self._begin : self._begin + length]
            self._begin += length
        return length

    def _receive(self, view: memoryview, seconds: float, *, fill: bool) -> int:
        """At least one byte into ``view``, or all of it if ``fill`` and the network is quick enough."""
        self.away_since = None
        try:
            with self._in_use():
                received = self._wait_for_bytes(view, seconds, fill=fill)
        finally:
            self.away_since = self._clock.monotonic()
        if self._pace is not None:
            self._pace.spend(received)
        return received

    def _wait_for_bytes(self, view: memoryview, seconds: float, *, fill: bool) -> int:
        deadline: float | None = None
        while True:
            try:
                received = self._receive_once(view, fill=fill)
            except (BlockingIOError, TimeoutError):
                self._should_stop()
                now = self._clock.monotonic()
                deadline = deadline or now + seconds
                if now > deadline:
                    raise ConnectionCut(f"{self.peer} sent nothing for {seconds:g} seconds") from None
                self._refuse_if_cut()
                continue
            except OSError as error:
                raise ConnectionCut(f"the connection to {self.peer} was lost: {error}") from error
            if received == 0:
                raise ConnectionCut(f"{self.peer} closed the connection")
            return received

    def _receive_once(self, view: memoryview, *, fill: bool) -> int:
        if self._is_tls:
            return _receive_records(self._socket, view, fill=fill)
        return self._socket.recv_into(view, 0, socket.MSG_WAITALL if fill else 0)

    def _send(self, payload: bytes) -> None:
        with self._in_use():
            try:
                self._socket.sendall(frame(payload))
            except OSError as error:
                raise ConnectionCut(f"the connection to {self.peer} was lost: {error}") from error

    @contextlib.contextmanager
    def _in_use(self) -> Generator[None]:
        """While inside, nobody else closes the descriptor: a number that is free again may be another's."""
        with self._lock:
            self._refuse_if_cut()
            self._is_in_use = True
        try:
            yield
        finally:
            with self._lock:
                self._is_in_use = False
                if self._is_cut:
                    self._close_descriptor()
        self._refuse_if_cut()

    def _refuse_if_cut(self) -> None:
        if self._is_cut:
            raise ConnectionCut(f"the connection to {self.peer} was given up")

    def _close_descriptor(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


def _receive_records(connected: socket.socket, view: memoryview, *, fill: bool) -> int:
    """TLS gives at most one record of 16 KiB a call: as many calls as fill ``view``, in the tightest loop."""
    read = connected.recv_into
    received = read(view)
    while fill and 0 < received < len(view):
        try:
            count = read(view[received:])
        except (BlockingIOError, TimeoutError):
            break
        if not count:
            break
        received += count
    return received


def _prepare(raw: socket.socket, *, is_tls: bool) -> None:
    """Waits in small steps, so that a reader can be told to stop, and notices a dead network within 30 s."""
    if is_tls:
        assert isinstance(raw, ssl.SSLSocket)
        raw.settimeout(_RECEIVE_STEP_SECONDS)
    else:
        raw.settimeout(None)
        step = struct.pack("ll", 0, int(_RECEIVE_STEP_SECONDS * 1_000_000))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, step)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))
    if raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            raw.setsockopt(socket.IPPROTO_TCP, option, value)


def check_no_more(responses: list[Response], what: str) -> None:
    """Raises ProtocolViolation when a command was answered by more than COMPLETE."""
    if responses:
        raise ProtocolViolation(f"{what} was answered by a {type(responses[0]).__name__}")
