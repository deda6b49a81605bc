"""A backup that dies at any operation of the store: nothing is lost, no half counts, the next one works."""

from __future__ import annotations

import pytest
from sealed_backups import DyingStore, TickingClock, differing, names, restored, sample, take

from fleet.errors import StoreUnreachable
from repository.catalog import Catalog
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from repository.verify import verify_backup

MADE = sample(pages=15)


@pytest.mark.parametrize("unheard", [False, True], ids=["refused", "unheard"])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "killed"])
@pytest.mark.parametrize(("lanes", "uploads"), [(1, 1), (2, 3)])
def test_a_backup_that_dies_anywhere_leaves_the_repository_as_it_was(
    keyring: Keyring, ticking: TickingClock, unheard: bool, forever: bool, lanes: int, uploads: int
) -> None:
    store = MemoryStore()
    before = take(Repository.create(store, keyring, ticking), ticking, MADE)
    for at in range(1, 200):
        repository = Repository.open(store, keyring)
        dying = DyingStore(store, at, unheard=unheard, forever=forever)
        known = {backup.label for backup in Catalog(repository).backups()}
        objects = set(names(store))
        writing = Repository(dying, repository.description, repository.keys)
        try:
            take(writing, ticking, MADE, lanes=lanes, uploads=uploads)
        except StoreUnreachable:
            _check(repository, store, known, objects, heard_of_it=forever or unheard)
        else:
            break
    else:
        pytest.fail("the backup never succeeded")
    assert at > 10
    assert differing(restored(repository, before), MADE.content()) == []


def _check(
    repository: Repository, store: MemoryStore, known: set[str], objects: set[str], *, heard_of_it: bool
) -> None:
    catalog = Catalog(repository)
    survey = catalog.survey()
    assert survey.unreadable == ()
    assert objects <= set(names(store))
    for backup in survey.backups:
        if backup.label not in known:
            # Its manifest was stored although nobody heard of it: then it is whole.
            assert heard_of_it
            manifest = catalog.manifest(backup.shard, backup.label)
            assert verify_backup(repository, manifest).is_sound
            assert differing(restored(repository, manifest), MADE.content()) == []
    new = {name.split("/")[2] for name in set(names(store)) - objects}
    assert len(new) <= 1
    assert new.isdisjoint(known)
