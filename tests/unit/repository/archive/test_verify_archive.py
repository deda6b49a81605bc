"""Verifying an archive: every object is read, and all that is wrong is named."""

from __future__ import annotations

import pytest
from archived_binlogs import SOURCE, MadeFile, binlog, facts
from sealed_backups import TickingClock, ToldStore, flipped, names, replace

from fleet.errors import Cancelled, StoreUnreachable
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Note
from repository.archive.verify import verify_archive
from repository.keys import Keyring
from repository.layout import SegmentName
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from repository.verify import VerifyProgress


@pytest.fixture
def made(archive: ShardArchive) -> MadeFile:
    made = MadeFile(binlog()).run(SOURCE, 1, 40).rotate()
    made.put(archive, made.cuts(9), "rotate")
    made.put(archive, made.cuts(4), "rotate")
    archive.note(1, Note(kind="gap", at=TickingClock().now(), text="something"))
    archive.open_epoch(facts(1), TickingClock())
    other = MadeFile(binlog(epoch=2)).run(SOURCE, 41, 60)
    other.put(archive, other.cuts(3))
    return made


def test_a_sound_archive_is_counted(archive: ShardArchive, made: MadeFile, store: MemoryStore) -> None:
    seen: list[VerifyProgress] = []
    report = verify_archive(archive, seen.append)
    assert report.is_sound and report.damages == report.holes == ()
    assert (report.epochs, report.files) == (2, 2)
    # Two cuts of one file overlap: what is in both is one transaction.
    assert report.transactions == 60
    assert report.segments == len([name for name in names(store, "archive/") if "binlogs" in name])
    assert seen[-1].objects_done == report.segments
    assert seen[-1].bytes_done == seen[-1].bytes_total == report.stored_bytes


def test_every_damaged_object_is_named(archive: ShardArchive, made: MadeFile, store: MemoryStore) -> None:
    segments = [name for name in names(store, "archive/") if "binlogs" in name]
    broken = {segments[1], segments[-1], *names(store, "archive/s1/000001/notes/")}
    for name in broken:
        replace(store, name, flipped(store.get(name), 8 * 150))
    report = verify_archive(archive)
    named = {damage.name for damage in report.damages}
    assert {name for name in named if "binlogs" in name} == {segments[1], segments[-1]}
    assert [damage.problem for damage in report.damages if damage.name.endswith("/notes/")]
    assert not report.is_sound


def test_a_hole_is_named(archive: ShardArchive, store: MemoryStore) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 10)
    cuts = made.edges[::10]
    made.put(archive, cuts)
    store.delete(layout.segment("s1", SegmentName.of(made.name, cuts[1], cuts[2])))
    report = verify_archive(archive)
    assert not report.damages
    assert [hole.problem for hole in report.holes] == [f"its bytes from {cuts[1]} to {cuts[2]} are missing"]


def test_an_index_that_does_not_fit_its_events_is_damage(archive: ShardArchive) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 10)
    draft = made.draft(0, len(made.data))
    archive.put(archive.seal(draft._replace(transactions=draft.transactions[:-2])))
    (damage,) = verify_archive(archive).damages
    assert "10 transactions begin in it, and its index has 8" in damage.problem


def test_half_an_event_is_damage(archive: ShardArchive) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 10)
    archive.put(archive.seal(made.draft(0, made.edges[12] - 7)))
    (damage,) = verify_archive(archive).damages
    assert "does not end where the segment does" in damage.problem


def test_a_pair_of_segments_that_contradict_each_other_is_damage(archive: ShardArchive) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 10)
    middle = made.transactions[5].start
    archive.put(archive.seal(made.draft(0, middle)))
    draft = made.draft(middle, len(made.data))
    archive.put(archive.seal(draft._replace(gtids_before=made.transactions[0].gtid.as_set())))
    (damage,) = verify_archive(archive).damages
    assert "not those of the segment before" in damage.problem


def test_a_damaged_epoch_ends_the_reading_there(
    archive: ShardArchive, made: MadeFile, repository: Repository, store: MemoryStore
) -> None:
    name = layout.epoch_opened("s1", 2)
    replace(store, name, flipped(store.get(name), 8 * 150))
    report = verify_archive(ShardArchive(repository, "s1"))
    assert report.epochs == 1
    assert name in report.damages[0].problem


def test_a_store_that_is_gone_says_nothing_about_the_archive(
    archive: ShardArchive, made: MadeFile, keyring: Keyring, store: MemoryStore
) -> None:
    class Gone(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "get" and "binlogs" in key:
                raise StoreUnreachable("the store is gone")

    with pytest.raises(StoreUnreachable):
        verify_archive(ShardArchive(Repository.open(Gone(store), keyring), "s1"))


@pytest.mark.parametrize("where", ["binlogs/", "notes/", "opened"])
def test_a_stop_by_the_user_is_no_damage(
    archive: ShardArchive, made: MadeFile, keyring: Keyring, store: MemoryStore, where: str
) -> None:
    class Stopped(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if where in key or (where == "opened" and operation == "list"):
                raise Cancelled("stopped by SIGINT")

    with pytest.raises(Cancelled):
        verify_archive(ShardArchive(Repository.open(Stopped(store), keyring), "s1"))
