"""Which backup a restore to a point begins with, when chains are broken on the way to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from fleet.clock import SystemClock
from fleet.errors import KeyUnusable, ObjectMissing, TargetUnreachable
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from repository import layout
from repository.catalog import LATEST
from repository.damage_notes import DamageNotes
from repository.keys import FileSource, Keyring, create_key_file
from repository.manifest import Manifest
from repository.marks import Marks
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from restore.choice import Choice
from restore.point import RecoveryTarget, resolve
from restore.point_plan import Life
from restore.point_planning import base_for, beyond_the_archive
from tests.unit.restore.made_backups import UUID, made_data_directory, made_repository, write_made_backup
from tests.unit.restore.made_chains import MadeServer
from tests.unit.restore.made_lines import MadeLine, counted


@dataclass
class LivedLine(MadeLine):
    """A line from which no restore was ever made."""

    lives: tuple[Life, ...] = field(default=())


def base(repository: Repository, label: str = LATEST) -> Choice:
    line = LivedLine(counted(UUID, 6, 20), first_gtids=GtidSet.parse(f"{UUID}:1-5"))
    return base_for(repository, cast("Any", line), resolve(line, RecoveryTarget.latest()), label)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    return made_repository(store)


@pytest.fixture
def taken(repository: Repository) -> list[Manifest]:
    """A full, a second full, an incremental on that: oldest first."""
    server = MadeServer(8, pages=9)
    first = server.full(repository)
    server.live()
    second = server.full(repository)
    server.live()
    return [first, second, server.incremental(repository, second)]


def test_an_incremental_is_a_base_like_any_other(repository: Repository, taken: list[Manifest]) -> None:
    choice = base(repository)
    assert choice.chain.links == (taken[2], taken[1])
    assert choice.passed_over == ()


def test_a_chain_that_is_broken_is_passed_over_and_told(
    repository: Repository, store: MemoryStore, taken: list[Manifest]
) -> None:
    store.delete(layout.manifest(taken[1].backup))
    choice = base(repository)
    assert choice.chain.newest == taken[0]
    assert [each.label for each in choice.passed_over] == [taken[2].label]
    with pytest.raises(ObjectMissing, match=taken[1].label) as failed:
        base(repository, taken[2].label)
    assert f"--backup {taken[0].label}" in str(failed.value.hint)


def test_what_retention_has_ended_is_no_base_unless_it_is_named(
    repository: Repository, taken: list[Manifest]
) -> None:
    marks = Marks(repository)
    marks.put(taken[2].backup, "old")
    assert base(repository).chain.newest == taken[1]
    assert base(repository).passed_over == ()
    assert base(repository, taken[2].label).chain.newest == taken[2]
    marks.put(taken[1].backup, "old")
    marks.put(taken[0].backup, "old")
    with pytest.raises(TargetUnreachable, match="retention has ended every backup that leads to") as failed:
        base(repository)
    assert f"--backup {taken[2].label}" in str(failed.value.hint)
    assert f"backstay expire s1 --take-back {taken[2].label}" in str(failed.value.hint)


def test_a_damaged_manifest_is_told_of_as_well(
    repository: Repository, store: MemoryStore, taken: list[Manifest]
) -> None:
    store.put(layout.manifest(taken[1].backup), b"nonsense", if_absent=False)
    assert [each.label for each in base(repository).passed_over] == [taken[2].label, taken[1].label]


def test_where_all_that_leads_to_the_point_is_lost_that_is_the_error(
    repository: Repository, store: MemoryStore, taken: list[Manifest]
) -> None:
    for each in taken:
        store.delete(layout.index_part(each.backup, 0))
    with pytest.raises(ObjectMissing, match=f"{taken[1].label}/i000000|{taken[2].label}/i000000"):
        base(repository)


def test_a_newer_backup_of_another_key_is_never_passed_over(tmp_path: Path, store: MemoryStore) -> None:
    sources: list[FileSource] = []
    for name in ("k1", "k2"):
        create_key_file(tmp_path / name)
        sources.append(FileSource(name, tmp_path / name))
    Repository.create(store, Keyring(sources[:1]), SystemClock()).add_key(sources[1], SystemClock())
    server = MadeServer(8, pages=9)
    first = server.full(Repository.open(store, Keyring(sources[:1])))
    second = server.full(Repository.open(store, Keyring(sources[1:])))
    only_first = Repository.open(store, Keyring(sources[:1]))
    with pytest.raises(KeyUnusable, match=second.label) as failed:
        base(only_first)
    assert f"--backup {first.label}" in str(failed.value.hint)
    assert base(only_first, first.label).chain.newest == first
    # One that is older than what is taken stands in nobody's way.
    assert base(Repository.open(store, Keyring(sources[1:]))).chain.newest == second


def test_a_backup_of_a_replica_that_was_reset_is_never_a_base(
    repository: Repository, taken: list[Manifest]
) -> None:
    torn = write_made_backup(repository, made_data_directory(pages=6), low="", high=f"{UUID}:6-9")
    assert torn.label > taken[2].label
    choice = base(repository)
    assert choice.chain.newest == taken[2]
    (passed,) = choice.passed_over
    assert passed.label == torn.label and f"{UUID}:1-5" in passed.problem
    with pytest.raises(TargetUnreachable, match=f"{UUID}:1-5") as refused:
        base(repository, torn.label)
    assert refused.value.hint


def test_a_point_to_which_only_such_a_backup_would_lead_is_refused_with_the_reason(
    repository: Repository, taken: list[Manifest]
) -> None:
    torn = write_made_backup(repository, made_data_directory(pages=6), low="", high="")
    assert torn.label > taken[2].label
    line = LivedLine(counted(UUID, 1, 20))
    early = resolve(line, RecoveryTarget.before(Gtid.parse(f"{UUID}:5")))
    with pytest.raises(TargetUnreachable, match=f"{torn.label}.*{UUID}:1-5"):
        base_for(repository, cast("Any", line), early, LATEST)


def beyond(repository: Repository, target: RecoveryTarget, *, behind: str) -> str | None:
    """Which backup holds more than a line that ends at transaction 4."""
    line = LivedLine(counted(UUID, 2, 4), first_gtids=GtidSet.parse(f"{UUID}:1"))
    found = beyond_the_archive(repository, cast("Any", line), resolve(line, target), target, behind=behind)
    return found and f"{found.label} {found.gtids}"


def test_the_end_of_an_archive_that_lags_names_the_newest_backup_that_holds_more(
    repository: Repository, taken: list[Manifest]
) -> None:
    behind = "20200101T000000Z-full"
    more = GtidSet.parse(taken[2].gtid.low) - GtidSet.parse(f"{UUID}:1-4")
    assert more
    end = RecoveryTarget.latest()
    assert beyond(repository, end, behind=behind) == f"{taken[2].label} {more.one_line()}"
    assert beyond(repository, end, behind=taken[2].label) is None
    exact = RecoveryTarget.exactly(GtidSet.parse(f"{UUID}:1-4"))
    assert beyond(repository, exact, behind=behind) is None
    Marks(repository).put(taken[2].backup, "for the test")
    assert (beyond(repository, end, behind=behind) or "").startswith(taken[1].label)


def test_what_was_found_damaged_is_passed_over_where_another_leads_there_and_taken_where_none_does(
    repository: Repository, taken: list[Manifest]
) -> None:
    notes = DamageNotes(repository)
    notes.put(layout.pack(taken[1].backup, 0), "frame 0 does not unseal")
    choice = base(repository)
    assert choice.chain.newest == taken[0]
    told = notes.all()[0].short
    assert [(each.label, each.problem) for each in choice.passed_over] == [
        (taken[2].label, told),
        (taken[1].label, told),
    ]
    assert base(repository, taken[2].label).chain.newest == taken[2]
    notes.put(layout.pack(taken[0].backup, 0), "frame 0 does not unseal")
    choice = base(repository)
    assert choice.chain.newest == taken[2] and choice.passed_over == ()


def test_what_is_damaged_and_ended_is_not_told_of(repository: Repository, taken: list[Manifest]) -> None:
    Marks(repository).put(taken[2].backup, "old")
    DamageNotes(repository).put(layout.pack(taken[2].backup, 0), "frame 0 does not unseal")
    choice = base(repository)
    assert choice.chain.newest == taken[1] and choice.passed_over == ()


def test_the_way_out_names_no_backup_that_was_found_damaged(
    repository: Repository, store: MemoryStore, taken: list[Manifest]
) -> None:
    DamageNotes(repository).put(layout.pack(taken[1].backup, 0), "frame 0 does not unseal")
    store.delete(layout.index_part(taken[2].backup, 0))
    with pytest.raises(ObjectMissing) as failed:
        base(repository, taken[2].label)
    assert f"--backup {taken[0].label}" in str(failed.value.hint)
