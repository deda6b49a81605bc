"""What a store must be: one narrow interface and its meanings. ``tests/contract`` holds every store to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, Protocol, TypeAlias

from fleet.errors import ObjectDamaged

Buffer: TypeAlias = bytes | bytearray | memoryview

# S3 ends at 1,024 bytes and OSS at 1,023, the prefix of the store included. A name in a folder ends at 255,
# and SeaweedFS appends to it in buckets with versioning.
LONGEST_KEY = 700
LONGEST_PART = 200

_KEY = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_PREFIX = re.compile(r"(?:[A-Za-z0-9._-]+/)*[A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Properties:
    """What this store can do, as far as it knows by now.

    ``conditional_put``: a put with ``if_absent`` is one atomic step of the store. Where it is false the store
    looks first and puts then: two writers in the same moment may both succeed, the later content staying.
    ``object_lock``: the store can refuse to delete an object before a date.
    ``versioned``: an overwritten or deleted object can be had back.
    """

    conditional_put: bool
    object_lock: bool
    versioned: bool


LockMode: TypeAlias = Literal["compliance", "governance"]


@dataclass(frozen=True)
class LockTerms:
    """How a store locks what is put: from birth, for ``duration``.

    ``covers``: the keys that are locked; all others never are. Before its date nobody can delete what is
    locked, or end the lock: in the mode ``compliance`` nobody at all, in ``governance`` nobody without a
    permission of its own for that.
    """

    mode: LockMode
    duration: timedelta
    covers: re.Pattern[str] = re.compile(r".*")

    def until(self, key: str, now: datetime) -> datetime | None:
        """Until when ``key`` is locked if it is put at ``now``, in whole seconds; None: not at all."""
        return whole_second_after(now + self.duration) if self.covers.fullmatch(key) else None


class Stored(NamedTuple):
    """A confirmed object: size in bytes, SHA-256 where it was given or computed, the store's own tag."""

    size: int
    sha256: bytes | None
    etag: str | None


class ObjectInfo(NamedTuple):
    """An object as the store lists it; ``modified_at`` is UTC, and by the store's clock, not by ours."""

    key: str
    size: int
    modified_at: datetime


class Page(NamedTuple):
    """A piece of a list: its objects, which may stream, and the token of the next piece or None."""

    objects: Iterable[ObjectInfo]
    token: str | None


class Store(Protocol):
    """Objects under keys. Every method may be called from many threads at once.

    Keys are parts joined by ``/``; see ``check_key``. A key is never the folder of another key: where ``a/b``
    exists nobody puts ``a``. A name in the place that is not a key was not put by us: it is neither listed
    nor touched.

    Errors of every method: ``StoreUnreachable`` (no answer, or "later": the only one that may be retried),
    ``StoreDenied`` (credentials, permissions, a read-only place). A key that is none raises ``ValueError``.
    A store tries once; retries, throttling and counting are wrappers with this same interface.
    """

    @property
    def properties(self) -> Properties:
        """What the store can do; may change once, when the first put shows what the server does."""
        ...

    @property
    def lock(self) -> LockTerms | None:
        """How this store was told to lock what is put; None: nothing is locked by us."""
        ...

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        """Store ``data`` under ``key``, locked from birth if ``lock`` covers it.

        With ``sha256`` (32 bytes, computed when the data was made) the store holds what the caller meant, or
        the put raises ``ObjectDamaged`` and stores nothing.

        Atomic: no reader ever sees, gets or lists half an object, and a put that raises leaves the old object
        or none. Durable and confirmed when it returns: it survives a loss of power, and size and checksum of
        what the store holds agree with ``data``.

        With ``if_absent`` an existing object is never touched: ``ObjectExists``, whatever its content; of
        many writers at once exactly one succeeds. ``StoreUnreachable`` leaves open whether the object was
        stored. Without room: ``StoreFull``.
        """
        ...

    def get(self, key: str) -> bytes:
        """The whole object, or ``ObjectMissing``. Reads what was put as soon as the put has returned."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from byte ``offset`` on, or ``ObjectMissing``.

        An object that ends earlier is shorter than somebody believes: ``ObjectDamaged``. A length of 0 gives
        no bytes and asks the store nothing.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key starts with the text ``prefix``, each once.

        The objects of one folder (their keys are equal up to the last ``/``) come sorted by key. The order of
        folders among each other is the store's own, and one folder may come between the objects of another:
        S3 sorts whole keys (``a-b/x`` before ``a/x``), others sort part by part, and SeaweedFS mixes both.

        Streams: memory does not grow with the number of objects, or as the names of one folder at most.
        Objects put or deleted meanwhile may or may not be listed; all others are.
        """
        ...

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        """The first piece of ``list``, or that which the ``token`` of the last piece stands for.

        What can be asked for again when it fails, so it is what wrappers go by; everyone else uses ``list``.
        """
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Size and time of one object, or ``ObjectMissing``."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; that it is not there is fine. Durable when it returns.

        Where the store keeps versions, all of them go, so that the room is free; an account that may not
        delete versions only hides the object. A lock that has not ended: ``ObjectLocked``, and the object
        stays as it is.
        """
        ...

    def prolong(self, key: str, until: datetime) -> None:
        """Lock an object until ``until`` (UTC), or leave a lock that lasts longer.

        Nothing where ``lock`` is None or does not cover it. ``ObjectMissing`` where there is no object.
        """
        ...

    def locked_until(self, key: str) -> datetime | None:
        """When the lock of an object ends (UTC), which may be over; None: it has none.

        ``ObjectMissing`` where there is no object. One request, of stores that have locks.
        """
        ...

    def describe(self) -> str:
        """Where this is, as a URL that never holds a secret."""
        ...


def all_pages(store: Store, prefix: str) -> Iterator[ObjectInfo]:
    """``list`` in terms of ``list_page``."""
    token = None
    while True:
        page = store.list_page(prefix, token)
        yield from page.objects
        if page.token is None:
            return
        token = page.token


def is_key(text: str) -> bool:
    """Is this a name that ``check_key`` lets pass?"""
    return _wrong_with_key(text) is None


def check_key(key: str) -> None:
    """Raise ``ValueError`` unless ``key`` is one or more parts of ``[A-Za-z0-9._-]``, none ``.`` or ``..``.

    Every store and every file system in use takes such names as they are, so no store has to escape anything,
    and no key can name a place outside of the store.
    """
    wrong = _wrong_with_key(key)
    if wrong is not None:
        raise ValueError(f"not a key: {key[:LONGEST_KEY]!r} {wrong}")


def check_prefix(prefix: str) -> None:
    """Raise ``ValueError`` unless some key could start with ``prefix``; all start with the empty one."""
    if not _PREFIX.fullmatch(prefix) or any(part in {".", ".."} for part in prefix.split("/")[:-1]):
        raise ValueError(f"no key can start with {prefix[:LONGEST_KEY]!r}")


def check_agrees(key: str, data: Buffer, sha256: bytes | None) -> None:
    """Raise ``ObjectDamaged`` when ``data`` is no longer what the caller computed ``sha256`` over."""
    if sha256 is None:
        return
    found = hashlib.sha256(data).digest()
    if found != sha256:
        raise ObjectDamaged(
            f"{key}: the data to store has SHA-256 {found.hex()}, and should have {sha256.hex()}",
            hint="The bytes changed in this machine's memory after they were made; test the memory.",
        )


def whole_second_after(at: datetime) -> datetime:
    """``at`` in UTC, up to the next whole second: dates of locks have no more, and must not be cut short."""
    at = at.astimezone(UTC)
    return at if at.microsecond == 0 else at.replace(microsecond=0) + timedelta(seconds=1)


def check_range(offset: int, length: int) -> None:
    """Raise ``ValueError`` for a range that no object could hold."""
    if offset < 0 or length < 0:
        raise ValueError(f"not a range: {length} bytes from byte {offset} on")


def check_length(key: str, offset: int, wanted: int, got: int) -> None:
    """Raise ``ObjectDamaged`` unless a range came back whole."""
    if got != wanted:
        raise ObjectDamaged(
            f"{key}: {wanted} bytes wanted from byte {offset} on, {got} received",
            hint="The object is shorter than the index says; run verify to see what else is damaged.",
        )


def _wrong_with_key(key: str) -> str | None:
    if not _KEY.fullmatch(key):
        return "has a character outside of A-Z a-z 0-9 . _ - /, or an empty part"
    if len(key) > LONGEST_KEY:
        return f"has {len(key)} characters, more than {LONGEST_KEY}"
    for part in key.split("/"):
        if part in {".", ".."}:
            return f"has the part {part!r}"
        if len(part) > LONGEST_PART:
            return f"has a part of {len(part)} characters, more than {LONGEST_PART}"
    return None
