from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fleet.errors import ObjectExists, ObjectMissing, StoreUnreachable
from repository.stores.counting import Counting, OperationCounts, StoreCounts
from repository.stores.interface import Buffer, Stored
from repository.stores.memory import MemoryStore
from repository.stores.retrying import Retrying


class Slow(MemoryStore):
    """Takes two seconds for a put."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.clock = clock

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        self.clock.advance(2)
        return super().put(key, data, if_absent=if_absent, sha256=sha256)


def test_every_operation_is_counted_by_its_name(clock: Any) -> None:
    store = Counting(Slow(clock), clock=clock)
    store.put("a", b"12345")
    store.put("b", memoryview(b"123"))
    store.get("a")
    store.get_range("a", 1, 2)
    assert len(list(store.list(""))) == 2
    store.stat("a")
    store.delete("a")
    assert store.counts.snapshot() == {
        "put": OperationCounts(requests=2, bytes=8, seconds=4.0),
        "get": OperationCounts(requests=1, bytes=5),
        "get_range": OperationCounts(requests=1, bytes=2),
        "list": OperationCounts(requests=1),
        "stat": OperationCounts(requests=1),
        "delete": OperationCounts(requests=1),
    }
    assert store.describe() == "memory:"
    assert store.properties.conditional_put


def test_failures_are_counted_without_bytes(clock: Any) -> None:
    store = Counting(Slow(clock), clock=clock)
    store.put("a", b"12345")
    with pytest.raises(ObjectExists):
        store.put("a", b"12345")
    with pytest.raises(ObjectMissing):
        store.get("b")
    found = store.counts.snapshot()
    assert found["put"] == OperationCounts(requests=2, failures=1, bytes=5, seconds=4.0)
    assert found["get"] == OperationCounts(requests=1, failures=1)


def test_retries_are_counted_beside_their_operation(clock: Any) -> None:
    class Stumbling(MemoryStore):
        left = 3

        def get(self, key: str) -> bytes:
            if self.left:
                self.left -= 1
                raise StoreUnreachable("later")
            return super().get(key)

    counts = StoreCounts()
    store = Retrying(Counting(Stumbling(), counts, clock), clock=clock, on_retry=counts.record_retry)
    store.put("a", b"x")
    store.get("a")
    assert counts.snapshot()["get"] == OperationCounts(requests=4, failures=3, retries=3, bytes=1)


def test_a_snapshot_does_not_change() -> None:
    store = Counting(MemoryStore())
    store.put("a", b"x")
    before = store.counts.snapshot()
    store.put("b", b"x")
    assert before["put"].requests == 1


def test_threads_lose_no_count() -> None:
    store = Counting(MemoryStore())
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.put(f"p{number}", b"xy"), range(500)))
    found = store.counts.snapshot()["put"]
    assert (found.requests, found.bytes) == (500, 1000)
