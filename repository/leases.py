"""Leases: who is at work names what it needs, and pruning leaves that alone (FORMAT.md, section 14, rule 4).

They stand in clear text and nothing vouches for them: a lease can only make pruning keep more. One ends by
itself when nobody renews it, so who is killed holds nothing up for long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from fleet.clock import Clock, SystemClock
from fleet.errors import FormatUnsupported, ObjectDamaged, ObjectMissing
from fleet.gtid import GtidSet
from repository import layout
from repository.held_lease import TTL_SECONDS, HeldLease, LeaseDocument, LeaseKind, LeaseTerms
from repository.layout import BackupName
from repository.manifest import parse_document
from repository.repository import Repository
from repository.stores.interface import ObjectInfo

__all__ = ["HeldLease", "Lease", "LeaseKind", "LeaseTerms", "Leases", "held"]

LONGEST_SECONDS = 86_400
"""No lease is in force for longer after it was renewed, whatever it says."""

_LONGEST_BYTES = 1 << 20
_READ_AGAIN = 5
_PATIENCE_SECONDS = 30.0
_LET_GO_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease in force ``until``, UTC by the store's clock.

    One that cannot be read says why in ``unreadable``. It then names no labels, and keeps every backup and
    every archived transaction of its shard.
    """

    shard: str
    token: str
    kind: str
    labels: tuple[str, ...]
    gtids_from: GtidSet | None
    until: datetime
    told_by: str
    unreadable: str | None = None

    def keeps(self, backup: BackupName) -> bool:
        """Must ``backup`` stay for it, and with it what that one needs?"""
        return backup.shard == self.shard and (self.unreadable is not None or backup.label in self.labels)


class Leases:
    """The leases that are in a repository."""

    def __init__(self, repository: Repository) -> None:
        self._store = repository.store

    def in_force(self, store_now: datetime, shard: str | None = None) -> tuple[Lease, ...]:
        """Every lease in force at ``store_now``, by the store's clock; of one shard, or of all.

        Costs a list, and a get for each. Raises what the store raises.
        """
        found = (self._look(last, store_now) for *_, last in self._by_token(shard))
        return tuple(lease for lease in found if lease is not None and store_now < lease.until)

    def left_over(self, store_now: datetime, shard: str | None = None) -> tuple[str, ...]:
        """Names of lease objects that no longer count: of leases that are over, and renewed ones' older ones.

        Their going changes nothing, but makes the list shorter. Raises what the store raises.
        """
        names: list[str] = []
        for objects in self._by_token(shard):
            names += (each.info.key for each in objects[:-1])
            if objects[-1].is_old(store_now):
                names.append(objects[-1].info.key)
        return tuple(names)

    def _by_token(self, shard: str | None) -> Iterator[list[_LeaseObject]]:
        """The objects of one lease after the other, by number."""
        listed = (_LeaseObject.of(info) for info in self._store.list(layout.leases(shard)))
        objects = sorted((each for each in listed if each is not None), key=_LeaseObject.order)
        for _, same in groupby(objects, key=lambda each: (each.shard, each.token)):
            yield list(same)

    def _look(self, last: _LeaseObject, store_now: datetime) -> Lease | None:
        """The lease that ``last`` belongs to; None if it is over, or was released meanwhile."""
        for _ in range(_READ_AGAIN):
            if last.is_old(store_now):
                return None
            try:
                return self._read(last)
            except ObjectMissing:
                newer = self._newer(last)
            if newer is None:
                return None
            last = newer
        return last.unreadable("it is renewed faster than it can be read")

    def _read(self, last: _LeaseObject) -> Lease:
        key, size, put_at = last.info
        if size > _LONGEST_BYTES:
            return last.unreadable(f"it has {size:,} bytes")
        try:
            document = parse_document(LeaseDocument, key, self._store.get(key))
        except (ObjectDamaged, FormatUnsupported) as error:
            return last.unreadable(error.message)
        return Lease(
            last.shard,
            last.token,
            document.kind,
            document.labels,
            GtidSet.parse(document.gtids_from) if document.gtids_from is not None else None,
            put_at + timedelta(seconds=min(document.ttl_seconds, LONGEST_SECONDS)),
            document.told_by,
        )

    def _newer(self, gone: _LeaseObject) -> _LeaseObject | None:
        """What renewed the lease since: the next number by name, for a list may be behind, or a later one."""
        with suppress(ObjectMissing):
            return _LeaseObject.of(self._store.stat(layout.lease(gone.shard, gone.token, gone.number + 1)))
        same = [objects[-1] for objects in self._by_token(gone.shard) if objects[-1].token == gone.token]
        return same[0] if same and same[0].number > gone.number else None


@dataclass(frozen=True, slots=True)
class _LeaseObject:
    shard: str
    token: str
    number: int
    info: ObjectInfo

    @classmethod
    def of(cls, info: ObjectInfo) -> _LeaseObject | None:
        parsed = layout.parse_lease(info.key)
        return cls(*parsed, info) if parsed else None

    def order(self) -> tuple[str, str, int]:
        return self.shard, self.token, self.number

    def is_old(self, store_now: datetime) -> bool:
        """Is it over, whatever it says?"""
        return store_now >= self.info.modified_at + timedelta(seconds=LONGEST_SECONDS)

    def unreadable(self, reason: str) -> Lease:
        until = self.info.modified_at + timedelta(seconds=LONGEST_SECONDS)
        return Lease(self.shard, self.token, "unknown", (), GtidSet(), until, "unknown", unreadable=reason)


@contextmanager
def held(
    repository: Repository,
    terms: LeaseTerms,
    clock: Clock | None = None,
    *,
    note: Callable[[str], None] | None = None,
    ttl_seconds: int = TTL_SECONDS,
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
) -> Generator[HeldLease]:
    """Keep what ``terms`` name from being pruned until the block is left.

    A thread takes the lease, renews it at a third of its ``ttl_seconds``, and releases it; what the store
    refuses or does not answer never ends the work, and ``check`` tells of it. The block begins when the store
    has answered once, and half a minute later at the latest; ``note`` is told if there is no lease then.
    ``wait`` waits for the event, or so many seconds, and tells whether it is set.
    """
    lease = HeldLease(repository, terms, clock or SystemClock(), ttl_seconds=ttl_seconds)
    answered, ended = threading.Event(), threading.Event()
    # A store that has just gone away may take minutes to say so: nobody who only reads waits for that.
    keeper = threading.Thread(target=_keep, args=(lease, answered, ended, wait), name="lease", daemon=True)
    keeper.start()
    try:
        wait(answered, _PATIENCE_SECONDS)
        if note is not None and lease.without is not None:
            note(f"without a lease, so pruning does not know of this {terms.kind}: {lease.without}")
        yield lease
    finally:
        ended.set()
        keeper.join(_LET_GO_SECONDS)


def _keep(
    lease: HeldLease,
    answered: threading.Event,
    ended: threading.Event,
    wait: Callable[[threading.Event, float], bool],
) -> None:
    try:
        goes_on = lease.take()
    finally:
        answered.set()
    while goes_on and not wait(ended, lease.pause_seconds):
        goes_on = lease.renew()
    lease.release()
