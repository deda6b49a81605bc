"""One started server that follows the archive, and what it says meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from fleet.errors import ToolError
from fleet.gtid import GtidSet
from fleet.moments import from_microseconds
from repository.archive.beyond import HeldBeyond
from repository.archive.line import Line
from repository.leases import HeldLease
from restore.feed import ArchiveFeed
from restore.mysqld import PrivateServer
from restore.replay import each, follow, open_source, raise_applier_failure
from restore.replaying import Given
from restore.standby_status import StandbyStatus, at_rest, is_asked_to_stop, write_status
from wire import replica_admin, restored
from wire.binlog.source import ReplicationSource
from wire.replica_admin import ReplicaState

POLL_SECONDS = 0.5
_WRITE_SECONDS = 2.0


class Follower:
    """Follows until it is told to stop. ``latest`` is what it said last.

    ``skipped``: transactions that get empty ones in their places. ``on_status`` is told of every look,
    ``lease`` of what is no longer needed of the archive.
    """

    def __init__(
        self,
        given: Given,
        feed: ArchiveFeed,
        latest: StandbyStatus,
        *,
        skipped: GtidSet,
        on_status: Callable[[StandbyStatus], None] | None,
        lease: HeldLease,
    ) -> None:
        self._given = given
        self._feed = feed
        self._skipped = skipped
        self._on_status = on_status
        self._lease = lease
        self._written_at: float | None = None
        self.latest = latest

    def run(self, server: PrivateServer) -> None:
        """Returns when it was cancelled, or asked for a promotion; the applier is at rest then.

        Raises ``ReplayFailed``, ``ArchiveGap``, ``SourceDiverged`` and what else no waiting can cure, and
        ``RecoveryFailed`` or ``ServerUnreachable`` when the server dies.
        """
        identity = restored.identity(server)
        self.latest = replace(self.latest, server_uuid=identity.uuid, pid=os.getpid())
        for gtid in each(self._skipped - GtidSet.parse(identity.gtid_executed)):
            replica_admin.inject_empty(server, gtid)
        with open_source(self._feed, self._given.clock, leave_out=self._skipped) as source:
            follow(server, source, delay_seconds=self.latest.delay_seconds)
            while not self._is_over():
                self._look(server, source)
                self._given.clock.sleep(POLL_SECONDS)
            replica_admin.stop_replica(server)
            self._say(replica_admin.replica_state(server), self._applied_at(server), None)

    def say(self, status: StandbyStatus) -> None:
        """Write it down, and tell it."""
        self.latest = replace(status, updated_at=self._given.clock.now())
        self._written_at = self._given.clock.monotonic()
        write_status(self.latest)
        if self._on_status is not None:
            self._on_status(self.latest)

    def stopped(self, error: ToolError | None) -> None:
        """It follows no more."""
        self.say(_with_problem(at_rest(self.latest), error))

    @property
    def line(self) -> Line:
        """The archive's line, as it was looked at last."""
        return self._feed.line

    def _is_over(self) -> bool:
        return self._given.cancelled.is_set() or is_asked_to_stop(self.latest.directory)

    def _look(self, server: PrivateServer, source: ReplicationSource) -> None:
        state = replica_admin.replica_state(server)
        raise_applier_failure(state)
        failure = source.statistics.failure
        if failure is not None and not failure.retryable:
            raise failure
        if not state.applying:
            # Somebody stopped it.
            replica_admin.start_replica(server, source.user, source.password)
        self._say(state, self._applied_at(server), failure)

    def _say(self, state: ReplicaState, applied_at: datetime | None, failure: ToolError | None) -> None:
        self._lease.narrow(gtids_from=state.executed)
        fresh = _measured(self.latest, self._feed.line, state.executed, applied_at)
        fresh = _with_problem(replace(fresh, state="following"), failure)
        now = self._given.clock.monotonic()
        is_due = self._written_at is None or now - self._written_at >= _WRITE_SECONDS
        if is_due or replace(fresh, updated_at=self.latest.updated_at) != self.latest:
            self.say(fresh)

    def _applied_at(self, server: PrivateServer) -> datetime | None:
        count_us = restored.last_applied_us(server)
        return from_microseconds(count_us) if count_us else None


def _with_problem(status: StandbyStatus, error: ToolError | None) -> StandbyStatus:
    if error is None:
        return replace(status, problem=None, hint=None)
    # The line that the lag was measured on may be an old one.
    return replace(status, problem=error.message, hint=error.hint, lag_seconds=None, lag_transactions=None)


def _measured(
    before: StandbyStatus, line: Line, executed: GtidSet, applied_at: datetime | None
) -> StandbyStatus:
    """With the lag between ``executed`` and the end of ``line``."""
    missing = (line.gtids - executed).count()
    last_us = next((part.last_at_us for part in reversed(line.parts) if part.last_at_us is not None), None)
    archived_at = from_microseconds(last_us) if last_us is not None else None
    if not missing:
        applied_at = archived_at
    lag = (archived_at - applied_at).total_seconds() if archived_at and applied_at else None
    return replace(
        before,
        gtid_executed=executed.one_line(),
        applied_at=applied_at or before.applied_at,
        archived_at=archived_at,
        lag_seconds=max(lag, 0.0) if lag is not None else None,
        lag_transactions=missing,
        beyond=_still_beyond(before.beyond, line, executed),
    )


def _still_beyond(beyond: HeldBeyond | None, line: Line, executed: GtidSet) -> HeldBeyond | None:
    """An archiver may come back, and bring what a backup had before it."""
    return beyond if beyond and GtidSet.parse(beyond.gtids) - line.gtids - executed else None
