"""A wrapper that tries again what may succeed later."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from fleet.clock import Clock, SystemClock
from fleet.errors import ObjectExists, ObjectMissing, ToolError
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

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait between tries, and when to give up.

    Each wait is random between 0 and a limit (full jitter: threads that failed together do not come back
    together); the limit starts at ``first_delay_seconds`` and doubles up to ``longest_delay_seconds``. An
    operation is given up ``deadline_seconds`` after its first try began. Until the store has answered for the
    first time ``first_contact_seconds`` holds instead: a store that nobody has reached yet is more likely
    misspelt than down.
    """

    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 30.0
    deadline_seconds: float = 600.0
    first_contact_seconds: float = 20.0


@dataclass
class _Tries:
    """One operation: when it began, by the monotonic clock, and how often it failed."""

    operation: str
    began: float
    failures: int = 0


class Retrying:
    """Repeats what fails with a retryable error, until the policy's deadline.

    ``on_retry`` is told operation, error and seconds to wait, before each wait. ``chance`` gives numbers from
    0 to 1.
    """

    def __init__(
        self,
        inner: Store,
        policy: RetryPolicy | None = None,
        clock: Clock | None = None,
        *,
        on_retry: Callable[[str, ToolError, float], None] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._policy = policy or RetryPolicy()
        self._clock: Clock = clock or SystemClock()
        self._on_retry = on_retry
        self._chance = chance
        self._has_answered = False

    @property
    def properties(self) -> Properties:
        return self._repeat("properties", lambda _: self._inner.properties)

    @property
    def lock(self) -> LockTerms | None:
        return self._inner.lock

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        def once(failures: int) -> Stored:
            try:
                return self._inner.put(key, data, if_absent=if_absent, sha256=sha256)
            except ObjectExists:
                # An earlier try may have stored it, and only its answer was lost.
                if failures and self._holds(key, data):
                    return Stored(memoryview(data).nbytes, sha256, None)
                raise

        return self._repeat("put", once)

    def get(self, key: str) -> bytes:
        return self._repeat("get", lambda _: self._inner.get(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self._repeat("get_range", lambda _: self._inner.get_range(key, offset, length))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return all_pages(self, prefix)

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        return self._repeat("list", lambda _: self._inner.list_page(prefix, token))

    def stat(self, key: str) -> ObjectInfo:
        return self._repeat("stat", lambda _: self._inner.stat(key))

    def delete(self, key: str) -> None:
        self._repeat("delete", lambda _: self._inner.delete(key))

    def prolong(self, key: str, until: datetime) -> None:
        self._repeat("prolong", lambda _: self._inner.prolong(key, until))

    def locked_until(self, key: str) -> datetime | None:
        return self._repeat("locked_until", lambda _: self._inner.locked_until(key))

    def describe(self) -> str:
        return self._inner.describe()

    def _repeat(self, operation: str, once: Callable[[int], Answer]) -> Answer:
        """Call ``once`` with the number of failures so far until it returns or patience ends."""
        tries = self._begin(operation)
        while True:
            try:
                answer = once(tries.failures)
            except ToolError as error:
                if not error.retryable:
                    self._has_answered = True
                    # Raised here: a frame that holds what it raises would be kept alive by it, and with that
                    # frame all that its callers hold.
                    raise
                self._wait(tries, error)
            else:
                self._has_answered = True
                return answer

    def _holds(self, key: str, data: Buffer) -> bool:
        try:
            same_size = self._inner.stat(key).size == memoryview(data).nbytes
            return same_size and self._inner.get(key) == data
        except ObjectMissing:
            return False

    def _begin(self, operation: str) -> _Tries:
        return _Tries(operation, self._clock.monotonic())

    def _wait(self, tries: _Tries, error: ToolError) -> None:
        """Sleep before the next try, or raise what there is when patience ends."""
        policy = self._policy
        limit = policy.first_delay_seconds * 2 ** min(tries.failures, 30)
        delay = self._chance() * min(limit, policy.longest_delay_seconds)
        tries.failures += 1
        elapsed = self._clock.monotonic() - tries.began
        patience = policy.deadline_seconds if self._has_answered else policy.first_contact_seconds
        if elapsed + delay > patience:
            raise type(error)(
                f"{error.message} (tried {tries.failures} times in {elapsed:.0f} s)", hint=error.hint
            ) from error
        if self._on_retry is not None:
            self._on_retry(tries.operation, error, delay)
        self._clock.sleep(delay)
