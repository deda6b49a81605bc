"""A wrapper that goes slower when the store asks for that, and finds out how fast it may go again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime

from fleet.clock import Clock, SystemClock
from fleet.errors import StoreUnreachable
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
from repository.stores.throttled import TokenBucket

SLOWEST_BYTES_PER_SECOND = 1_000_000.0

_WINDOW_SECONDS = 10.0
# Threads that were at it together are refused together: that is one answer, not many.
_ONE_ANSWER_SECONDS = 1.0
# So long it takes from half of a rate to the whole.
_RECOVERY_SECONDS = 20.0


class Pace:
    """A rate that halves at each refusal and grows evenly in between: what many senders share fairly.

    There is none before the first refusal, and none again once it has grown to twice what was measured then.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._passed: deque[tuple[float, int]] = deque()
        self._bucket: TokenBucket | None = None
        self._limit = self._start = self._growth = 0.0
        self._refused_at = self._grown_at = float("-inf")

    @property
    def limit(self) -> float | None:
        """Bytes a second; None: as fast as it goes."""
        return self._limit if self._bucket is not None else None

    def wait(self, size: int) -> None:
        """Return when ``size`` bytes may be sent."""
        with self._lock:
            bucket = self._grown()
        if bucket is not None:
            bucket.take(size)

    def passed(self, size: int) -> None:
        """So many bytes came through."""
        now = self._clock.monotonic()
        with self._lock:
            self._passed.append((now, size))
            self._forget(now)

    def refused(self) -> None:
        """The store asks for less."""
        now = self._clock.monotonic()
        with self._lock:
            if now - self._refused_at < _ONE_ANSWER_SECONDS:
                return
            self._refused_at = now
            measured = self._measured(now)
            before = measured if self._bucket is None else min(self._limit, max(measured, self._limit / 2))
            if before <= 0:
                return
            self._limit = max(before / 2, SLOWEST_BYTES_PER_SECOND)
            self._growth = self._limit / _RECOVERY_SECONDS
            self._grown_at = now
            if self._bucket is None:
                self._start = max(before, SLOWEST_BYTES_PER_SECOND)
                self._bucket = TokenBucket(self._limit, self._clock)
            else:
                self._bucket.set_rate(self._limit)

    def _grown(self) -> TokenBucket | None:
        if self._bucket is None:
            return None
        now = self._clock.monotonic()
        self._limit += self._growth * (now - self._grown_at)
        self._grown_at = now
        if self._limit >= 2 * self._start:
            self._bucket = None
        else:
            self._bucket.set_rate(self._limit)
        return self._bucket

    def _measured(self, now: float) -> float:
        self._forget(now)
        if not self._passed:
            return 0.0
        return sum(size for _, size in self._passed) / max(now - self._passed[0][0], 1.0)

    def _forget(self, now: float) -> None:
        while self._passed and self._passed[0][0] < now - _WINDOW_SECONDS:
            self._passed.popleft()


class Yielding:
    """Puts and gets go at the ``pace`` that the store's refusals (``503 SlowDown`` and the like) leave."""

    def __init__(self, inner: Store, clock: Clock | None = None) -> None:
        self._inner = inner
        self.pace = Pace(clock or SystemClock())

    @property
    def properties(self) -> Properties:
        return self._inner.properties

    @property
    def lock(self) -> LockTerms | None:
        return self._inner.lock

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        size = memoryview(data).nbytes
        self.pace.wait(size)
        with self._listening():
            stored = self._inner.put(key, data, if_absent=if_absent, sha256=sha256)
        self.pace.passed(size)
        return stored

    def get(self, key: str) -> bytes:
        with self._listening():
            data = self._inner.get(key)
        self.pace.passed(len(data))
        self.pace.wait(len(data))
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.pace.wait(length)
        with self._listening():
            data = self._inner.get_range(key, offset, length)
        self.pace.passed(length)
        return data

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return all_pages(self, prefix)

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        with self._listening():
            return self._inner.list_page(prefix, token)

    def stat(self, key: str) -> ObjectInfo:
        with self._listening():
            return self._inner.stat(key)

    def delete(self, key: str) -> None:
        with self._listening():
            self._inner.delete(key)

    def prolong(self, key: str, until: datetime) -> None:
        with self._listening():
            self._inner.prolong(key, until)

    def locked_until(self, key: str) -> datetime | None:
        with self._listening():
            return self._inner.locked_until(key)

    def describe(self) -> str:
        return self._inner.describe()

    @contextmanager
    def _listening(self) -> Generator[None]:
        try:
            yield
        except StoreUnreachable as error:
            if error.asks_for_less:
                self.pace.refused()
            raise
