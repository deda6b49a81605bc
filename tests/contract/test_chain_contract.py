"""Chains and fulls that refer over every kind of store: written, read, verified, and refused when broken."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fleet.errors import ObjectMissing
from repository import layout
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.keys import FileSource, Keyring, create_key_file
from repository.repository import Repository
from repository.stores.interface import Store
from repository.verify import verify_backup
from tests.unit.repository.chained import Donor, Taken, by_overlay, take_link, take_referring
from tests.unit.repository.sealed_backups import TickingClock, differing

# What the other stores do in their own ways, the contract of stores holds them to.
pytestmark = pytest.mark.parametrize(
    "store", ["memory", "filesystem", pytest.param("s3", marks=pytest.mark.s3)], indirect=True
)


@pytest.fixture
def repository(store: Store, tmp_path: Path) -> Repository:
    create_key_file(tmp_path / "k1.key")
    return Repository.create(store, Keyring([FileSource("k1", tmp_path / "k1.key")]), TickingClock())


@pytest.fixture
def donor() -> Donor:
    made = Donor(random.Random(8))
    for space_id, pages in ((0, 12), (5, 40)):
        made.create(space_id, pages)
    return made


def history(repository: Repository, donor: Donor) -> list[Taken]:
    """A full, two incrementals, a full that refers, and an incremental on that."""
    clock = TickingClock()
    taken = [take_link(repository, clock, donor)]
    for step in (take_link, take_link, take_referring, take_link):
        for page in range(3):
            donor.change(donor.files[1], 7 * page + len(taken))
        taken.append(step(repository, clock, donor, taken[-1].manifest))
    return taken


def test_every_backup_of_a_history_comes_back_and_verifies(repository: Repository, donor: Donor) -> None:
    for each in history(repository, donor):
        assert differing(by_overlay(repository, each.manifest), dict(each.content)) == []
        assert verify_backup(repository, each.manifest).damages == ()
    assert [each.broken for each in Catalog(repository).survey().backups] == [None] * 5


def test_a_base_that_is_gone_is_told_and_nothing_is_built_on_it(
    repository: Repository, store: Store, donor: Donor
) -> None:
    full, first, second, referring, last = (each.manifest for each in history(repository, donor))
    store.delete(layout.manifest(first.backup))
    with pytest.raises(ObjectMissing, match=rf"{first.backup}, the base of {second.backup}, is not there"):
        read_chain(Catalog(repository), second)
    broken = {each.label: each.broken for each in Catalog(repository).survey("s1").backups}
    gone = f"{first.backup}, which {{}} needs, is not there"
    assert broken == {
        full.label: None,
        second.label: gone.format(second.backup),
        referring.label: gone.format(referring.backup),
        last.label: gone.format(referring.backup),
    }
    before = [info.key for info in store.list("")]
    with pytest.raises(ObjectMissing, match=rf"{first.backup}, which .* builds on, was removed"):
        take_link(repository, TickingClock(), donor, first)
    assert [info.key for info in store.list("")] == before
