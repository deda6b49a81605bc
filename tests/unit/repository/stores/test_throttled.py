from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fleet.clock import SystemClock
from repository.stores.memory import MemoryStore
from repository.stores.throttled import Throttled, TokenBucket

MIB = 1024 * 1024


def elapsed(clock: Any) -> float:
    return sum(clock.slept)


def test_puts_and_gets_keep_to_the_rate(clock: Any) -> None:
    store = Throttled(MemoryStore(), MIB, clock)
    store.put("a", bytes(4 * MIB))
    assert elapsed(clock) == pytest.approx(4, abs=0.3)
    assert len(store.get("a")) == 4 * MIB
    assert elapsed(clock) == pytest.approx(8, abs=0.3)
    assert len(store.get_range("a", 5, 2 * MIB)) == 2 * MIB
    assert elapsed(clock) == pytest.approx(10, abs=0.3)


def test_what_carries_no_data_is_free(clock: Any) -> None:
    store = Throttled(MemoryStore(), 1, clock)
    store.put("a", b"")
    assert [found.key for found in store.list("")] == ["a"]
    assert [found.key for found in store.list_page("").objects] == ["a"]
    assert store.stat("a").size == 0
    store.delete("a")
    assert elapsed(clock) == 0
    assert store.describe() == "memory:"
    assert store.properties.conditional_put


def test_waits_are_short_and_many(clock: Any) -> None:
    TokenBucket(MIB, clock).take(MIB)
    assert max(clock.slept) <= 0.06
    assert len(clock.slept) >= 15


def test_time_that_nobody_used_is_caught_up_a_little(clock: Any) -> None:
    bucket = TokenBucket(MIB, clock)
    bucket.take(MIB)
    clock.advance(3600)
    clock.slept.clear()
    bucket.take(MIB)
    assert elapsed(clock) == pytest.approx(0.75, abs=0.01)


def test_a_rate_below_a_byte_a_step_works(clock: Any) -> None:
    TokenBucket(2, clock).take(10)
    assert elapsed(clock) == pytest.approx(4.75, abs=0.01)
    with pytest.raises(ValueError, match="rate"):
        TokenBucket(0, clock)


def test_threads_share_the_rate_and_nobody_starves() -> None:
    bucket = TokenBucket(20 * MIB, SystemClock())
    finished: list[float] = []
    start = threading.Barrier(4)

    def take(size: int) -> None:
        start.wait()
        began = time.monotonic()
        bucket.take(size)
        finished.append(time.monotonic() - began)

    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(take, [4 * MIB, 4 * MIB, 4 * MIB, MIB // 8]))
    took = time.monotonic() - began
    assert took == pytest.approx(12.125 / 20 - 0.25, abs=0.15)
    assert min(finished) < took / 2
