"""A store is tried before it is trusted."""

from __future__ import annotations

import pytest

from fleet.errors import ObjectDamaged, StoreDenied
from repository.stores.interface import Buffer, Stored
from repository.stores.memory import MemoryStore
from repository.trial import try_store


class Overwriting(MemoryStore):
    """Ignores the condition of a put, as some stores do."""

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        return super().put(key, data, if_absent=False, sha256=sha256)


class Undeletable(MemoryStore):
    """Its account may write, and not delete."""

    def delete(self, key: str) -> None:
        raise StoreDenied(f"{key} may not be deleted")


def test_a_good_store_passes_and_keeps_nothing() -> None:
    store = MemoryStore()
    assert try_store(store)
    assert list(store.list("")) == []


def test_a_store_that_may_not_delete_passes_and_is_told_apart() -> None:
    assert not try_store(Undeletable())


def test_a_store_that_overwrites_fails_and_keeps_nothing() -> None:
    store = Overwriting()
    with pytest.raises(ObjectDamaged, match="overwrote"):
        try_store(store)
    assert list(store.list("")) == []
