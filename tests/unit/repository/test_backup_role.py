"""Somebody has what a backup host has: the public half, and an account that may neither read nor delete."""

from __future__ import annotations

from pathlib import Path

import pytest
from sealed_backups import UUID, TickingClock, ToldStore, differing, names, restored, sample, take

from fleet.errors import KeyUnusable, ObjectExists, StoreDenied
from fleet.finding import Level
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.ledger import EpochFacts
from repository.catalog import Catalog
from repository.key_pair import PairSource, create_pair
from repository.key_survey import judge_keys
from repository.keys import Keyring
from repository.manifest import Manifest
from repository.repository import Repository
from repository.retirement import retire
from repository.rotation import plan_rotation
from repository.stores.memory import MemoryStore
from repository.trial import try_store

SAMPLE = sample(pages=4)
READABLE = (layout.DESCRIPTION, layout.KEYRING, layout.TRIALS)


class BackupAccount(ToldStore):
    """May put what is not there and list; reads what a backup needs, and deletes nothing."""

    def before(self, operation: str, key: str) -> None:
        reads = operation in {"get", "get_range", "stat"}
        if operation == "delete" or (reads and not key.startswith(READABLE)):
            raise StoreDenied(f"{operation} {key}: this account may not")


class Role:
    """A repository with one backup, as the backup host sees it, and as the one where backups are read."""

    def __init__(self, folder: Path) -> None:
        create_pair(folder / "p.key", folder / "p.pub")
        self.clock = TickingClock()
        self.store = MemoryStore()
        self.sealing = Keyring([PairSource("p", folder / "p.pub", None)])
        self.reading = Keyring([PairSource("p", None, folder / "p.key")])
        Repository.create(self.store, self.sealing, self.clock)
        self.here = Repository.open(BackupAccount(self.store), self.sealing)
        self.manifest = take(self.here, self.clock, SAMPLE)

    def content(self, manifest: Manifest) -> dict[str, bytes]:
        there = Repository.open(self.store, self.reading)
        return restored(there, Catalog(there).read_manifest(manifest.backup))


@pytest.fixture
def role(tmp_path: Path) -> Role:
    return Role(tmp_path)


def test_it_can_back_up_and_the_private_half_reads_that(role: Role) -> None:
    again = take(role.here, role.clock, SAMPLE)
    for manifest in (role.manifest, again):
        assert differing(role.content(manifest), SAMPLE.content()) == []
    assert try_store(role.here.store) is False
    (finding,) = judge_keys(role.here, ("p",), ("s1",))
    assert (finding.level, finding.message) == (
        Level.OK,
        "wraps new backups, and opens none: only its public half is here",
    )


def test_it_cannot_read_even_with_a_copy_of_the_whole_bucket(role: Role) -> None:
    with pytest.raises(StoreDenied):
        Catalog(role.here).read_manifest(role.manifest.backup)
    copied = Repository.open(role.store, role.sealing)
    with pytest.raises(KeyUnusable, match="of key p only the public half is here"):
        Catalog(copied).read_manifest(role.manifest.backup)
    with pytest.raises(KeyUnusable):
        Catalog(copied).backups()
    assert copied.keys.why_nothing_opens() == "of key p only the public half is here, so nothing can be read"


def test_it_cannot_overwrite_and_cannot_delete(role: Role) -> None:
    before = {name: role.store.get(name) for name in names(role.store)}
    for name in before:
        with pytest.raises(ObjectExists):
            role.here.store.put(name, b"mine now")
        with pytest.raises(StoreDenied):
            role.here.store.delete(name)
    assert {name: role.store.get(name) for name in before} == before


def test_it_cannot_rotate_retire_or_archive(role: Role) -> None:
    with pytest.raises(KeyUnusable, match="rotation has to read"):
        plan_rotation(role.here)
    with pytest.raises(KeyUnusable):
        retire(role.here, "other", role.clock)
    nothing = GtidSet.parse("")
    first = EpochFacts("first", UUID, "s1-a", nothing, None, nothing, nothing)
    archive = ShardArchive(Repository.open(role.store, role.sealing), "s1")
    with pytest.raises(KeyUnusable):
        archive.open_epoch(first, role.clock)
    with pytest.raises(KeyUnusable, match="the archiver has to read what is stored, but of key p only"):
        role.here.keys.require_opener("the archiver")


def test_an_entry_that_somebody_exchanged_is_found_before_a_backup_is_sealed_for_a_stranger(
    role: Role, tmp_path: Path
) -> None:
    create_pair(tmp_path / "stranger.key", tmp_path / "stranger.pub")
    stranger = PairSource("p", tmp_path / "stranger.pub", None)
    entry = stranger.introduce(role.here.repository_id, role.clock.now())
    role.store.put("keyring/p.json", entry.model_dump_json().encode(), if_absent=False)
    with pytest.raises(KeyUnusable, match="are not the same"):
        Repository.open(role.store, role.sealing)
