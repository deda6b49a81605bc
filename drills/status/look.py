"""One look after the other at a fleet: what is seen is kept, and shown with its age when nobody answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from drills.status import places
from drills.status.lag_history import LagHistory
from drills.status.last_known import keep, last_known, unasked
from drills.status.observe import SOON, Remembered, observe_fleet
from drills.status.report import FleetStatus, Health
from drills.status.schedule_known import ScheduleKnown
from fleet.clock import Clock, SystemClock
from fleet.errors import (
    KeyServiceUnreachable,
    KeyUnusable,
    ObjectMissing,
    RepositoryMissing,
    StoreDenied,
    StoreUnreachable,
    ToolError,
)
from fleet.model import Fleet
from repository import layout
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store

_AWAY = (KeyServiceUnreachable, KeyUnusable, RepositoryMissing, StoreDenied, StoreUnreachable)


class Looker:
    """Looks at one fleet. Not for two threads at once.

    Without ``keeps`` nothing is written down on this machine, and nothing is known of before: who looks at
    the mirror must not take its state for the repository's. ``asks_time``: for who looks again and again. An
    object is put into the store, and deleted, now and then, to learn what its clock says.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        clock: Clock | None = None,
        keeps: bool = True,
        asks_time: bool = False,
        open_repository: Callable[[Fleet], Repository] | None = None,
    ) -> None:
        self._fleet = fleet
        self._clock = clock or SystemClock()
        self._keeps = keeps
        self._asks_time = keeps and asks_time
        self._open = open_repository or _open
        self._repository: Repository | None = None
        self._remembered = Remembered()

    def look(self, shards: Sequence[str] = ()) -> FleetStatus:
        """How the named shards do, or all; the last known status where the repository does not answer.

        Raises ``NotFound`` for a shard that is not there, and ``ConfigError``.
        """
        names = [self._fleet.shard(name).name for name in shards]
        schedule = ScheduleKnown(places.schedule_file(self._fleet))
        try:
            status = observe_fleet(
                self._fleet,
                self._opened(),
                clock=self._clock,
                shards=names,
                remembered=self._remembered,
                known_since=schedule.note(self._fleet, self._clock.now()) if self._keeps else {},
                asks_time=self._asks_time,
            )
        except _AWAY as away:
            # Opened anew the next time: what it was before may not be what comes back.
            self._repository, self._remembered = None, Remembered()
            return self.last_known(away, names)
        return self._kept(status, whole=not names) if self._keeps else status

    def last_known(self, away: ToolError, names: Sequence[str] = ()) -> FleetStatus:
        """What was seen last of these shards, or of all, as it counts while ``away`` keeps us from asking.

        May be called from any thread.
        """
        now = self._clock.now()
        path = places.status_file(self._fleet)
        known = last_known(path, fleet=self._fleet.name) if self._keeps else None
        if known is None:
            return unasked(self._nothing_known(), away, age_seconds=None)
        wanted = names or [shard.name for shard in self._fleet.shards]
        shards = tuple(shard for shard in known.shards if shard.shard in wanted)
        age_seconds = max(0.0, (now - known.seen_at).total_seconds())
        return unasked(replace(known, shards=shards), away, age_seconds=age_seconds)

    def _kept(self, status: FleetStatus, *, whole: bool) -> FleetStatus:
        lags = {shard.shard: shard.archive_lag_seconds for shard in status.shards}
        history = LagHistory(places.lag_file(self._fleet)).note(lags, status.seen_at)
        told = tuple(replace(shard, lag_history=history[shard.shard]) for shard in status.shards)
        status = replace(status, shards=told)
        if whole:
            keep(places.status_file(self._fleet), status)
        return status

    def _opened(self) -> Repository:
        """Opened once; but a disk that is not mounted any more lists like an empty repository."""
        if self._repository is None:
            self._repository = self._open(self._fleet)
        else:
            store = self._repository.store
            try:
                store.stat(layout.DESCRIPTION)
            except ObjectMissing as error:
                raise RepositoryMissing(
                    f"there is no repository at {store.describe()} any more", hint=error.hint
                ) from None
        return self._repository

    def _nothing_known(self) -> FleetStatus:
        targets = self._fleet.targets
        return FleetStatus(
            fleet=self._fleet.name,
            repository=self._fleet.repository.url,
            seen_at=self._clock.now(),
            health=Health.UNKNOWN,
            shards=(),
            disks=(),
            findings=(),
            what_to_do="",
            rto_target_seconds=targets.rto_seconds,
            rpo_target_seconds=targets.rpo_seconds,
        )


def _open(fleet: Fleet) -> Repository:
    return Repository.open(open_store(fleet.repository, policy=SOON), Keyring.from_config(fleet.keys))
