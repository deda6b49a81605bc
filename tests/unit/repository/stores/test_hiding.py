"""A store as it will be: what is hidden is not there in any way, and nothing can be changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fleet.errors import ObjectMissing, StoreDenied
from repository.stores.hiding import Hiding
from repository.stores.memory import MemoryStore


@pytest.fixture
def inner() -> MemoryStore:
    store = MemoryStore()
    for name in ("data/a", "data/b", "keys/a"):
        store.put(name, name.encode())
    return store


def test_what_is_hidden_is_missing_and_all_else_is_there(inner: MemoryStore) -> None:
    store = Hiding(inner, {"data/a"}.__contains__)
    assert [info.key for info in store.list("data/")] == ["data/b"]
    assert [info.key for info in store.list_page("").objects] == ["data/b", "keys/a"]
    assert store.get("data/b") == b"data/b"
    assert store.get_range("data/b", 5, 1) == b"b"
    assert store.stat("data/b").size == 6
    assert store.locked_until("data/b") is None
    assert store.describe() == inner.describe()
    for ask in (store.get, store.stat, store.locked_until):
        with pytest.raises(ObjectMissing, match="data/a"):
            ask("data/a")
    with pytest.raises(ObjectMissing, match="data/a"):
        store.get_range("data/a", 0, 1)


def test_nothing_can_be_changed(inner: MemoryStore) -> None:
    store = Hiding(inner, {"data/a"}.__contains__)
    for change in (
        lambda: store.put("data/c", b""),
        lambda: store.delete("data/b"),
        lambda: store.prolong("data/b", datetime(2027, 1, 1, tzinfo=UTC)),
    ):
        with pytest.raises(StoreDenied, match="cannot be changed"):
            change()
    assert len(list(inner.list(""))) == 3
