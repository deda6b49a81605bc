"""Which backup the next one is built on."""

from __future__ import annotations

from pathlib import Path

import pytest
from linked_backups import UUID, PassingClock, a_donor, take_chain, take_full, take_incremental

from backup.consolidate import consolidate
from backup.foundation import Foundation, find_foundation, full_backups_that_refer
from backup.plan import Candidate, DonorChoice
from fleet.errors import StoreUnreachable
from fleet.model import Server
from repository import layout
from repository.manifest import Manifest
from repository.marks import Marks
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from tests.unit.repository.sealed_backups import file_keyring

OTHER = "4e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.fixture
def clock() -> PassingClock:
    return PassingClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, clock: PassingClock, tmp_path: Path) -> Repository:
    return Repository.create(store, file_keyring(tmp_path), clock)


def donor(name: str, uuid: str) -> DonorChoice:
    server = Server.model_validate({"name": name, "host": "db", "region": "eu", "role": "replica"})
    return DonorChoice(Candidate(server, True, 0.0, (), server_uuid=uuid), f"{name}: fit", ())


def found(repository: Repository, *donors: DonorChoice) -> Foundation:
    answer = find_foundation(repository, "s1", donors or (donor("b", UUID),))
    assert isinstance(answer, Foundation), answer
    return answer


def reason(repository: Repository, *donors: DonorChoice) -> str:
    answer = find_foundation(repository, "s1", donors or (donor("b", UUID),))
    assert isinstance(answer, str), answer
    return answer


def forget(store: MemoryStore, manifest: Manifest) -> None:
    store.delete(layout.manifest(manifest.backup))


def test_the_newest_backup_of_a_fit_server_is_built_on_with_its_whole_chain(
    repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(1), 3)
    foundation = found(repository, donor("a", OTHER), donor("b", UUID))
    assert foundation.donor.server.name == "b"
    assert foundation.chain.newest.label == newest.label
    assert len(foundation.chain.links) == 3


def test_without_any_backup_and_without_one_of_this_server_the_reason_is_told(
    repository: Repository, clock: PassingClock
) -> None:
    assert "no backup to build on" in reason(repository)
    newest = take_full(repository, clock, a_donor(1))
    told = reason(repository, donor("a", OTHER))
    assert newest.label in told and UUID in told and "copied from a" in told


def test_a_full_whose_pages_lie_in_a_backup_that_is_gone_is_not_built_on(
    repository: Repository, clock: PassingClock, store: MemoryStore
) -> None:
    chain = take_chain(repository, clock, a_donor(1), 2)
    made = consolidate(repository, "s1", chain.label, clock=clock)
    assert found(repository).chain.newest.label == made.label
    store.delete(layout.manifest(layout.BackupName("s1", made.needs[0])))
    assert made.needs[0] in reason(repository)


def test_a_chain_whose_base_is_gone_is_not_built_on(
    repository: Repository, clock: PassingClock, store: MemoryStore
) -> None:
    changing = a_donor(1)
    full = take_full(repository, clock, changing)
    take_incremental(repository, clock, changing, full)
    forget(store, full)
    assert full.label in reason(repository)


@pytest.mark.parametrize("lost", ["p00000000", "p00000001", "i000000"])
@pytest.mark.parametrize("link", [0, 1])
def test_a_chain_of_which_a_pack_or_an_index_part_is_gone_is_not_built_on(
    repository: Repository, clock: PassingClock, store: MemoryStore, lost: str, link: int
) -> None:
    changing = a_donor(1)
    full = take_full(repository, clock, changing)
    links = (full, take_incremental(repository, clock, changing, full))
    assert found(repository).chain.newest.label == links[1].label
    store.delete(f"{layout.packs_and_parts(links[link].backup)}{lost}")
    assert links[link].label in reason(repository)


def test_a_full_that_refers_to_a_backup_of_which_a_pack_is_gone_is_not_built_on(
    repository: Repository, clock: PassingClock, store: MemoryStore
) -> None:
    take_chain(repository, clock, a_donor(1), 2)
    made = consolidate(repository, "s1", clock=clock)
    needed = layout.BackupName("s1", made.needs[0])
    store.delete(layout.pack(needed, 0))
    assert f"{needed} wrote" in reason(repository)


def test_an_index_part_that_was_cut_short_is_told(
    repository: Repository, clock: PassingClock, store: MemoryStore
) -> None:
    name = layout.index_part(take_full(repository, clock, a_donor(1)).backup, 0)
    store.put(name, store.get(name)[:-1], if_absent=False)
    assert f"{name} is damaged" in reason(repository)


def test_whether_a_chain_is_whole_is_seen_without_reading_packs_or_index_parts(
    repository: Repository, clock: PassingClock, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_chain(repository, clock, a_donor(1), 3)
    read: list[str] = []
    get = store.get

    def noted(key: str) -> bytes:
        read.append(key)
        return get(key)

    monkeypatch.setattr(store, "get", noted)
    found(repository)
    assert not [key for key in read if key.startswith(layout.DATA)]


def test_a_manifest_that_cannot_be_read_is_passed_over(
    repository: Repository, clock: PassingClock, store: MemoryStore
) -> None:
    changing = a_donor(1)
    full = take_full(repository, clock, changing)
    newest = take_incremental(repository, clock, changing, full)
    name = layout.manifest(newest.backup)
    damaged = bytearray(store.get(name))
    damaged[-1] ^= 1
    store.delete(name)
    store.put(name, bytes(damaged))
    assert found(repository).chain.newest.label == full.label
    forget(store, full)
    assert f"{newest.label} cannot be read" in reason(repository)


def test_what_a_retry_can_cure_is_raised(
    repository: Repository, clock: PassingClock, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_full(repository, clock, a_donor(1))

    def unreachable(*_: object) -> bytes:
        raise StoreUnreachable("no answer")

    monkeypatch.setattr(store, "get", unreachable)
    with pytest.raises(StoreUnreachable):
        find_foundation(repository, "s1", (donor("b", UUID),))


def test_a_chain_that_was_consolidated_is_built_on_by_its_full(
    repository: Repository, clock: PassingClock
) -> None:
    take_chain(repository, clock, a_donor(1), 3)
    full = consolidate(repository, "s1", clock=clock)
    foundation = found(repository)
    assert foundation.chain.newest.label == full.label
    assert len(foundation.chain.links) == 1


def test_only_fulls_that_refer_since_the_last_stored_one_are_counted(
    repository: Repository, clock: PassingClock
) -> None:
    assert full_backups_that_refer(repository, "s1") == 0
    take_chain(repository, clock, a_donor(1), 2)
    assert full_backups_that_refer(repository, "s1") == 0
    consolidate(repository, "s1", clock=clock)
    assert full_backups_that_refer(repository, "s1") == 0


def test_nothing_is_built_on_what_retention_has_ended(repository: Repository, clock: PassingClock) -> None:
    first = take_full(repository, clock, a_donor(1))
    newest = take_chain(repository, clock, a_donor(2), 3)
    marks = Marks(repository)
    marks.put(newest.backup, "old")
    assert newest.base is not None
    assert found(repository).chain.newest.label == newest.base.label
    for each in found(repository).chain.links:
        marks.put(each.backup, "old")
    assert found(repository).chain.newest.label == first.label
    marks.put(first.backup, "old")
    assert reason(repository) == "retention has ended every backup of shard s1 that one could build on"
    marks.take_back(first.backup)
    assert found(repository).chain.newest.label == first.label
