"""A chain becomes a complete full from the repository alone, and whatever dies meanwhile leaves the chain."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from linked_backups import (
    PassingClock,
    a_donor,
    differing,
    restored,
    second_of,
    take_chain,
    take_full,
    take_incremental,
)

from backup.consolidate import consolidate, plan_consolidate
from fleet.errors import (
    Cancelled,
    NotFound,
    ObjectMissing,
    RetentionRefused,
    StoreDenied,
    StoreUnreachable,
    TurnTaken,
)
from repository import layout
from repository.catalog import Catalog
from repository.keys import Keyring
from repository.marks import Marks
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.stores.memory import MemoryStore
from repository.verify import verify_backup
from tests.unit.repository.sealed_backups import DyingStore, ToldStore, file_keyring, names


@pytest.fixture
def clock() -> PassingClock:
    return PassingClock()


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return file_keyring(tmp_path)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, keyring: Keyring, clock: PassingClock) -> Repository:
    return Repository.create(store, keyring, clock)


def stored(store: MemoryStore) -> list[str]:
    """What there is, but for turns: that they were had is known for ever."""
    return [name for name in names(store) if not name.startswith("turns/")]


@pytest.mark.parametrize("lost", ["p00000000", "i000000"])
def test_a_chain_of_which_something_is_gone_is_refused_and_nothing_is_written(
    store: MemoryStore, repository: Repository, clock: PassingClock, lost: str
) -> None:
    newest = take_chain(repository, clock, a_donor(1), 3)
    assert newest.base is not None
    base = layout.BackupName("s1", newest.base.label)
    store.delete(f"{layout.packs_and_parts(base)}{lost}")
    before = names(store)
    for refused in (plan_consolidate, consolidate):
        with pytest.raises(ObjectMissing, match=base.label) as caught:
            refused(repository, "s1")
        assert "--stored" in (caught.value.hint or "")
    assert names(store) == before


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("links", [2, 4])
def test_the_full_holds_what_the_donor_had_at_the_end_of_the_chain(
    repository: Repository, clock: PassingClock, seed: int, links: int
) -> None:
    donor = a_donor(seed)
    newest = take_chain(repository, clock, donor, links)
    result = consolidate(repository, "s1", clock=clock)
    full = Catalog(repository).manifest("s1", result.label)
    assert differing(restored(repository, full), donor.content()) == []
    assert (result.found, result.consolidates, len(result.links)) == ("chain", newest.label, links)
    assert (full.kind, full.base, full.built_on) == ("full", None, None)
    assert full.needs.read == ("referring",)
    assert {one.label for one in full.refers_to} <= set(result.links)
    for fact in ("files", "directories", "donor", "settings", "lsn", "gtid", "binlog", "damaged_pages"):
        assert getattr(full, fact) == getattr(newest, fact)
    assert second_of(full.label) == second_of(newest.label)
    assert verify_backup(repository, full).damages == ()


def test_no_pack_is_read_and_none_is_written(
    store: MemoryStore, keyring: Keyring, repository: Repository, clock: PassingClock
) -> None:
    take_chain(repository, clock, a_donor(1), 3)
    before = set(names(store))
    read: list[str] = []

    class Watched(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation in {"get", "get_range"}:
                read.append(key)

    watched = Repository(Watched(store), repository.description, repository.keys)  # type: ignore[arg-type]
    result = consolidate(watched, "s1", clock=clock)
    assert [key for key in read if "/p0" in key] == []
    new = set(names(store)) - before
    assert {key.split("/")[0] for key in new} == {"keys", "data", "manifests", "turns"}
    assert [key for key in new if "/p0" in key] == []
    assert result.stored_bytes == sum(len(store.get(key)) for key in new if key.startswith("data/"))


def test_a_second_run_and_a_full_are_told_and_leave_all_as_it_is(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    donor = a_donor(2)
    full = take_full(repository, clock, donor)
    assert consolidate(repository, "s1", clock=clock).found == "full"
    newest = take_incremental(repository, clock, donor, full)
    plan = plan_consolidate(repository, "s1")
    assert (plan.found, plan.full, plan.links) == ("chain", None, (newest.label, full.label))
    first = consolidate(repository, "s1", clock=clock)
    before = names(store)
    again = consolidate(repository, "s1", newest.label, clock=clock)
    assert (again.found, again.label, again.consolidates) == ("consolidated", first.label, newest.label)
    assert plan_consolidate(repository, "s1", newest.label).full == first.label
    itself = consolidate(repository, "s1", first.label, clock=clock)
    assert (itself.found, itself.label, itself.consolidates) == ("consolidated", first.label, newest.label)
    assert consolidate(repository, "s1", full.label, clock=clock).found == "full"
    assert names(store) == before
    with pytest.raises(NotFound):
        consolidate(repository, "s1", "20200101T000000Z-full", clock=clock)


def test_a_link_in_the_middle_can_be_consolidated_and_a_chain_goes_on_from_it(
    repository: Repository, clock: PassingClock
) -> None:
    donor = a_donor(3)
    middle = take_chain(repository, clock, donor, 3)
    then = donor.content()
    made = consolidate(repository, "s1", middle.label, clock=clock)
    full = Catalog(repository).manifest("s1", made.label)
    assert differing(restored(repository, full), then) == []
    newest = take_incremental(repository, clock, donor, take_incremental(repository, clock, donor, full))
    result = consolidate(repository, "s1", newest.label, clock=clock)
    assert result.links == (newest.label, newest.base.label if newest.base else "", full.label)
    assert full.label not in result.needs  # it holds no data of its own
    again = Catalog(repository).manifest("s1", result.label)
    assert differing(restored(repository, again), donor.content()) == []


def test_a_label_that_is_taken_is_passed_over(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(4), 2)
    taken = layout.BackupName("s1", layout.format_label(second_of(newest.label), "full"))
    store.put(layout.wrapped_key(taken, "k1"), b"of a run that died")
    result = consolidate(repository, "s1", newest.label, clock=clock)
    assert second_of(result.label) == second_of(newest.label) + timedelta(seconds=1)
    assert consolidate(repository, "s1", newest.label, clock=clock).found == "consolidated"


def test_a_chain_whose_base_is_gone_is_refused(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(5), 3)
    oldest = Catalog(repository).backups("s1")[0]
    store.delete(layout.manifest(layout.BackupName("s1", oldest.label)))
    before = names(store)
    for attempt in (consolidate, plan_consolidate):
        with pytest.raises(ObjectMissing, match=oldest.label) as refused:
            attempt(repository, "s1", newest.label)
        assert refused.value.hint
    assert names(store) == before


def test_a_chain_on_a_full_whose_data_is_gone_is_no_base_and_is_refused(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    donor = a_donor(11)
    middle = take_chain(repository, clock, donor, 2)
    full = Catalog(repository).manifest("s1", consolidate(repository, "s1", middle.label, clock=clock).label)
    newest = take_incremental(repository, clock, donor, full)
    gone = full.refers_to[0].label
    store.delete(layout.manifest(layout.BackupName("s1", gone)))
    before = names(store)
    with pytest.raises(ObjectMissing, match=gone):
        consolidate(repository, "s1", newest.label, clock=clock)
    assert names(store) == before


def test_a_base_that_goes_meanwhile_makes_no_full(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(6), 3)
    oldest = layout.manifest(layout.BackupName("s1", Catalog(repository).backups("s1")[0].label))

    class Pruned(ToldStore):
        def after(self, operation: str, key: str) -> None:
            if operation == "put" and "/i0" in key:
                store.delete(oldest)

    pruned = Repository(Pruned(store), repository.description, repository.keys)  # type: ignore[arg-type]
    with pytest.raises(ObjectMissing):
        consolidate(pruned, "s1", newest.label, clock=clock)
    assert [name for name in names(store) if name.endswith("-full")] == []


def test_of_two_runs_at_once_the_slower_one_tells_of_the_faster(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(7), 3)
    faster: list[str] = []

    class Overtaken(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "put" and key.startswith("turns/"):
                raise StoreDenied("turns/ is not for this account")

        def after(self, operation: str, key: str) -> None:
            if operation == "put" and key.startswith("keys/") and not faster:
                faster.append("now")
                faster[0] = consolidate(repository, "s1", newest.label, clock=clock).label

    overtaken = Repository(Overtaken(store), repository.description, repository.keys)  # type: ignore[arg-type]
    result = consolidate(overtaken, "s1", newest.label, clock=clock)
    assert (result.found, result.label) == ("consolidated", faster[0])
    made = [one for one in Catalog(repository).manifests("s1") if one.consolidates]
    assert [one.label for one in made] == faster


def test_while_a_shard_is_backed_up_a_second_run_is_refused(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(7), 3)
    refused: list[TurnTaken] = []

    class Second(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "put" and key.startswith("keys/"):
                with pytest.raises(TurnTaken, match=r"shard s1 is taken by .* since .* UTC") as caught:
                    consolidate(repository, "s1", newest.label, clock=clock)
                refused.append(caught.value)

    running = Repository(Second(store), repository.description, repository.keys)  # type: ignore[arg-type]
    made = consolidate(running, "s1", newest.label, clock=clock)
    assert [error.retryable for error in refused] == [True]
    assert consolidate(repository, "s1", newest.label, clock=clock).label == made.label


def test_a_run_that_loses_its_turn_is_not_completed(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(7), 3)
    before = stored(store)

    class Overtaken(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "put" and "/i0" in key:
                (mine,) = names(store, "turns/")
                store.put(f"{mine[:-8]}{int(mine[-8:]) + 1:08}", b"another's")

    running = Repository(Overtaken(store), repository.description, repository.keys)  # type: ignore[arg-type]
    with pytest.raises(TurnTaken, match="turn of shard s1 was lost"):
        consolidate(running, "s1", newest.label, clock=clock)
    assert stored(store) == before


def test_a_run_that_is_cancelled_leaves_nothing(
    store: MemoryStore, repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(8), 3)
    before = stored(store)
    cancelled = threading.Event()

    class Impatient:
        def stage(self, name: str, total_bytes: int | None = None) -> None:
            assert (name, bool(total_bytes)) == ("consolidating", True)

        def advance(self, count_bytes: int) -> None:
            cancelled.set()

        def note(self, text: str) -> None:
            pass

    with pytest.raises(Cancelled):
        consolidate(repository, "s1", newest.label, clock=clock, progress=Impatient(), cancelled=cancelled)
    assert stored(store) == before


@pytest.mark.parametrize("unheard", [False, True], ids=["refused", "unheard"])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "killed"])
def test_a_run_that_dies_anywhere_leaves_the_chain_and_the_next_one_ends_it(
    store: MemoryStore, repository: Repository, clock: PassingClock, unheard: bool, forever: bool
) -> None:
    donor = a_donor(9)
    newest = take_chain(repository, clock, donor, 3)
    catalog = Catalog(repository)
    chain = {one.label for one in catalog.backups()}
    before = set(names(store))
    for at in range(1, 200):
        dying = DyingStore(store, at, unheard=unheard, forever=forever)
        running = Repository(dying, repository.description, repository.keys)  # type: ignore[arg-type]
        try:
            consolidate(running, "s1", newest.label, clock=clock)
        except StoreUnreachable:
            # The turn of a process that died ends by itself; this one lives.
            for name in names(store, "turns/") if forever else ():
                store.delete(name)
            survey = catalog.survey()
            assert survey.unreadable == ()
            assert before <= set(names(store))
            for made in {one.label for one in survey.backups} - chain:
                # Its manifest was stored although nobody heard of it: then it is whole.
                assert forever or unheard
                assert differing(restored(repository, catalog.manifest("s1", made)), donor.content()) == []
            result = consolidate(repository, "s1", newest.label, clock=clock)
            full = catalog.manifest("s1", result.label)
            assert differing(restored(repository, full), donor.content()) == []
            for name in set(names(store)) - before:
                store.delete(name)
        else:
            break
    else:
        pytest.fail("it never succeeded")
    assert at > 10


def test_the_rescue_restores_what_was_consolidated(clock: PassingClock, tmp_path: Path) -> None:
    keyring = file_keyring(tmp_path)
    repository = Repository.create(FilesystemStore(tmp_path / "copy"), keyring, clock)
    donor = a_donor(10)
    take_chain(repository, clock, donor, 3)
    made = consolidate(repository, "s1", clock=clock)
    target = tmp_path / "data"
    words = ["restore", tmp_path / "copy", "s1", made.label, target, "--key", tmp_path / "k1.key"]
    finished = subprocess.run(
        [sys.executable, tmp_path / "copy/rescue.py", *words], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    found = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert differing(found, donor.content()) == []


def test_what_retention_has_ended_is_neither_made_a_full_nor_taken_for_one(
    repository: Repository, clock: PassingClock
) -> None:
    newest = take_chain(repository, clock, a_donor(1), 3)
    full = consolidate(repository, "s1", clock=clock)
    marks = Marks(repository)
    marks.put(layout.BackupName("s1", full.label), "old")
    again = consolidate(repository, "s1", newest.label, clock=clock)
    assert again.found == "chain"
    assert again.label != full.label
    marks.put(newest.backup, "old")
    with pytest.raises(RetentionRefused, match="retention has ended backup") as caught:
        consolidate(repository, "s1", newest.label, clock=clock)
    assert f"--take-back {newest.label}" in str(caught.value.hint)
