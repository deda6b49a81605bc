"""The stream to one replica: a thread that takes pieces from the feed, and one that sends them.

Two threads, so that a store that is slow never keeps heartbeats from the replica. What lies between them is
bounded: two pieces.
"""

from __future__ import annotations

import queue
import select
import socket
import threading
from contextlib import suppress
from enum import Enum, auto

from fleet.clock import Clock
from fleet.errors import BinlogUnreadable, ToolError
from fleet.gtid import GtidSet
from wire.binlog.answers import EOF, FATAL_READING_BINLOG, error
from wire.binlog.feed import BinlogFeed, Piece
from wire.binlog.outgoing import Outgoing, Sendable
from wire.binlog.tally import Tally
from wire.packet import frame

LONGEST_PERIOD_SECONDS = 10.0
"""A replica that hears nothing for ``replica_net_timeout`` (60 s) reconnects, whatever it asked for."""

_PIECES_AHEAD = 2
_LOOK_SECONDS = 0.5


class Said(Enum):
    """What a feed says when it has no piece."""

    NOTHING_NEW = auto()
    NO_MORE = auto()


class ReplicaGone(Exception):  # noqa: N818
    """The replica closed its connection, or the source is closing it."""


class Fetching:
    """Takes pieces from a feed in a thread of its own, until the feed ends or fails, or nobody wants more."""

    def __init__(self, feed: BinlogFeed, have: GtidSet) -> None:
        self._feed = feed
        self._have = have
        self._cancelled = threading.Event()
        self._found: queue.Queue[Piece | Said | ToolError] = queue.Queue(_PIECES_AHEAD)
        self._thread = threading.Thread(target=self._run, name="binlog feed", daemon=True)
        self._thread.start()

    def take(self, seconds: float) -> Piece | Said | None:
        """The next piece, or what the feed said; None when there was nothing so long. Raises its error."""
        try:
            found = self._found.get(timeout=max(seconds, 0.001))
        except queue.Empty:
            if self._thread.is_alive() or self._cancelled.is_set():
                return None
            raise BinlogUnreadable("what the replication source is fed from broke off") from None
        if isinstance(found, ToolError):
            raise found
        return found

    def end(self) -> None:
        """Cancel the feed, and wait until it has noticed."""
        self._cancelled.set()
        # Room for a piece that it may be waiting to put down.
        with suppress(queue.Empty):
            self._found.get_nowait()
        self._thread.join()

    def _run(self) -> None:
        try:
            for piece in self._feed.pieces(self._have, self._cancelled):
                self._put(Said.NOTHING_NEW if piece is None else piece)
                if self._cancelled.is_set():
                    return
            self._put(Said.NO_MORE)
        except ToolError as failure:
            self._put(failure)

    def _put(self, found: Piece | Said | ToolError) -> None:
        while not self._cancelled.is_set():
            try:
                self._found.put(found, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return


class Stream:
    """Sends to one replica what ``fetching`` brings, and heartbeats while it brings nothing.

    ``heartbeat_seconds``: what the replica asked for; 0 for none. ``to_the_end``: end with the log, instead
    of waiting for more. ``retry_seconds``: how long to keep a replica waiting before it is cut off to try
    again, which it does at once. ``cancelled`` ends it soon; so does shutting down the socket, at once.
    """

    def __init__(
        self,
        connection: socket.socket,
        outgoing: Outgoing,
        tally: Tally,
        *,
        heartbeat_seconds: float,
        to_the_end: bool,
        retry_seconds: float,
        cancelled: threading.Event,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._tally = tally
        self._period = min(heartbeat_seconds, LONGEST_PERIOD_SECONDS)
        self._to_the_end = to_the_end
        self._retry_seconds = retry_seconds
        self._cancelled = cancelled
        self._clock = clock
        self._sent_at = clock.monotonic()

    def run(self, fetching: Fetching) -> None:
        """Until the replica goes, or the feed fails: it is told of errors that trying again cannot cure.

        Raises OSError when the connection breaks, ReplicaGone when the replica hung up.
        """
        try:
            self._send(self._outgoing.announce())
            self._send_pieces(fetching)
            if self._to_the_end:
                self._send(frame(EOF, self._outgoing.sequence))
                return
            if torn := self._outgoing.end_torn():
                self._send(torn)
            while not self._cancelled.is_set():
                self._stay_awake(_LOOK_SECONDS)
        except ToolError as failure:
            self._tally.failed(failure)
            if rest := self._outgoing.give_up():
                self._send(rest)
            # A replica gives up after an error packet; after a mere cut it comes back and asks anew.
            if failure.retryable:
                self._cancelled.wait(self._retry_seconds)
            else:
                payload = error(FATAL_READING_BINLOG, failure.message)
                self._send(frame(payload, self._outgoing.sequence))
        finally:
            fetching.end()

    def _send_pieces(self, fetching: Fetching) -> None:
        """Up to the transaction to hold before, or the end of the feed."""
        outgoing, tally = self._outgoing, self._tally
        before = outgoing.counts
        while not self._cancelled.is_set():
            found = fetching.take(self._until_heartbeat())
            if isinstance(found, Piece):
                for buffer in outgoing.packets(found):
                    self._send(buffer)
                tally.advanced(before, outgoing.counts, outgoing.file, outgoing.position, held=outgoing.held)
                before = outgoing.counts
                if outgoing.held:
                    fetching.end()
                    return
            elif found is Said.NO_MORE or (found is Said.NOTHING_NEW and self._to_the_end):
                return
            else:
                self._stay_awake(0)

    def _until_heartbeat(self) -> float:
        left = self._sent_at + self._period - self._clock.monotonic() if self._period else _LOOK_SECONDS
        return min(max(left, 0), _LOOK_SECONDS)

    def _stay_awake(self, seconds: float) -> None:
        """Look for ``seconds`` whether the replica is still there; send a heartbeat when one is due."""
        if self._period:
            seconds = min(seconds, self._until_heartbeat())
        readable, _, _ = select.select([self._connection], [], [], seconds)
        # A replica says nothing any more once it is served; semi-sync acknowledgements it does not offer.
        if readable and not self._connection.recv(1024):
            raise ReplicaGone
        if self._period and self._clock.monotonic() >= self._sent_at + self._period:
            self._sent_at = self._clock.monotonic()
            if packet := self._outgoing.heartbeat():
                self._send(packet)

    def _send(self, data: Sendable) -> None:
        self._connection.sendall(data)
        self._sent_at = self._clock.monotonic()
