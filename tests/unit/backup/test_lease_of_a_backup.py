"""While a backup is made of others, a lease names it and them; without the lease it is not completed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from linked_backups import PassingClock, a_donor, take_chain

from backup.consolidate import consolidate
from fleet.errors import StoreDenied, StoreUnreachable, ToolError
from fleet.progress import Silent
from repository.catalog import Catalog
from repository.leases import Lease, Leases
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from tests.unit.repository.sealed_backups import ToldStore, file_keyring, names


class Told(Silent):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Chained:
    """A repository with a chain of three, and what its clock says."""

    def __init__(self, folder: Path) -> None:
        self.clock = PassingClock()
        self.store = MemoryStore()
        self.repository = Repository.create(self.store, file_keyring(folder), self.clock)
        self.newest: Manifest = take_chain(self.repository, self.clock, a_donor(3), 3)

    def over(self, store: ToldStore) -> Repository:
        return Repository(store, self.repository.description, self.repository.keys)  # type: ignore[arg-type]


@pytest.fixture
def chained(tmp_path: Path) -> Chained:
    return Chained(tmp_path)


def test_its_lease_names_the_backup_itself_and_the_chain_until_the_manifest_is_there(
    chained: Chained,
) -> None:
    seen: dict[str, tuple[Lease, ...]] = {}
    asked: list[str] = []

    class Watched(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if key.startswith("leases/"):
                asked.append(operation)
            elif operation == "put" and not key.startswith("turns/"):
                (put_at,) = [info.modified_at for info in chained.store.list("leases/")] or [None]
                if put_at is not None:
                    now = put_at + timedelta(minutes=14)
                    seen[key.split("/", maxsplit=1)[0]] = Leases(chained.repository).in_force(now, "s1")

    result = consolidate(chained.over(Watched(chained.store)), "s1", clock=chained.clock)
    assert seen.keys() == {"data", "manifests"}
    for (lease,) in seen.values():
        assert lease.kind == "backup"
        assert lease.labels == (result.label, *result.links)
        assert lease.gtids_from is None
    assert asked == ["put", "delete"]
    assert names(chained.store, "leases/") == []


class NoLeases(ToldStore):
    """Leases alone cannot be put."""

    def __init__(self, inner: MemoryStore, error: ToolError) -> None:
        super().__init__(inner)
        self._error = error

    def before(self, operation: str, key: str) -> None:
        if operation == "put" and key.startswith("leases/"):
            raise self._error


def test_a_backup_that_lost_its_lease_is_not_completed(chained: Chained) -> None:
    before = names(chained.store)
    rainy = chained.over(NoLeases(chained.store, StoreUnreachable("it rains")))
    with pytest.raises(StoreUnreachable, match=r"lease on .* could not be taken: it rains") as caught:
        consolidate(rainy, "s1", clock=chained.clock)
    assert caught.value.retryable
    assert [name for name in names(chained.store) if not name.startswith("turns/")] == before


def test_an_account_that_may_put_no_lease_backs_up_without_and_is_told_once(chained: Chained) -> None:
    told = Told()
    denied = chained.over(NoLeases(chained.store, StoreDenied("leases/ is not for this account")))
    result = consolidate(denied, "s1", clock=chained.clock, progress=told)
    assert Catalog(chained.repository).manifest("s1", result.label).consolidates == chained.newest.label
    assert told.notes == [
        "without a lease, so pruning does not know of this backup: leases/ is not for this account"
    ]
