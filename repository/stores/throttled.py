"""A wrapper that keeps to a rate, so that a backup leaves room on the network for others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime

from fleet.clock import Clock, SystemClock
from repository.stores.interface import Buffer, LockTerms, ObjectInfo, Page, Properties, Store, Stored

# A thread books this much of the future at a time: large objects of one do not hold up small ones of another.
_STEP_SECONDS = 0.05
# Time that nobody used may be caught up, but no more than this.
_CATCH_UP_SECONDS = 0.25


class TokenBucket:
    """``bytes_per_second`` for all threads together."""

    def __init__(self, bytes_per_second: float, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self.set_rate(bytes_per_second)
        self._booked_until = self._clock.monotonic() - _CATCH_UP_SECONDS

    def set_rate(self, bytes_per_second: float) -> None:
        """From now on, for those who wait already, too. Raises ``ValueError`` unless it is above zero."""
        if bytes_per_second <= 0:
            raise ValueError(f"not a rate: {bytes_per_second} bytes a second")
        with self._lock:
            self._rate = bytes_per_second
            self._step = max(1, int(bytes_per_second * _STEP_SECONDS))

    def take(self, size: int) -> None:
        """Return when ``size`` more bytes may pass."""
        while size > 0:
            step = min(size, self._step)
            wait = self._book(step)
            if wait > 0:
                self._clock.sleep(wait)
            size -= step

    def _book(self, size: int) -> float:
        """Seconds to wait for ``size`` bytes, perhaps below zero; they are the caller's now."""
        with self._lock:
            now = self._clock.monotonic()
            start = max(self._booked_until, now - _CATCH_UP_SECONDS)
            self._booked_until = start + size / self._rate
            return self._booked_until - now


class Throttled:
    """Puts and gets share ``bytes_per_second``; what carries no data passes freely.

    Objects go out whole, so the rate holds over objects and not within one: a put waits until its bytes are
    allowed and then sends them at once; a get, whose size is not known before, pays afterwards. With a
    ``TokenBucket`` in place of the rate, others may share that, and change it.
    """

    def __init__(self, inner: Store, rate: int | TokenBucket, clock: Clock | None = None) -> None:
        self._inner = inner
        self._bucket = rate if isinstance(rate, TokenBucket) else TokenBucket(rate, clock)

    @property
    def properties(self) -> Properties:
        return self._inner.properties

    @property
    def lock(self) -> LockTerms | None:
        return self._inner.lock

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        self._bucket.take(memoryview(data).nbytes)
        return self._inner.put(key, data, if_absent=if_absent, sha256=sha256)

    def get(self, key: str) -> bytes:
        data = self._inner.get(key)
        self._bucket.take(len(data))
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self._bucket.take(length)
        return self._inner.get_range(key, offset, length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        return self._inner.list_page(prefix, token)

    def stat(self, key: str) -> ObjectInfo:
        return self._inner.stat(key)

    def delete(self, key: str) -> None:
        self._inner.delete(key)

    def prolong(self, key: str, until: datetime) -> None:
        self._inner.prolong(key, until)

    def locked_until(self, key: str) -> datetime | None:
        return self._inner.locked_until(key)

    def describe(self) -> str:
        return self._inner.describe()
