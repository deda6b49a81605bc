"""Leases: who is at work names what it needs, and pruning leaves that alone (FORMAT.md, section 14, rule 4).

They stand in clear text and nothing vouches for them: a lease can only make pruning keep more. One ends by
itself when nobody renews it, so who is killed holds nothing up for long.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from fleet.clock import Clock, SystemClock
from fleet.errors import (
    FormatUnsupported,
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
    StoreDenied,
    StoreUnreachable,
    ToolError,
)
from fleet.figures import duration
from fleet.gtid import GtidSet
from repository import layout
from repository.layout import BackupName
from repository.manifest import GtidText, parse_document
from repository.repository import Repository
from repository.seal import FORMAT_NUMBER
from repository.stores.interface import ObjectInfo

LeaseKind: TypeAlias = Literal["backup", "restore", "standby", "drill", "mirror", "verify"]

TTL_SECONDS = 900
LONGEST_SECONDS = 86_400
"""No lease is in force for longer after it was renewed, whatever it says."""

_LONGEST_BYTES = 1 << 20
_READ_AGAIN = 5
_PATIENCE_SECONDS = 30.0

_Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class LeaseDocument(BaseModel):
    """What a lease object says."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    kind: LeaseKind = Field(description="Who is at work.")
    labels: tuple[_Label, ...] = Field(description="Backups of the shard that must stay.")
    gtids_from: GtidText | None = Field(description="Archived transactions that are not in it must stay.")
    ttl_seconds: int = Field(ge=1, description="How long it is in force after its object's time.")
    told_by: str = Field(max_length=300, pattern=r"^[ -~]*$", description="Host and process id.")


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What a lease is to keep: backups of ``shard``, and archived transactions outside of ``gtids_from``."""

    shard: str
    kind: LeaseKind
    labels: tuple[str, ...]
    gtids_from: GtidSet | None = None


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
    ttl_seconds: int = TTL_SECONDS,
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
) -> Generator[HeldLease]:
    """Keep what ``terms`` name from being pruned until the block is left.

    A thread takes the lease, renews it at a third of its ``ttl_seconds``, and releases it; what the store
    refuses or does not answer never ends the work, and ``check`` tells of it. The block begins when the store
    has answered once, and half a minute later at the latest. ``wait`` waits for the event, or so many
    seconds, and tells whether it is set.
    """
    lease = HeldLease(repository, terms, clock or SystemClock(), ttl_seconds=ttl_seconds)
    answered, ended = threading.Event(), threading.Event()
    # A store that has just gone away may take minutes to say so: nobody who only reads waits for that.
    keeper = threading.Thread(target=_keep, args=(lease, answered, ended, wait), name="lease", daemon=True)
    keeper.start()
    try:
        answered.wait(_PATIENCE_SECONDS)
        yield lease
    finally:
        ended.set()
        keeper.join(_PATIENCE_SECONDS)


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


class HeldLease:
    """A lease that somebody holds: take it, renew it, release it. Thread-safe; only ``check`` raises.

    ``terms``: what it says.
    """

    def __init__(
        self, repository: Repository, terms: LeaseTerms, clock: Clock, *, ttl_seconds: int = TTL_SECONDS
    ) -> None:
        self.terms = terms
        self.token = secrets.token_hex(8)
        self._repository = repository
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._lock = threading.Lock()
        self._next = 0
        self._there: list[str] = []
        self._may_delete = True
        self._ends_at: float | None = None
        self._refusal: ToolError | None = None
        self._problem: ToolError | None = None
        self._is_lost = False
        self._applied: GtidSet | None = None
        self._next_from: GtidSet | None = None

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next try to renew it."""
        return self._ttl_seconds / (3 if self._problem is None else 30)

    @property
    def without(self) -> str | None:
        """Why there is no lease: who may not write there does without."""
        if self._ends_at is not None:
            return None
        because = self._refusal or self._problem
        return because.message if because else "the store has not answered yet"

    def take(self) -> bool:
        """Put the first object. False if the store will not have it, whenever it is asked."""
        try:
            self._repository.check_may("write")
        except FormatUnsupported as error:
            self._refusal = error
            return False
        return self.renew()

    def renew(self) -> bool:
        """Put the next object, and let the one before go. False when there is nothing to renew any more."""
        with self._lock:
            if self._is_lost or self._is_over():
                self._is_lost = True
                return False
            terms = self.terms
            if self._next_from is not None:
                terms = replace(terms, gtids_from=self._next_from)
            if not self._try_to_put(terms):
                return self._refusal is None
            self.terms, self._next_from = terms, self._applied
            self._delete(self._there[:-1])
            return not self._is_lost

    def change(self, terms: LeaseTerms) -> None:
        """Say something else, at once; where the store does not answer, with the next renewal."""
        with self._lock:
            self.terms, self._next_from = terms, None
            if self._refusal is None and not self._is_lost and self._try_to_put(terms):
                self._delete(self._there[:-1])

    def move_on(self, applied: GtidSet) -> None:
        """Transactions in ``applied`` are no longer needed. Asks the store nothing, never waits.

        It is said with the second renewal from now: by then a crash no longer takes them back.
        """
        self._applied = applied

    def check(self) -> None:
        """Raise ``StoreUnreachable`` if the lease was lost, or is about to be.

        For who is about to make lasting what rests on the lease. Asks the store nothing.
        """
        if self._refusal is not None:
            return
        if self._ends_at is not None and not (self._is_lost or self._is_over(self._ttl_seconds / 10)):
            return
        because = self._problem.message if self._problem else "this process stood still"
        raise StoreUnreachable(
            f"the lease on {', '.join(self.terms.labels) or self.terms.shard} could not be renewed within "
            f"{duration(self._ttl_seconds)}: {because}",
            hint="What it rests on may be pruned by now; start again.",
        )

    def release(self) -> None:
        """Delete what is there of it, as far as that is allowed; the rest is over by itself."""
        with self._lock:
            self._is_lost = True
            self._delete(self._there)

    def _try_to_put(self, terms: LeaseTerms) -> bool:
        try:
            self._put(terms)
        except ToolError as error:
            self._problem = error
            # Rights that are taken away later may come back before the lease is over.
            if self._ends_at is None and not error.retryable:
                self._refusal = error
            return False
        self._problem = None
        return True

    def _put(self, terms: LeaseTerms) -> None:
        document = _document(terms, self._ttl_seconds)
        while True:
            began = self._clock.monotonic()
            name = layout.lease(terms.shard, self.token, self._next)
            self._next += 1
            # Also what failed may have been heard.
            self._there.append(name)
            try:
                self._repository.store.put(name, document)
                break
            except ObjectExists:
                continue
        # One that came when the one before was over takes up what others did not see any more.
        self._is_lost = self._is_lost or self._is_over()
        self._ends_at = began + self._ttl_seconds

    def _is_over(self, margin_seconds: float = 0.0) -> bool:
        return self._ends_at is not None and self._clock.monotonic() + margin_seconds >= self._ends_at

    def _delete(self, names: Sequence[str]) -> None:
        for name in tuple(names):
            if not self._may_delete:
                return
            try:
                self._repository.store.delete(name)
                self._there.remove(name)
            except (StoreDenied, ObjectLocked):
                self._may_delete = False
            except ToolError:
                return


def _document(terms: LeaseTerms, ttl_seconds: int) -> bytes:
    document = LeaseDocument(
        kind=terms.kind,
        labels=terms.labels,
        gtids_from=str(terms.gtids_from) if terms.gtids_from is not None else None,
        ttl_seconds=ttl_seconds,
        told_by=_this_process(),
    )
    return document.model_dump_json().encode()


def _this_process() -> str:
    host = re.sub(r"[^!-~]", "?", socket.gethostname())
    return f"{host[:200]}:{os.getpid()}"
