"""Replay: the archive as a replication source, and a private server as its replica, up to a point.

MySQL's own parallel applier does the work. Two things keep it from running past the point: the applier is
told to stop before the transaction, and the source never sends it, so that a replica that somebody starts
anew does not run on either.
"""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from fleet.clock import Clock
from fleet.errors import Cancelled, ReplayFailed, ServerUnreachable, ToolError
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from restore.applier import ApplierFailure
from restore.feed import ArchiveFeed
from restore.wording import GOES_ON_HINT, short
from wire import replica_admin
from wire.binlog.source import ReplicationSource
from wire.replica_admin import ReplicaState
from wire.restored import Asked

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 120.0
"""So long a replay waits for a store that gives no answer, before it gives up."""


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What the server shall have in the end: exactly ``gtids``, with empty transactions for ``skipped``.

    ``stop_before``: the first transaction behind them, None where the archive ends.
    """

    gtids: GtidSet
    skipped: GtidSet
    stop_before: Gtid | None
    log_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReplayState:
    """One moment of a replay. ``log_bytes`` is the part of the binlog's bytes that is done, by the count of
    transactions; ``seconds`` since the replay began in this run, as ``rate`` is transactions a second of it.
    """

    transactions: int
    total: int
    log_bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.transactions / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Until the end, None while nobody can tell."""
        return (self.total - self.transactions) / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: ``before`` and ``after`` are the server's sets, ``injected`` went in as empty ones.

    ``sent`` counts transactions that the source sent, those twice that a reconnect made it send again.
    """

    before: GtidSet
    after: GtidSet
    injected: GtidSet
    sent: int
    seconds: float

    @property
    def transactions(self) -> int:
        """Applied, without the empty ones."""
        return (self.after - self.before - self.injected).count()


def replay(
    server: Asked,
    feed: ArchiveFeed,
    order: ReplayOrder,
    *,
    clock: Clock,
    cancelled: threading.Event,
    on_state: Callable[[ReplayState], None] | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
    unchecked: bool = False,
) -> Replayed:
    """Bring ``server`` to ``order.gtids``, from whatever part of them it has.

    ``unchecked``: foreign keys are neither checked nor do they cascade. Afterwards it has no source any more.
    Raises ``ReplayFailed`` naming the transaction that cannot be applied, what the feed raises
    (``ArchiveGap``, ``ObjectDamaged``, the store's errors), ``Cancelled``, and ``RecoveryFailed`` when the
    server dies.
    """
    began = clock.monotonic()
    before = replica_admin.gtid_executed(server)
    injected = (order.skipped & order.gtids) - before
    for gtid in each(injected):
        replica_admin.inject_empty(server, gtid)
    needed = order.gtids - before - injected
    sent = 0
    if needed:
        with open_source(
            feed, clock, leave_out=order.skipped, hold_before=order.stop_before, unchecked=unchecked
        ) as source:
            watch = _Watch(
                server,
                source,
                needed,
                clock=clock,
                cancelled=cancelled,
                patience_seconds=patience_seconds,
            )
            follow(server, source, until=order.stop_before)
            watch.run(order.log_bytes, on_state)
            replica_admin.stop_replica(server)
            sent = source.statistics.transactions
    replica_admin.reset_replica_all(server)
    return Replayed(before, replica_admin.gtid_executed(server), injected, sent, clock.monotonic() - began)


def open_source(
    feed: ArchiveFeed,
    clock: Clock,
    *,
    leave_out: GtidSet,
    hold_before: Gtid | None = None,
    unchecked: bool = False,
) -> ReplicationSource:
    """A source over ``feed`` that nobody has met before; to be entered."""
    return ReplicationSource(
        feed,
        version=feed.server_version,
        # The upper half of the ids is the private server's; an id of the archive would be dropped as its own.
        server_id=secrets.randbits(30) | 1,
        server_uuid=str(uuid.uuid4()),
        hold_before=hold_before,
        leave_out=leave_out,
        unchecked=unchecked,
        clock=clock,
    )


def follow(
    server: Asked, source: ReplicationSource, *, until: Gtid | None = None, delay_seconds: int = 0
) -> None:
    """Make ``server`` a replica of ``source``, and start it. It may have been a replica before."""
    replica_admin.stop_replica(server)
    replica_admin.change_source(server, source.host, source.port, delay_seconds=delay_seconds)
    if until is None:
        replica_admin.start_replica(server, source.user, source.password)
    else:
        replica_admin.start_until_before(server, until, source.user, source.password)


def each(gtids: GtidSet) -> list[Gtid]:
    """The transactions of a small set."""
    return [
        Gtid(origin.uuid, origin.tag, number)
        for origin in gtids
        for first, last in origin.intervals
        for number in range(first, last + 1)
    ]


class _Watch:
    """Waits for the applier, and looks at everything that can go wrong meanwhile."""

    def __init__(
        self,
        server: Asked,
        source: ReplicationSource,
        needed: GtidSet,
        *,
        clock: Clock,
        cancelled: threading.Event,
        patience_seconds: float,
    ) -> None:
        self._server = server
        self._source = source
        self._needed = needed
        self._clock = clock
        self._cancelled = cancelled
        self._patience_seconds = patience_seconds
        self._began = clock.monotonic()
        self._broken_since: float | None = None

    def run(self, log_bytes: int, on_state: Callable[[ReplayState], None] | None) -> None:
        total, done = self._needed.count(), -1
        while True:
            if self._cancelled.is_set():
                raise Cancelled("stopped while transactions were replayed", hint=GOES_ON_HINT)
            state = replica_admin.replica_state(self._server)
            left = self._needed - state.executed
            if total - left.count() != done:
                done, self._broken_since = total - left.count(), None
            if on_state is not None:
                seconds = self._clock.monotonic() - self._began
                on_state(ReplayState(done, total, log_bytes * done // total, seconds))
            if not left:
                return
            self._judge(state, left)
            self._clock.sleep(POLL_SECONDS)

    def _judge(self, state: ReplicaState, left: GtidSet) -> None:
        raise_applier_failure(state)
        if not state.applying:
            raise ReplayFailed(
                f"the applier stopped before the point, without {short(left)}", hint=GOES_ON_HINT
            )
        failure = self._source.statistics.failure or _receiver_failure(state)
        if failure is None:
            self._broken_since = None
            return
        now = self._clock.monotonic()
        if self._broken_since is None:
            self._broken_since = now
        if not failure.retryable or now - self._broken_since > self._patience_seconds:
            raise failure


def raise_applier_failure(state: ReplicaState) -> None:
    """Raise ``ReplayFailed`` if the applier stopped with an error."""
    for error in state.errors:
        if error.thread != "receiver":
            raise ApplierFailure.read(error.text, error.number, error.transaction).error()


def _receiver_failure(state: ReplicaState) -> ToolError | None:
    """What the receiver complains of while it does not run; it tries again by itself."""
    for error in state.errors:
        if error.thread == "receiver" and not state.receiving:
            return ServerUnreachable(
                f"the restored server cannot receive from us: {error.text} ({error.number})",
                hint=GOES_ON_HINT,
            )
    return None
