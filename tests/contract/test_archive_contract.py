"""The binlog archive over every kind of store: races, composing, following, what is missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from fleet.clock import SystemClock
from fleet.errors import ObjectDamaged, ObjectMissing, SourceDiverged
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.find import Query, find
from repository.archive.ledger import Life, Note
from repository.archive.line import Line
from repository.archive.stream import stream
from repository.keys import FileSource, Keyring, create_key_file
from repository.repository import Repository
from repository.stores.interface import Store
from tests.unit.repository.archive.archived_binlogs import EMPTY, OTHER, SOURCE, MadeFile, binlog, facts

# What the other stores do in their own ways, the contract of stores holds them to.
pytestmark = pytest.mark.parametrize(
    "store", ["memory", "filesystem", pytest.param("s3", marks=pytest.mark.s3)], indirect=True
)

Answer = TypeVar("Answer")


@pytest.fixture
def repository(store: Store, tmp_path: Path) -> Repository:
    create_key_file(tmp_path / "k1.key")
    keyring = Keyring([FileSource("k1", tmp_path / "k1.key")])
    return Repository.create(store, keyring, SystemClock())


@pytest.fixture
def archive(repository: Repository) -> ShardArchive:
    made = ShardArchive(repository, "s1")
    made.open_epoch(facts(), SystemClock())
    return made


def at_once(count: int, call: Callable[[int], Answer]) -> list[Answer]:
    start = threading.Barrier(count)

    def run(number: int) -> Answer:
        start.wait()
        return call(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def test_a_file_goes_in_as_segments_and_comes_out_as_it_was(archive: ShardArchive, store: Store) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 60, size=3000).rotate()
    made.put(archive, made.cuts(10), "rotate")
    line = Line.of(archive)
    assert [entry.transaction for entry in line.transactions()] == made.transactions
    assert archive.compose(made.name) == len(made.data)
    (ref,) = archive.file(made.name).segments
    assert [info.key for info in store.list(layout.binlogs("s1", 1))] == [layout.segment("s1", ref.name)]
    assert archive.data(ref) == bytes(made.data)
    # A look from before goes on, through what is there now.
    assert [entry.transaction for entry in line.transactions()] == made.transactions
    found = [entry.transaction.gtid.number for entry in find(line, Query(bigger_than=3000, limit=3))]
    assert found == [1, 2, 3]
    data = b"".join(chunk.data for chunk in stream(line, EMPTY, threads=2) if chunk)
    last = made.transactions[-1]
    assert data == bytes(made.data[4 : last.start + last.length])


def test_of_archivers_that_put_the_same_exactly_one_put_it(
    repository: Repository, archive: ShardArchive
) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 20)
    archives = [ShardArchive(repository, "s1") for _ in range(6)]
    put = at_once(
        6, lambda number: archives[number].put(archives[number].seal(made.draft(0, len(made.data))))
    )
    assert put.count(True) == 1
    other = MadeFile(binlog(), seed=7).run(SOURCE, 1, 20)
    with pytest.raises(SourceDiverged):
        archive.put(archive.seal(other.draft(0, len(other.data))))


def test_of_archivers_that_open_an_epoch_all_get_the_same(repository: Repository) -> None:
    archives = [ShardArchive(repository, "s2") for _ in range(6)]
    opened = at_once(
        6, lambda number: archives[number].open_epoch(facts(server_name=f"s2-{number}"), SystemClock())
    )
    assert len({epoch.server_name for epoch in opened}) == 1
    after = at_once(6, lambda number: archives[number].open_epoch(facts(1), SystemClock()))
    assert len({epoch.opened_at for epoch in after}) == 1
    made = MadeFile(binlog(epoch=2)).run(SOURCE, 1, 5)
    made.put(archives[3], made.cuts(3))
    assert [file.end for file in archives[5].files(2)] == [len(made.data)]


def test_notes_and_lives_are_found_again(archive: ShardArchive) -> None:
    now = SystemClock().now()
    note = Note(kind="gap", at=now, text="purged before it was archived", gtids=f"{SOURCE}:1-3")
    archive.note(1, note)
    archive.note(1, note)
    assert archive.notes() == [note, note]
    life = Life(server_uuid=OTHER, restored_at=now, epoch=1, gtid_executed=f"{SOURCE}:1-3")
    archive.record_life(life)
    assert (archive.life(OTHER), archive.life(SOURCE)) == (life, None)


def test_what_is_missing_or_cut_off_is_named(archive: ShardArchive, store: Store) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 30)
    made.put(archive, [0, made.edges[40], made.edges[80], len(made.data)])
    refs = archive.file(made.name).segments
    names = [layout.segment("s1", ref.name) for ref in refs]
    content = store.get(names[1])
    store.delete(names[1])
    with pytest.raises(ObjectMissing, match=names[1]):
        archive.data(refs[1])
    assert archive.file(made.name).holes == ((refs[1].start, refs[1].end),)
    assert Line.of(archive).gaps[0].missing <= GtidSet.parse(f"{SOURCE}:1-30")
    store.put(names[1], content[:-9])
    with pytest.raises(ObjectDamaged, match=names[1]):
        archive.data(refs[1])
