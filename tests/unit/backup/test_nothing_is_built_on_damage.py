"""What verify found damaged is built on by nobody, and keeps nobody from a backup."""

from __future__ import annotations

from pathlib import Path

import pytest
from linked_backups import UUID, PassingClock, a_donor, take_chain, take_full, take_incremental

from backup.consolidate import consolidate, plan_consolidate
from backup.foundation import Foundation, find_foundation
from backup.plan import Candidate, DonorChoice
from fleet.errors import ObjectDamaged
from fleet.model import Server
from repository import layout
from repository.damage_notes import DamageNotes
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from tests.unit.repository.sealed_backups import file_keyring


@pytest.fixture
def clock() -> PassingClock:
    return PassingClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, clock: PassingClock, tmp_path: Path) -> Repository:
    return Repository.create(store, file_keyring(tmp_path), clock)


def foundation(repository: Repository) -> Foundation | str:
    server = Server.model_validate({"name": "b", "host": "db", "region": "eu", "role": "replica"})
    choice = DonorChoice(Candidate(server, True, 0.0, (), server_uuid=UUID), "b: fit", ())
    return find_foundation(repository, "s1", (choice,))


def note(repository: Repository, of: Manifest, *spared: Manifest, name: str = "p00000000") -> str:
    """A finding on an object of this backup; returns what is told of it."""
    key = f"{layout.packs_and_parts(of.backup)}{name}"
    DamageNotes(repository).put(key, "frame 0 does not unseal", [each.backup for each in spared])
    (finding,) = [each for each in DamageNotes(repository).all() if each.object == key]
    return finding.short


def built_on(repository: Repository) -> str:
    found = foundation(repository)
    assert isinstance(found, Foundation), found
    return found.chain.newest.label


def test_of_a_damaged_full_no_chain_is_continued_and_the_reason_names_pack_backup_and_day(
    repository: Repository, clock: PassingClock, store: MemoryStore
) -> None:
    changing = a_donor(1)
    full = take_full(repository, clock, changing)
    take_incremental(repository, clock, changing, full)
    told = note(repository, full)
    (finding,) = DamageNotes(repository).all()
    day = store.stat(finding.name).modified_at.strftime("%Y-%m-%d")
    assert told == f"verify found pack p00000000 of {full.label} damaged on {day}"
    assert foundation(repository) == told


def test_an_older_backup_that_is_whole_is_built_on_and_the_reason_is_kept(
    repository: Repository, clock: PassingClock
) -> None:
    changing = a_donor(1)
    full = take_full(repository, clock, changing)
    newest = take_incremental(repository, clock, changing, full)
    told = note(repository, newest)
    found = foundation(repository)
    assert isinstance(found, Foundation)
    assert (found.chain.newest.label, found.instead_of) == (full.label, told)


def test_where_nothing_is_damaged_nobody_is_told_of_anything(
    repository: Repository, clock: PassingClock
) -> None:
    take_full(repository, clock, a_donor(1))
    found = foundation(repository)
    assert isinstance(found, Foundation) and found.instead_of is None


def test_a_full_that_refers_to_a_damaged_pack_is_not_built_on_and_nor_is_what_continues_it(
    repository: Repository, clock: PassingClock
) -> None:
    changing = a_donor(1)
    full = take_full(repository, clock, changing)
    newest = take_incremental(repository, clock, changing, full)
    made = consolidate(repository, "s1", clock=clock)
    assert built_on(repository) == made.label
    told = note(repository, newest)
    # The full below is whole still.
    found = foundation(repository)
    assert isinstance(found, Foundation)
    assert (found.chain.newest.label, found.instead_of) == (full.label, told)


def test_an_index_part_of_another_one_is_nothing_to_a_full_that_refers(
    repository: Repository, clock: PassingClock
) -> None:
    chain = take_chain(repository, clock, a_donor(1), 2)
    made = consolidate(repository, "s1", clock=clock)
    note(repository, chain, name="i000000")
    assert built_on(repository) == made.label


def test_who_needs_nothing_of_what_is_lost_is_built_on_and_so_is_what_continues_it(
    repository: Repository, clock: PassingClock
) -> None:
    changing = a_donor(1)
    full = take_full(repository, clock, changing)
    spared = take_incremental(repository, clock, changing, full)
    note(repository, full, spared)
    assert built_on(repository) == spared.label
    newest = take_incremental(repository, clock, changing, spared)
    assert built_on(repository) == newest.label


def test_a_forged_finding_costs_a_full_that_stores_every_page_and_no_more(
    repository: Repository, clock: PassingClock, store: MemoryStore
) -> None:
    full = take_full(repository, clock, a_donor(1))
    store.put(layout.finding(layout.pack(full.backup, 0), "0" * 8), b"")
    assert isinstance(foundation(repository), str)
    newest = take_full(repository, clock, a_donor(2))
    assert built_on(repository) == newest.label


def test_a_finding_of_another_shard_is_nothing_to_this_one(
    repository: Repository, clock: PassingClock, store: MemoryStore
) -> None:
    full = take_full(repository, clock, a_donor(1))
    store.put(layout.finding(layout.pack(BackupName("s2", full.label), 0), "0" * 8), b"")
    assert built_on(repository) == full.label


def test_a_chain_with_damage_is_not_made_a_full_and_one_that_was_made_before_is_told_as_ever(
    repository: Repository, clock: PassingClock
) -> None:
    chain = take_chain(repository, clock, a_donor(1), 2)
    told = note(repository, chain)
    with pytest.raises(ObjectDamaged, match="verify found pack") as caught:
        plan_consolidate(repository, "s1")
    assert told in caught.value.message
    assert caught.value.hint and "backstay backup full s1 --stored" in caught.value.hint
    with pytest.raises(ObjectDamaged):
        consolidate(repository, "s1", clock=clock)
    DamageNotes(repository).take_away(DamageNotes(repository).all()[0])
    made = consolidate(repository, "s1", chain.label, clock=clock)
    note(repository, chain)
    assert plan_consolidate(repository, "s1", chain.label).full == made.label
