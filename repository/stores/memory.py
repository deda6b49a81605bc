"""A store in memory: for tests, and the plainest reading of what the interface means."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from fleet.clock import Clock, SystemClock
from fleet.errors import ObjectExists, ObjectLocked, ObjectMissing
from repository.stores.interface import (
    Buffer,
    LockTerms,
    ObjectInfo,
    Page,
    Properties,
    Stored,
    all_pages,
    check_agrees,
    check_key,
    check_length,
    check_prefix,
    check_range,
    whole_second_after,
)


class _Kept(NamedTuple):
    data: bytes
    modified_at: datetime
    locked_until: datetime | None


class MemoryStore:
    """Objects in a dictionary; gone with the process. With ``lock``, what it covers is locked from birth."""

    def __init__(self, clock: Clock | None = None, *, lock: LockTerms | None = None) -> None:
        self.lock = lock
        self.properties = Properties(conditional_put=True, object_lock=lock is not None, versioned=False)
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._objects: dict[str, _Kept] = {}

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        check_key(key)
        check_agrees(key, data, sha256)
        now = self._clock.now()
        kept = _Kept(bytes(data), now, self.lock.until(key, now) if self.lock else None)
        with self._lock:
            if if_absent and key in self._objects:
                raise ObjectExists(f"{key} exists already in {self.describe()}")
            self._objects[key] = kept
        return Stored(len(kept.data), sha256, None)

    def get(self, key: str) -> bytes:
        return self._kept(key).data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        check_range(offset, length)
        if length == 0:
            return b""
        part = self._kept(key).data[offset : offset + length]
        check_length(key, offset, length, len(part))
        return part

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return all_pages(self, prefix)

    def list_page(self, prefix: str, token: str | None = None) -> Page:  # noqa: ARG002 - there is but one
        check_prefix(prefix)
        with self._lock:
            found = sorted(
                ObjectInfo(key, len(kept.data), kept.modified_at)
                for key, kept in self._objects.items()
                if key.startswith(prefix)
            )
        return Page(found, None)

    def stat(self, key: str) -> ObjectInfo:
        kept = self._kept(key)
        return ObjectInfo(key, len(kept.data), kept.modified_at)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            kept = self._objects.get(key)
            if kept is not None and kept.locked_until is not None and kept.locked_until > self._clock.now():
                raise ObjectLocked(f"{key} is locked until {kept.locked_until}", until=kept.locked_until)
            self._objects.pop(key, None)

    def prolong(self, key: str, until: datetime) -> None:
        if self.lock is None or not self.lock.covers.fullmatch(key):
            return
        kept, until = self._kept(key), whole_second_after(until)
        with self._lock:
            if kept.locked_until is None or kept.locked_until < until:
                self._objects[key] = kept._replace(locked_until=until)

    def locked_until(self, key: str) -> datetime | None:
        return self._kept(key).locked_until if self.lock else None

    def describe(self) -> str:
        return "memory:"

    def _kept(self, key: str) -> _Kept:
        check_key(key)
        with self._lock:
            kept = self._objects.get(key)
        if kept is None:
            raise ObjectMissing(f"{key} is not in {self.describe()}")
        return kept
