"""A wrapper that counts what is asked of a store, and how long it takes."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from fleet.clock import Clock, SystemClock
from fleet.errors import ToolError
from repository.stores.interface import (
    Buffer,
    LockTerms,
    ObjectInfo,
    Page,
    Properties,
    Store,
    Stored,
    all_pages,
)


@dataclass
class OperationCounts:
    """One operation, over all threads.

    ``requests``: calls, the failed ones included. ``failures``: those that raised. ``retries``: those that
    were made again. ``bytes``: data put or got by the calls that succeeded. ``seconds``: time inside the
    store, summed over threads, so it may pass faster than the clock.
    """

    requests: int = 0
    failures: int = 0
    retries: int = 0
    bytes: int = 0
    seconds: float = 0.0


class StoreCounts:
    """Counts by operation: ``put``, ``get``, ``list`` and so on, by the names of the interface's methods."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, OperationCounts] = {}

    def snapshot(self) -> dict[str, OperationCounts]:
        """A copy of what was counted until now; operations that never ran are not in it."""
        with self._lock:
            return {operation: replace(counts) for operation, counts in self._counts.items()}

    def record(self, operation: str, *, size: int, seconds: float, failed: bool) -> None:
        """Count one call."""
        with self._lock:
            counts = self._counts.setdefault(operation, OperationCounts())
            counts.requests += 1
            counts.failures += failed
            counts.bytes += size
            counts.seconds += seconds

    def record_retry(self, operation: str, _error: ToolError, _delay: float) -> None:
        """Count one retry; fits ``Retrying``'s ``on_retry``."""
        with self._lock:
            self._counts.setdefault(operation, OperationCounts()).retries += 1


@dataclass
class _Call:
    size: int = 0


class Counting:
    """Counts into ``counts``, which its maker reads while the store works."""

    def __init__(self, inner: Store, counts: StoreCounts | None = None, clock: Clock | None = None) -> None:
        self.counts = counts or StoreCounts()
        self._inner = inner
        self._clock: Clock = clock or SystemClock()

    @property
    def properties(self) -> Properties:
        return self._inner.properties

    @property
    def lock(self) -> LockTerms | None:
        return self._inner.lock

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        with self._counted("put") as call:
            stored = self._inner.put(key, data, if_absent=if_absent, sha256=sha256)
            call.size = stored.size
        return stored

    def get(self, key: str) -> bytes:
        with self._counted("get") as call:
            data = self._inner.get(key)
            call.size = len(data)
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        with self._counted("get_range") as call:
            data = self._inner.get_range(key, offset, length)
            call.size = len(data)
        return data

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return all_pages(self, prefix)

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        with self._counted("list"):
            return self._inner.list_page(prefix, token)

    def stat(self, key: str) -> ObjectInfo:
        with self._counted("stat"):
            return self._inner.stat(key)

    def delete(self, key: str) -> None:
        with self._counted("delete"):
            self._inner.delete(key)

    def prolong(self, key: str, until: datetime) -> None:
        with self._counted("prolong"):
            self._inner.prolong(key, until)

    def locked_until(self, key: str) -> datetime | None:
        with self._counted("locked_until"):
            return self._inner.locked_until(key)

    def describe(self) -> str:
        return self._inner.describe()

    @contextmanager
    def _counted(self, operation: str) -> Generator[_Call]:
        call, failed = _Call(), True
        began = self._clock.monotonic()
        try:
            yield call
            failed = False
        finally:
            seconds = self._clock.monotonic() - began
            self.counts.record(operation, size=call.size, seconds=seconds, failed=failed)
