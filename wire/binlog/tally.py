"""How far a replication source has come: counted by its connections, read by whoever shows progress."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from fleet.errors import ToolError
from wire.binlog.outgoing import Counts


@dataclass(frozen=True, slots=True)
class Statistics:
    """One moment of a replication source; sums over all connections so far.

    ``connections``: replicas that are served now. ``transactions``: those sent; one that was sent on two
    connections counts twice. ``left_out``: those that a replica had, or shall not have. ``torn``: those whose
    file ended before they did. ``file`` and ``position`` are the last ones read. ``held``: a replica has come
    to the transaction that the source stops before. ``failure``: why the last stream broke off, None once
    one went on.
    """

    connections: int = 0
    transactions: int = 0
    left_out: int = 0
    sent_bytes: int = 0
    torn: int = 0
    file: str = ""
    position: int = 0
    held: bool = False
    failure: ToolError | None = None


class Tally:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statistics = Statistics()

    @property
    def statistics(self) -> Statistics:
        with self._lock:
            return self._statistics

    def connected(self, change: int) -> None:
        """A replica more, or one less."""
        with self._lock:
            now = self._statistics
            self._statistics = replace(now, connections=now.connections + change)

    def advanced(self, before: Counts, after: Counts, file: str, position: int, *, held: bool) -> None:
        """A stream went on from ``before`` to ``after``."""
        with self._lock:
            now = self._statistics
            self._statistics = replace(
                now,
                transactions=now.transactions + after.transactions - before.transactions,
                left_out=now.left_out + after.left_out - before.left_out,
                sent_bytes=now.sent_bytes + after.sent_bytes - before.sent_bytes,
                torn=now.torn + after.torn - before.torn,
                file=file,
                position=position,
                held=now.held or held,
                failure=None,
            )

    def failed(self, failure: ToolError) -> None:
        with self._lock:
            self._statistics = replace(self._statistics, failure=failure)
