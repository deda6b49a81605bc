"""A replication source over archived binlogs: a replica logs in, says what it has, and is sent the rest.

To the replica it is a MySQL server with GTIDs. It listens on 127.0.0.1 alone, for one user with a password
of its own; connections are not encrypted, since they never leave the machine. Any number of replicas may come
and go; each is served from where it stands.
"""

from __future__ import annotations

import secrets
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from fleet.clock import Clock, SystemClock
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from wire.binlog.answers import Identity
from wire.binlog.conversation import Conversation, Terms
from wire.binlog.feed import BinlogFeed, Piece
from wire.binlog.tally import Statistics, Tally

__all__ = ["BinlogFeed", "Piece", "ReplicationSource", "Statistics"]

USER = "backstay"
_HOST = "127.0.0.1"
_CLOSE_SECONDS = 10.0


class ReplicationSource:
    """A context manager: it listens from entering on, until leaving, which ends every connection.

    ``version`` is announced, as in ``9.7.4``: that of the server that wrote the binlogs (8.3 at least where
    GTIDs have tags). ``server_id`` must be none of the archive and not the replica's; ``server_uuid`` too.
    ``password``: a random one by default. ``hold_before``: nobody is ever sent this transaction or anything
    after it, and a replica that has it is refused. ``leave_out`` is sent to nobody; those transactions will
    be missing from the replica's ``gtid_executed``, unless somebody puts empty ones in their place.
    ``unchecked``: replicas apply what they are sent without checking foreign keys, nor do these cascade.

    Replicas see errors of the feed as error 1236, except for retryable ones: then the connection is cut after
    ``retry_seconds``, and they try again at once. ``statistics.failure`` has the error itself.
    """

    def __init__(
        self,
        feed: BinlogFeed,
        *,
        version: str,
        server_id: int,
        server_uuid: str,
        password: str | None = None,
        hold_before: Gtid | None = None,
        leave_out: GtidSet | None = None,
        unchecked: bool = False,
        retry_seconds: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.user = USER
        self.password = password or secrets.token_hex(16)
        self._tally = Tally()
        self._terms = Terms(
            feed=feed,
            identity=Identity(version, server_id, server_uuid),
            user=self.user,
            password=self.password,
            hold_before=hold_before,
            leave_out=leave_out or GtidSet(),
            unchecked=unchecked,
            retry_seconds=retry_seconds,
            clock=clock or SystemClock(),
            tally=self._tally,
        )
        self._lock = threading.Lock()
        self._closing = False
        self._conversations: dict[Conversation, threading.Thread] = {}
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._listener = socket.create_server((_HOST, 0))
        self._accepting = threading.Thread(
            target=self._accept, args=(self._listener,), name="replication source", daemon=True
        )
        self._accepting.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def host(self) -> str:
        return _HOST

    @property
    def port(self) -> int:
        """Where it listens; the source must have been entered."""
        assert self._listener is not None, "the source does not listen yet"
        return int(self._listener.getsockname()[1])

    @property
    def statistics(self) -> Statistics:
        return self._tally.statistics

    def close(self) -> None:
        """End every connection and stop listening; closing twice is fine."""
        with self._lock:
            self._closing = True
            running = dict(self._conversations)
        if self._listener is not None:
            # Closing alone would leave the other thread in accept().
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
        for conversation in running:
            conversation.cancel()
        for thread in (*running.values(), self._accepting):
            if thread is not None:
                thread.join(_CLOSE_SECONDS)
        if self._listener is not None:
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            number += 1
            self._begin(Conversation(connection, number, self._terms), connection)

    def _begin(self, conversation: Conversation, connection: socket.socket) -> None:
        thread = threading.Thread(
            target=self._converse, args=(conversation,), name="replication source", daemon=True
        )
        with self._lock:
            if self._closing:
                connection.close()
                return
            self._conversations[conversation] = thread
        thread.start()

    def _converse(self, conversation: Conversation) -> None:
        try:
            conversation.run()
        finally:
            with self._lock:
                self._conversations.pop(conversation, None)
