"""The socket of a dump: read by one thread, written to and closed by any other."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from fleet.clock import Clock
from fleet.errors import ServerUnreachable
from wire.session import RawConnection

_SEND_SECONDS = 30.0
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_KEEP_ALIVE = {
    socket.TCP_NODELAY: 1,
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 4,
}


class LinkClosed(Exception):  # noqa: N818 - it is what happened, and no error of ours
    """Our own side closed the link, from another thread."""


class Link:
    """Never blocks in a read: so reader and writer can share a TLS session, which is for one at a time.

    Raises ServerUnreachable when the connection is lost, LinkClosed after ``close``.
    """

    def __init__(self, raw: RawConnection, clock: Clock) -> None:
        self.peer = raw.peer
        self.heard_at = clock.monotonic()
        self._socket = raw.socket
        self._clock = clock
        self._is_closed = False
        self._receiving = threading.Lock()
        self._sending = threading.Lock()
        self._using = threading.Lock()
        self._socket.setblocking(False)
        self._arrivals = select.poll()
        self._arrivals.register(self._socket, select.POLLIN)
        if self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEP_ALIVE.items():
                self._socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def receive(self, view: memoryview, seconds: float) -> int:
        """What is there, at most ``len(view)`` bytes; 0 if nothing comes for ``seconds``."""
        with self._receiving:
            deadline = self._clock.monotonic() + seconds if seconds else 0.0
            while True:
                if (length := self._receive_now(view)) is not None:
                    self.heard_at = self._clock.monotonic()
                    return length
                left = deadline - self._clock.monotonic() if seconds else 0.0
                if left <= 0:
                    return 0
                self._arrivals.poll(left * 1000)

    def _receive_now(self, view: memoryview) -> int | None:
        try:
            with self._using:
                self._refuse_closed()
                length = self._socket.recv_into(view)
        except _NOT_NOW:
            return None
        except OSError as error:
            self._refuse_closed()
            raise ServerUnreachable(f"the connection to {self.peer} was lost: {error}") from error
        if length == 0:
            self._refuse_closed()
            raise ServerUnreachable(f"{self.peer} closed the connection")
        return length

    def send(self, packet: bytes) -> None:
        """Send all of it. May be called by any thread."""
        deadline = self._clock.monotonic() + _SEND_SECONDS
        left = memoryview(packet)
        with self._sending:
            while left:
                try:
                    with self._using:
                        self._refuse_closed()
                        sent = self._socket.send(left)
                    left = left[sent:]
                except _NOT_NOW:
                    self._wait_for_room(deadline)
                except OSError as error:
                    self._refuse_closed()
                    raise ServerUnreachable(f"the connection to {self.peer} was lost: {error}") from error

    def _wait_for_room(self, deadline: float) -> None:
        seconds = deadline - self._clock.monotonic()
        if seconds <= 0:
            raise ServerUnreachable(f"{self.peer} takes nothing from us for {_SEND_SECONDS:.0f} s")
        room = select.poll()
        room.register(self._socket, select.POLLOUT)
        room.poll(seconds * 1000)

    def close(self) -> None:
        """Closing twice is fine. A reader in another thread gets LinkClosed at once."""
        self._is_closed = True
        # Past the TLS layer: only the kernel can wake a thread that waits in poll.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        # The descriptor's number must not be given to others while somebody still waits on it.
        with self._receiving, self._sending, self._using:
            self._socket.close()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise LinkClosed
