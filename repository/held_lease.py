"""A lease that somebody holds: taken, renewed, released (FORMAT.md, section 14, rule 4)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from fleet.clock import Clock
from fleet.errors import (
    FormatUnsupported,
    ObjectLocked,
    StoreDenied,
    StoreUnreachable,
    ToolError,
)
from fleet.figures import duration
from fleet.gtid import GtidSet
from fleet.process import host_and_pid
from repository import layout
from repository.manifest import GtidText
from repository.repository import Repository
from repository.seal import FORMAT_NUMBER

LeaseKind: TypeAlias = Literal["backup", "restore", "standby", "drill", "mirror", "verify"]

TTL_SECONDS = 900

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


class HeldLease:
    """A lease that somebody holds: take it, renew it, release it. Thread-safe; only ``check`` raises.

    ``terms``: what it says.
    """

    def __init__(
        self, repository: Repository, terms: LeaseTerms, clock: Clock, *, ttl_seconds: int = TTL_SECONDS
    ) -> None:
        self.terms = self._soon = self._wanted = terms
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
        """Put the next object, and let the one before go. False if the store will have none, ever.

        A lease that is over stays lost for ``check``; who goes on all the same begins another one.
        """
        with self._lock:
            if self._is_over():
                self._is_lost = True
                self.token, self._next, self._ends_at = secrets.token_hex(8), 0, None
            if not self._try_to_put(self._soon):
                return self._refusal is None
            self.terms, self._soon = self._soon, self._wanted
            self._delete(self._there[:-1])
            return True

    def narrow(self, *, labels: tuple[str, ...] | None = None, gtids_from: GtidSet | None = None) -> None:
        """Less is needed from now on. Asks the store nothing, never waits.

        It is said with the second renewal from now: by then no crash of a replaying server takes it back.
        """
        wanted = self._wanted if labels is None else replace(self._wanted, labels=labels)
        self._wanted = wanted if gtids_from is None else replace(wanted, gtids_from=gtids_from)

    def check(self) -> None:
        """Raise ``StoreUnreachable`` if the lease was lost, or is about to be and cannot be renewed.

        For who is about to make lasting what rests on the lease. Who has little time left renews it now, and
        waits for the store as long as that takes.
        """
        if self._refusal is not None or self._is_safe() or (self.renew() and self._is_safe()):
            return
        subject = f"the lease on {', '.join(self.terms.labels) or self.terms.shard} could not be"
        because = self._problem.message if self._problem else "this process stood still"
        raise StoreUnreachable(
            f"{subject} taken: {self.without}"
            if self._ends_at is None and not self._is_lost
            else f"{subject} renewed within {duration(self._ttl_seconds)}: {because}",
            hint="What it rests on may be pruned by now; start again.",
        )

    def release(self) -> None:
        """Delete what is there of it, as far as that is allowed; the rest is over by itself."""
        with self._lock:
            self._delete(self._there)

    def _try_to_put(self, terms: LeaseTerms) -> bool:
        try:
            self._put(terms)
        except ToolError as error:
            self._problem = error
            # Rights that are taken away later may come back before the lease is over.
            if self._ends_at is None and not self._is_lost and not error.retryable:
                self._refusal = error
            return False
        self._problem = None
        return True

    def _put(self, terms: LeaseTerms) -> None:
        document = _document(terms, self._ttl_seconds)
        began = self._clock.monotonic()
        name = layout.lease(terms.shard, self.token, self._next)
        # A put that failed may have been heard: its number is not used again.
        self._next += 1
        self._there.append(name)
        self._repository.store.put(name, document)
        # One that came when the one before was over takes up what others did not see any more.
        self._is_lost = self._is_lost or self._is_over()
        self._ends_at = began + self._ttl_seconds

    def _is_safe(self) -> bool:
        return self._ends_at is not None and not self._is_lost and not self._is_over(self._ttl_seconds / 10)

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
        told_by=host_and_pid(),
    )
    return document.model_dump_json().encode()
