"""Segments put, listed and read; epochs, notes and lives."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from archived_binlogs import CREATED, SOURCE, MadeFile, binlog, facts, open_first
from sealed_backups import TickingClock, flipped, names, replace

from fleet.errors import ObjectDamaged, ObjectExists, ObjectMissing, SourceDiverged
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.cover import SegmentRef
from repository.archive.ledger import Life, Note
from repository.repository import Repository
from repository.stores.counting import Counting
from repository.stores.memory import MemoryStore

AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def made_file() -> MadeFile:
    return MadeFile(binlog(), GtidSet.parse(f"{SOURCE}:1-10")).run(SOURCE, 11, 40).rotate()


def test_what_was_put_is_listed_and_read_again(archive: ShardArchive) -> None:
    made = made_file()
    cuts = made.cuts(5)
    made.put(archive, cuts, "rotate")
    (file,) = archive.files(1)
    assert (file.name, file.end, file.holes, file.spare) == (made.name, len(made.data), (), ())
    assert [(ref.start, ref.end) for ref in file.segments] == list(pairwise(cuts))
    assert b"".join(archive.data(ref) for ref in file.segments) == bytes(made.data)
    headers = [archive.header(ref) for ref in file.segments]
    assert [header.closed for header in headers] == [None] * (len(cuts) - 2) + ["rotate"]
    for header, after in pairwise(headers):
        assert after.set_before == header.set_before | header.own_set
    rows = [row for ref in file.segments for row in archive.index(ref).transactions()]
    assert rows == made.transactions
    assert archive.file(made.name) == file


def test_putting_the_same_again_is_told_from_putting_other_bytes(archive: ShardArchive) -> None:
    made = made_file()
    draft = made.draft(0, made.edges[9])
    assert archive.put(archive.seal(draft)) is True
    assert archive.put(archive.seal(draft)) is False
    assert archive.put(archive.seal(draft._replace(closed="torn"))) is False
    other = flipped(bytes(draft.data), len(draft.data) * 8 - 5)
    with pytest.raises(SourceDiverged, match=r"binlog\.000001: bytes 0 to"):
        archive.put(archive.seal(draft._replace(data=other)))
    assert archive.data(archive.file(made.name).segments[0]) == draft.data


def test_a_long_index_takes_a_second_read_and_is_the_same(archive: ShardArchive) -> None:
    made = MadeFile(binlog())
    for number in range(1, 9001):
        made.commit(f"{SOURCE}:{number}", at_us=made.chance.getrandbits(60), size=1)
    made.put(archive, [0, len(made.data)])
    (ref,) = archive.file(made.name).segments
    assert archive.index(ref).transactions() == made.transactions
    assert archive.header(ref).transactions == 9000
    assert archive.header(ref).index_bytes > 64 * 1024


def test_epochs_follow_each_other(archive: ShardArchive) -> None:
    inherited = GtidSet.parse(f"{SOURCE}:1-5")
    second = archive.open_epoch(facts(1, inherited=inherited), TickingClock())
    assert (second.epoch, second.parent, second.inherited_set) == (2, 1, inherited)
    for parent in range(2, 20):
        archive.open_epoch(facts(parent), TickingClock())
    assert [epoch.epoch for epoch in archive.epochs()] == list(range(1, 21))
    with pytest.raises(ObjectMissing, match="000030/opened"):
        archive.open_epoch(facts(30), TickingClock())


def test_who_comes_second_gets_the_epoch_of_the_first(repository: Repository) -> None:
    one, two = ShardArchive(repository, "s1"), ShardArchive(repository, "s1")
    opened = open_first(one)
    assert two.open_epoch(facts(server_name="s1-b"), TickingClock()) == opened
    assert opened.server_name == "s1-a"


def test_an_epoch_that_vanished_is_no_end_of_the_list(archive: ShardArchive, store: MemoryStore) -> None:
    for parent in (1, 2, 3):
        archive.open_epoch(facts(parent), TickingClock())
    store.delete(layout.epoch_opened("s1", 3))
    with pytest.raises(ObjectMissing, match="000003/opened"):
        archive.epochs()


def test_epochs_that_were_known_a_moment_ago_are_not_read_again(
    repository: Repository, archive: ShardArchive
) -> None:
    counted = Counting(repository.store)
    reader = ShardArchive(Repository(counted, repository.description, repository.keys), "s1")
    archive.open_epoch(facts(1), TickingClock())
    known = reader.epochs()
    archive.open_epoch(facts(2), TickingClock())
    archive.open_epoch(facts(3), TickingClock())
    before = counted.counts.snapshot()["get"].requests
    assert reader.epochs(known) == archive.epochs()
    assert len(known) == 2
    # Two that are new with their keys, and one that is not there.
    assert counted.counts.snapshot()["get"].requests - before == 5


def test_notes_are_kept_in_order_of_time(archive: ShardArchive) -> None:
    archive.open_epoch(facts(1), TickingClock())
    later = Note(kind="gap", at=AT.replace(hour=5), text="purged", gtids=f"{SOURCE}:1-3")
    first = Note(kind="fell-to-async", at=AT, text="no answer in 10 s", ended_at=AT.replace(minute=1))
    archive.note(1, later)
    archive.note(2, first)
    archive.note(2, first)
    assert archive.notes() == [first, first, later]
    assert archive.notes(1) == [later]
    assert later.gtid_set == GtidSet.parse(f"{SOURCE}:1-3")


def test_a_life_is_found_whatever_epoch_it_stands_in(archive: ShardArchive) -> None:
    archive.open_epoch(facts(1), TickingClock())
    life = Life(server_uuid=SOURCE, restored_at=AT, epoch=1, gtid_executed=f"{SOURCE}:1-9", skipped="")
    assert archive.life(SOURCE) is None
    archive.record_life(life)
    archive.record_life(life.model_copy(update={"restored_at": AT.replace(hour=9)}))
    assert archive.life(SOURCE) == life
    with pytest.raises(ObjectExists):
        archive.record_life(life.model_copy(update={"gtid_executed": ""}))


@pytest.mark.parametrize("where", [0.0, 0.02, 0.1, 0.3, 0.6, 0.999])
def test_one_bit_anywhere_is_damage_with_the_name_of_the_object(
    archive: ShardArchive, store: MemoryStore, where: float
) -> None:
    made = made_file()
    made.put(archive, [0, len(made.data)])
    (ref,) = archive.file(made.name).segments
    name = layout.segment("s1", ref.name)
    content = store.get(name)
    replace(store, name, flipped(content, int(len(content) * 8 * where)))
    with pytest.raises(ObjectDamaged, match=name):
        archive.read(ref)
    replace(store, name, content[: int(len(content) * where)])
    with pytest.raises(ObjectDamaged, match=name):
        archive.read(ref)


def test_a_segment_under_the_name_of_another_does_not_open(archive: ShardArchive, store: MemoryStore) -> None:
    made = made_file()
    made.put(archive, [0, made.edges[20], len(made.data)])
    first, second = archive.file(made.name).segments
    content = store.get(layout.segment("s1", first.name))
    replace(store, layout.segment("s1", second.name), content)
    for read in (archive.read, archive.header, archive.index):
        with pytest.raises(ObjectDamaged, match=layout.segment("s1", second.name)):
            read(SegmentRef(second.name, len(content)))


def test_names_of_objects_say_nothing_but_positions(archive: ShardArchive, store: MemoryStore) -> None:
    made_file().put(archive, [0, made_file().edges[20]])
    folder = f"archive/s1/000001/binlogs/{SOURCE}/binlog.000001.{CREATED:08x}"
    assert names(store, "archive/") == [
        f"{folder}/000000000000-{made_file().edges[20]:012d}",
        "archive/s1/000001/keys/k1.json",
        "archive/s1/000001/opened",
    ]
    assert b"shop" not in b"".join(store.get(name) for name in names(store, "archive/"))
