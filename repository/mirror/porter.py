"""One object from the repository into the mirror: read, checked, put, confirmed. Only bytes move."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from fleet.errors import Cancelled, MirrorParted, ObjectDamaged, ObjectExists, ObjectMissing
from repository.seal import HEADER_BYTES, MAGIC, damaged
from repository.stores.interface import Store

Check: TypeAlias = Callable[[bytes], None]
"""Raises ``ObjectDamaged`` if these are not the bytes of the object that is meant."""

HEAD_BYTES = 4096
"""A sealed object begins with a data key of its own, so two that were written apart differ in here; a
document in clear is not longer."""


_SAME_BYTES = 16
"""So many equal bytes in the same place are no chance: the seal of each object looks like noise."""


class Carried(NamedTuple):
    """Objects that were copied and confirmed, and their bytes."""

    objects: int = 0
    bytes: int = 0


class Porter:
    """Carries objects from ``source`` to ``target``. Thread-safe.

    ``hands`` objects at most are in memory at a time, however many threads come. With ``repair`` a damaged
    copy is deleted and put again; without, it is refused. Once ``cancelled`` is set, no object is begun:
    ``Cancelled``. ``before_put`` raises if nothing may be put any more.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        *,
        hands: int,
        repair: bool = False,
        cancelled: threading.Event | None = None,
        before_put: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._hands = threading.BoundedSemaphore(hands)
        self._repair = repair
        self._cancelled = cancelled or threading.Event()
        self._before_put = before_put or (lambda: None)
        self._lock = threading.Lock()
        self._carried = Carried()
        self._compared = 0

    @property
    def carried(self) -> Carried:
        """What was put until now."""
        with self._lock:
            return self._carried

    @property
    def compared(self) -> int:
        """Bytes of the target that were read whole until now."""
        with self._lock:
            return self._compared

    def carry(self, name: str, check: Check) -> bool:
        """Copy one object. True: it is stored and confirmed now. False: the very same was there.

        Raises ``ObjectMissing`` if the source does not have it, ``ObjectDamaged`` if the source's is not what
        ``check`` wants, or the copy that is there is damaged, ``MirrorParted`` if another object is there.
        """
        with self._hands:
            self._must_go_on()
            data = self._source.get(name)
            check(data)
            digest = hashlib.sha256(data).digest()
            self._before_put()
            try:
                self._target.put(name, data, sha256=digest)
            except ObjectExists:
                if self._is_same(name, data):
                    return False
                self._target.delete(name)
                self._target.put(name, data, sha256=digest)
        self._count(data)
        return True

    def mend(self, name: str, sha256: str, check: Check) -> bool:
        """Read what the mirror holds, and copy the object again unless it is that of ``sha256`` (hex).

        For objects that a manifest names which is the same in both places: whatever else is there is damage,
        and never another's work. True if it was put. Raises ``ObjectMissing``, ``ObjectDamaged`` of the
        source's, and what the stores raise.
        """
        with self._hands:
            self._must_go_on()
            try:
                there = self._read(name)
            except ObjectMissing:
                there = None
            if there is not None and hashlib.sha256(there).hexdigest() == sha256:
                return False
            data = self._source.get(name)
            check(data)
            self._before_put()
            if there is not None:
                self._target.delete(name)
            self._target.put(name, data, sha256=hashlib.sha256(data).digest())
        self._count(data)
        return True

    def is_there(self, name: str, size: int, check: Check) -> bool:
        """Does the mirror hold it already, told by size and first bytes? Asks by name: a list may be behind.

        A damaged copy is not there with ``repair``. Else raises ``ObjectDamaged`` for it, and
        ``MirrorParted``; but where the two differ, first what ``check`` raises of the source's: a copy is
        blamed only beside a source that is sound.
        """
        try:
            there = self._target.stat(name).size
        except ObjectMissing:
            return False
        length = min(size, there, HEAD_BYTES)
        heads = [store.get_range(name, 0, length) for store in (self._source, self._target)]
        if heads[0] == heads[1] and size == there:
            return True
        with self._hands:
            data = self._source.get(name)
            check(data)
            # What is left of a copy whose beginning is damaged may lie behind it.
            is_apart = heads[0] != heads[1] and _are_apart(data, self._target.get(name))
        if is_apart:
            raise _parted(name, self._source, self._target)
        if not self._repair:
            what = (
                "it begins with other bytes"
                if size == there
                else f"it has {there} bytes, and should have {size}"
            )
            raise _copy_damaged(name, what, self._target)
        return False

    def _must_go_on(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("mirroring was stopped", hint="The next run goes on from here.")

    def _read(self, name: str) -> bytes:
        there = self._target.get(name)
        with self._lock:
            self._compared += len(there)
        return there

    def _count(self, data: bytes) -> None:
        with self._lock:
            self._carried = Carried(self._carried.objects + 1, self._carried.bytes + len(data))

    def _is_same(self, name: str, data: bytes) -> bool:
        """Are these the bytes that are there? False for a damaged copy that is to be repaired."""
        there = self._read(name)
        if there == data:
            return True
        if _are_apart(data, there):
            raise _parted(name, self._source, self._target)
        if not self._repair:
            raise _copy_damaged(name, "it does not hold the bytes of the repository's", self._target)
        return False


def exactly(name: str, size: int, sha256: str) -> Check:
    """The bytes that an index part or a manifest names. ``sha256`` in hex."""

    def check(data: bytes) -> None:
        if len(data) != size:
            raise damaged(name, f"it has {len(data)} bytes, and {size} are named")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damaged(name, "its SHA-256 is not the one that is named")

    return check


def _are_apart(ours: bytes, theirs: bytes) -> bool:
    """Were the two written apart, and is neither a damaged copy of the other?

    Sealed objects that were written apart have data keys of their own, in the header, and agree in nothing
    behind it. Where the header alone differs, it is damaged.
    """
    is_sealed = ours[: len(MAGIC)] == MAGIC
    length = min(HEADER_BYTES if is_sealed else HEAD_BYTES, len(ours), len(theirs))
    if ours[:length] == theirs[:length] or not is_sealed:
        return ours[:length] != theirs[:length]
    end = min(len(ours), len(theirs)) - _SAME_BYTES
    places = range(HEADER_BYTES, end + 1, _SAME_BYTES)
    return not any(ours[at : at + _SAME_BYTES] == theirs[at : at + _SAME_BYTES] for at in places)


def _parted(name: str, source: Store, target: Store) -> MirrorParted:
    return MirrorParted(
        f"{name} is one object in {source.describe()} and another in {target.describe()}",
        hint="Both were written to, and nothing is overwritten: choose one, and mirror it to a new place.",
    )


def _copy_damaged(name: str, what: str, target: Store) -> ObjectDamaged:
    return ObjectDamaged(
        f"{name} in {target.describe()} is a damaged copy: {what}",
        hint="To copy it again: backstay mirror run --once --recheck",
    )
