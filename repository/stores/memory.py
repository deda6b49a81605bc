"""A store in memory: for tests, and the plainest reading of what the interface means."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from fleet.clock import Clock, SystemClock
from fleet.errors import ObjectExists, ObjectMissing
from repository.stores.interface import (
    Buffer,
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
)


class _Kept(NamedTuple):
    data: bytes
    modified_at: datetime


class MemoryStore:
    """Objects in a dictionary; gone with the process."""

    properties = Properties(conditional_put=True, object_lock=False, versioned=False)

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._objects: dict[str, _Kept] = {}

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        check_key(key)
        check_agrees(key, data, sha256)
        kept = _Kept(bytes(data), self._clock.now())
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
            self._objects.pop(key, None)

    def describe(self) -> str:
        return "memory:"

    def _kept(self, key: str) -> _Kept:
        check_key(key)
        with self._lock:
            kept = self._objects.get(key)
        if kept is None:
            raise ObjectMissing(f"{key} is not in {self.describe()}")
        return kept
