"""Leases: who is at work names what it needs, and pruning leaves that alone (FORMAT.md, section 14, rule 4).

They stand in clear text and nothing vouches for them: a lease can only make pruning keep more. One ends by
itself when nobody renews it, so who is killed holds nothing up for long.
"""

from __future__ import annotations

import os
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
    StoreFull,
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
_LET_GO_SECONDS = 10.0

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

    A thread renews the lease at a third of its ``ttl_seconds``. ``wait`` waits for the event, or so many
    seconds, and tells whether it is set. Who may not write goes on without a lease, and ``without`` says why.
    Raises what else the store raises.
    """
    lease = HeldLease(repository, terms, clock or SystemClock(), ttl_seconds=ttl_seconds)
    if not lease.take():
        yield lease
        return
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, ended, wait), name="lease", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        # The thread lets go, for a store that has just gone away may take minutes to say so.
        ended.set()
        keeper.join(_LET_GO_SECONDS)


def _keep(lease: HeldLease, ended: threading.Event, wait: Callable[[threading.Event, float], bool]) -> None:
    while not wait(ended, lease.pause_seconds):
        if not lease.renew():
            break
    lease.release()


class HeldLease:
    """A lease that somebody holds: take it, renew it, release it. Thread-safe.

    ``terms``: what it says. ``without``: why there is none, for who may not write.
    """

    def __init__(
        self, repository: Repository, terms: LeaseTerms, clock: Clock, *, ttl_seconds: int = TTL_SECONDS
    ) -> None:
        self.terms = terms
        self.token = secrets.token_hex(8)
        self.without: str | None = None
        self._repository = repository
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._lock = threading.Lock()
        self._next = 0
        self._there: list[str] = []
        self._may_delete = True
        self._ends_at: float | None = None
        self._problem: ToolError | None = None
        self._is_lost = False

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next try to renew it."""
        return self._ttl_seconds / (3 if self._problem is None else 30)

    def take(self) -> bool:
        """Put the first object. Tells whether there is a lease now; raises what a retry can cure."""
        try:
            self._repository.check_may("write")
            with self._lock:
                self._put()
        except (StoreDenied, StoreFull, FormatUnsupported) as error:
            self.without = error.message
        return self.without is None

    def renew(self) -> bool:
        """Put the next object, and let the one before go. False when the lease is lost."""
        with self._lock:
            if self._is_lost or self._is_over():
                self._is_lost = True
                return False
            try:
                self._put()
                self._problem = None
            except ToolError as error:
                self._problem = error
                return True
            self._delete(self._there[:-1])
            return not self._is_lost

    def change(self, terms: LeaseTerms) -> None:
        """Say something else from now on. Raises what the store raises; then the old terms hold."""
        if self.without is not None:
            return
        with self._lock:
            before, self.terms = self.terms, terms
            try:
                self._put()
            except ToolError:
                self.terms = before
                raise
            self._delete(self._there[:-1])

    def move_on(self, gtids_from: GtidSet) -> None:
        """Transactions in ``gtids_from`` are no longer needed: told when the lease is renewed next."""
        with self._lock:
            self.terms = replace(self.terms, gtids_from=gtids_from)

    def check(self) -> None:
        """Raise ``StoreUnreachable`` if the lease was lost, or is about to be.

        For who is about to make lasting what rests on the lease. Asks the store nothing.
        """
        if self.without is not None or not (self._is_lost or self._is_over(self._ttl_seconds / 10)):
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

    def _put(self) -> None:
        document = self._document()
        while True:
            began = self._clock.monotonic()
            name = layout.lease(self.terms.shard, self.token, self._next)
            self._next += 1
            # Also what failed may have been heard.
            self._there.append(name)
            try:
                self._repository.store.put(name, document)
                break
            except ObjectExists:
                continue
        # An object that came after the one before had ended takes up what others saw as over.
        self._is_lost = self._is_lost or self._is_over()
        self._ends_at = began + self._ttl_seconds

    def _is_over(self, margin_seconds: float = 0.0) -> bool:
        return self._ends_at is not None and self._clock.monotonic() + margin_seconds >= self._ends_at

    def _document(self) -> bytes:
        terms = self.terms
        return (
            LeaseDocument(
                kind=terms.kind,
                labels=terms.labels,
                gtids_from=str(terms.gtids_from) if terms.gtids_from is not None else None,
                ttl_seconds=self._ttl_seconds,
                told_by=_this_process(),
            )
            .model_dump_json()
            .encode()
        )

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


def _this_process() -> str:
    host = "".join(
        letter if letter.isascii() and letter.isprintable() else "?" for letter in socket.gethostname()
    )
    return f"{host[:200]}:{os.getpid()}"
