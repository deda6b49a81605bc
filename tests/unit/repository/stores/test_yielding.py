"""A store that asks for less gets less, and more again as long as it does not complain."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.errors import StoreUnreachable
from repository.stores.interface import Buffer, Stored
from repository.stores.memory import MemoryStore
from repository.stores.s3_errors import TooMuch
from repository.stores.throttled import Throttled, TokenBucket
from repository.stores.yielding import SLOWEST_BYTES_PER_SECOND, Yielding

MB = 1_000_000


class Narrow(MemoryStore):
    """Takes so many bytes a second, and refuses the rest; each put takes a twentieth of a second."""

    error: type[StoreUnreachable] = TooMuch

    def __init__(self, clock: Any, bytes_per_second: float) -> None:
        super().__init__(clock)
        self._time = clock
        self.width = bytes_per_second
        self.refusals = 0
        self._second, self._taken = -1, 0

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        self._time.sleep(0.05)
        second = int(self._time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        if self._taken + len(data) > self.width:
            self.refusals += 1
            raise self.error("less, please")
        self._taken += len(data)
        return super().put(key, data, if_absent=if_absent, sha256=sha256)


def send(store: Yielding, clock: Any, seconds: float) -> float:
    """Put as fast as it goes for so long; bytes a second that came through."""
    until, passed = clock.monotonic() + seconds, 0
    while clock.monotonic() < until:
        try:
            store.put(f"o{clock.monotonic():.3f}-{passed}", bytes(MB))
            passed += MB
        except StoreUnreachable:
            clock.sleep(0.1)
    return passed / seconds


def test_nothing_is_slowed_down_before_the_store_asks_for_it(clock: Any) -> None:
    store = Yielding(Narrow(clock, 1000 * MB), clock)
    assert send(store, clock, 10) == pytest.approx(20 * MB, rel=0.1)
    assert store.pace.limit is None


def test_one_refusal_halves_what_was_measured(clock: Any) -> None:
    narrow = Narrow(clock, 1000 * MB)
    store = Yielding(narrow, clock)
    send(store, clock, 5)
    narrow.width = 0
    with pytest.raises(TooMuch):
        store.put("refused", bytes(MB))
    limit = store.pace.limit
    assert limit == pytest.approx(10 * MB, rel=0.1)
    # Threads that were at it together are refused together.
    store.pace.refused()
    assert store.pace.limit == limit


def test_it_settles_near_what_the_store_takes_and_seldom_hears_a_refusal(clock: Any) -> None:
    narrow = Narrow(clock, 8 * MB)
    store = Yielding(narrow, clock)
    send(store, clock, 30)
    before = narrow.refusals
    assert send(store, clock, 120) > 4 * MB
    assert narrow.refusals - before < 60


def test_it_is_as_fast_as_ever_once_the_store_is(clock: Any) -> None:
    narrow = Narrow(clock, 8 * MB)
    store = Yielding(narrow, clock)
    send(store, clock, 30)
    assert store.pace.limit is not None
    narrow.width = 1000 * MB
    send(store, clock, 120)
    assert store.pace.limit is None
    assert send(store, clock, 10) == pytest.approx(20 * MB, rel=0.1)


def test_it_never_stops(clock: Any) -> None:
    narrow = Narrow(clock, 1000 * MB)
    store = Yielding(narrow, clock)
    send(store, clock, 5)
    for _ in range(50):
        clock.sleep(2)
        store.pace.refused()
    assert store.pace.limit == SLOWEST_BYTES_PER_SECOND


def test_a_store_that_is_away_did_not_ask_for_less(clock: Any) -> None:
    narrow = Narrow(clock, 0)
    narrow.error = StoreUnreachable
    store = Yielding(narrow, clock)
    store.pace.passed(100 * MB)
    with pytest.raises(StoreUnreachable):
        store.put("a", b"a")
    assert store.pace.limit is None


def test_a_rate_that_changes_holds_from_then_on(clock: Any) -> None:
    bucket = TokenBucket(MB, clock)
    store = Throttled(MemoryStore(), bucket, clock)
    store.put("a", bytes(4 * MB))
    assert sum(clock.slept) == pytest.approx(4, abs=0.3)
    bucket.set_rate(2 * MB)
    store.put("b", bytes(4 * MB))
    assert sum(clock.slept) == pytest.approx(6, abs=0.3)
    with pytest.raises(ValueError, match="not a rate"):
        bucket.set_rate(0)
