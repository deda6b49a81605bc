from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fleet.errors import ObjectExists, ObjectMissing, StoreDenied, StoreUnreachable, ToolError
from repository.stores.interface import Buffer, ObjectInfo, Page, Stored
from repository.stores.memory import MemoryStore
from repository.stores.retrying import Retrying, RetryPolicy


class Unreliable(MemoryStore):
    """Each call first does what the next planned error says: ``before`` or ``after`` the real work."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[ToolError | None] = []
        self.after: list[ToolError | None] = []
        self.calls: list[str] = []

    def _do(self, name: str, work: Callable[[], Any]) -> Any:
        self.calls.append(name)
        if self.before and (error := self.before.pop(0)):
            raise error
        answer = work()
        if self.after and (error := self.after.pop(0)):
            raise error
        return answer

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        real = super().put
        return self._do("put", lambda: real(key, data, if_absent=if_absent, sha256=sha256))

    def get(self, key: str) -> bytes:
        real = super().get
        return self._do("get", lambda: real(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        real = super().get_range
        return self._do("get_range", lambda: real(key, offset, length))

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        real = super().list_page
        return self._do("list", lambda: real(prefix, token))

    def stat(self, key: str) -> ObjectInfo:
        real = super().stat
        return self._do("stat", lambda: real(key))

    def delete(self, key: str) -> None:
        real = super().delete
        self._do("delete", lambda: real(key))


LATER = StoreUnreachable("not now", hint="Wait.")
POLICY = RetryPolicy(
    first_delay_seconds=1, longest_delay_seconds=8, deadline_seconds=100, first_contact_seconds=10
)


@pytest.fixture
def inner() -> Unreliable:
    return Unreliable()


@pytest.fixture
def store(inner: Unreliable, clock: Any) -> Retrying:
    return Retrying(inner, POLICY, clock, chance=lambda: 1.0)


def test_every_operation_is_tried_again(store: Retrying, inner: Unreliable, clock: Any) -> None:
    uses: list[Callable[[], Any]] = [
        lambda: store.put("a/b", b"data"),
        lambda: store.get("a/b"),
        lambda: store.get_range("a/b", 1, 2),
        lambda: [found.key for found in store.list("a/")],
        lambda: store.stat("a/b").size,
        lambda: store.delete("a/b"),
    ]
    answers: list[Any] = []
    for use in uses:
        inner.before = [LATER, LATER]
        answers.append(use())
    assert answers == [Stored(4, None, None), b"data", b"at", ["a/b"], 4, None]
    assert inner.calls == [
        name for name in ["put", "get", "get_range", "list", "stat", "delete"] for _ in range(3)
    ]
    assert clock.slept == [1, 2] * 6
    assert store.describe() == "memory:"
    assert store.properties == inner.properties


def test_delays_double_up_to_the_longest_and_are_random_below_it(inner: Unreliable, clock: Any) -> None:
    chances = iter([1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.25])
    store = Retrying(inner, POLICY, clock, chance=lambda: next(chances))
    with pytest.raises(ObjectMissing):
        store.get("a")
    inner.before = [LATER] * 7
    with pytest.raises(ObjectMissing):
        store.get("a")
    assert clock.slept == [1, 2, 4, 8, 4, 0, 2]


def test_what_cannot_be_cured_is_not_tried_again(store: Retrying, inner: Unreliable, clock: Any) -> None:
    inner.before = [StoreDenied("no", hint="Ask.")]
    with pytest.raises(StoreDenied, match=r"^no$"):
        store.put("a", b"")
    assert clock.slept == []
    assert inner.calls == ["put"]


def test_at_the_deadline_the_last_reason_comes_out(store: Retrying, inner: Unreliable, clock: Any) -> None:
    store.put("a", b"")
    inner.before = [LATER] * 1000
    with pytest.raises(StoreUnreachable, match=r"not now \(tried 15 times in 95 s\)") as caught:
        store.get("a")
    assert caught.value.hint == "Wait."
    assert caught.value.retryable
    assert sum(clock.slept) <= POLICY.deadline_seconds


def test_a_store_that_never_answered_is_given_up_soon(store: Retrying, inner: Unreliable, clock: Any) -> None:
    inner.before = [LATER] * 1000
    with pytest.raises(StoreUnreachable, match="tried 4 times"):
        store.get("a")
    assert sum(clock.slept) <= POLICY.first_contact_seconds


def test_a_refusal_is_an_answer_too(store: Retrying, inner: Unreliable, clock: Any) -> None:
    with pytest.raises(ObjectMissing):
        store.get("a")
    inner.before = [LATER] * 5
    with pytest.raises(ObjectMissing):
        store.get("a")
    assert sum(clock.slept) > POLICY.first_contact_seconds


def test_a_put_whose_answer_was_lost_is_a_success(store: Retrying, inner: Unreliable) -> None:
    inner.after = [LATER]
    assert store.put("a", memoryview(b"ours"), sha256=None) == Stored(4, None, None)
    assert inner.get("a") == b"ours"


@pytest.mark.parametrize("theirs", [b"them", b"longer than ours"])
def test_an_object_of_another_is_not_taken_for_ours(
    store: Retrying, inner: Unreliable, theirs: bytes
) -> None:
    inner.put("a", theirs)
    inner.before = [LATER]
    with pytest.raises(ObjectExists):
        store.put("a", b"ours")
    assert inner.get("a") == theirs


def test_equal_content_without_a_failure_before_is_still_a_clash(store: Retrying, inner: Unreliable) -> None:
    inner.put("a", b"same")
    with pytest.raises(ObjectExists):
        store.put("a", b"same")


def test_the_comparison_may_fail_and_is_made_again(store: Retrying, inner: Unreliable) -> None:
    store.delete("a")
    inner.calls.clear()
    inner.after = [LATER]
    inner.before = [None, None, LATER, None, None, LATER]
    assert store.put("a", b"ours").size == 4
    assert inner.calls == ["put", "put", "stat", "put", "stat", "get", "put", "stat", "get"]


def test_an_object_that_vanished_before_the_comparison_is_a_clash(store: Retrying, inner: Unreliable) -> None:
    inner.put("a", b"theirs")
    inner.before = [LATER]
    inner.stat = lambda key: inner._objects.clear() or MemoryStore.stat(inner, key)  # type: ignore[method-assign]
    with pytest.raises(ObjectExists):
        store.put("a", b"ours")


def test_every_retry_is_reported(inner: Unreliable, clock: Any) -> None:
    told: list[tuple[str, ToolError, float]] = []
    store = Retrying(inner, POLICY, clock, on_retry=lambda *each: told.append(each), chance=lambda: 0.5)
    inner.before = [LATER, None]
    store.delete("a")
    assert told == [("delete", LATER, 0.5)]
