from __future__ import annotations

import random
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_backups import TickingClock, ToldStore, differing, names, replace, restored, sample, take

from fleet.errors import ObjectDamaged, ObjectMissing
from repository.index import PackRef, Record
from repository.keys import Keyring
from repository.manifest import Manifest
from repository.reader import BackupReader, plan_reads
from repository.repository import Repository
from repository.seal import FrameSpan
from repository.stores.memory import MemoryStore


class Logged(ToldStore):
    """Remembers what ranges were asked for."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.ranges: list[tuple[str, int, int]] = []

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.ranges.append((key, offset, length))
        return super().get_range(key, offset, length)


@pytest.fixture
def manifest(repository: Repository, ticking: TickingClock) -> Manifest:
    return take(repository, ticking, sample())


def largest_pack(reader: BackupReader) -> tuple[PackRef, list[Record]]:
    packs = [(pack, records) for part in reader.index_parts() for pack, records in part.by_pack()]
    return max(packs, key=lambda found: found[0].frames)


@pytest.mark.parametrize("read_bytes", [1, 1500, 4096, 10**6])
@pytest.mark.parametrize("gap_bytes", [0, 2000])
def test_a_backup_reads_the_same_whatever_the_size_of_reads(
    repository: Repository, manifest: Manifest, read_bytes: int, gap_bytes: int
) -> None:
    content = restored(repository, manifest, read_bytes=read_bytes, gap_bytes=gap_bytes)
    assert differing(content, sample().content()) == []


@pytest.mark.parametrize("read_bytes", [1, 1500, 10**6])
def test_all_frames_are_those_of_the_index(
    repository: Repository, manifest: Manifest, read_bytes: int
) -> None:
    reader = BackupReader(repository, manifest, read_bytes=read_bytes)
    for part in reader.index_parts():
        for pack, records in part.by_pack():
            frames = [frame._replace(data=bytes(frame.data)) for frame in reader.frames(pack)]
            by_spans = reader.frames(pack, [record.span for record in records])
            assert frames == [frame._replace(data=bytes(frame.data)) for frame in by_spans]
            assert [frame.number for frame in frames] == list(range(pack.frames))
            assert [frame.span for frame in frames] == sorted({record.span for record in records})


def test_one_frame_is_read_alone_by_one_range(
    store: MemoryStore, keyring: Keyring, repository: Repository, manifest: Manifest
) -> None:
    logged = Logged(store)
    reader = BackupReader(Repository.open(logged, keyring), manifest)
    pack, records = largest_pack(reader)
    record = records[2]
    (frame,) = reader.frames(pack, [record.span, record.span])
    assert frame.number == record.frame
    assert logged.ranges == [(pack.name, record.frame_offset, record.frame_length)]


def test_neighbours_are_read_together(
    store: MemoryStore, keyring: Keyring, repository: Repository, manifest: Manifest
) -> None:
    logged = Logged(store)
    reader = BackupReader(Repository.open(logged, keyring), manifest)
    pack, records = largest_pack(reader)
    spans = [record.span for record in records]
    random.Random(1).shuffle(spans)
    assert len(list(reader.frames(pack, spans))) == pack.frames
    assert len(logged.ranges) == 1
    logged.ranges.clear()
    assert len(list(reader.frames(pack))) == pack.frames
    assert logged.ranges == [(pack.name, 0, pack.size)]


def test_no_spans_are_no_frames(repository: Repository, manifest: Manifest) -> None:
    reader = BackupReader(repository, manifest)
    pack, _ = largest_pack(reader)
    assert list(reader.frames(pack, [])) == []


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), max_size=30)


@given(spans, st.integers(1, 200), st.integers(0, 50))
def test_reads_cover_every_span_once_and_stay_small(
    steps: list[tuple[int, int]], read_bytes: int, gap_bytes: int
) -> None:
    wanted: list[FrameSpan] = []
    at = 70
    for number, (gap, length) in enumerate(steps):
        wanted.append(FrameSpan(number, at + gap, length))
        at += gap + length
    shuffled = [*wanted, *wanted]
    random.Random(2).shuffle(shuffled)
    reads = list(plan_reads(shuffled, read_bytes, gap_bytes))
    assert [span for read in reads for span in read.spans] == wanted
    for read in reads:
        assert read.offset == read.spans[0].offset
        assert read.offset + read.length == read.spans[-1].offset + read.spans[-1].length
        assert read.length <= max(read_bytes, 30)
    for before, after in pairwise(reads):
        assert before.offset + before.length <= after.offset


def test_several_threads_may_read(repository: Repository, manifest: Manifest) -> None:
    reader = BackupReader(repository, manifest)
    results: list[list[str]] = []

    def read() -> None:
        found = [
            bytes(frame.data)
            for part in reader.index_parts()
            for pack in part.packs
            for frame in reader.frames(pack)
        ]
        results.append([str(hash(data)) for data in found])

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(result == results[0] for result in results)


def test_a_span_that_the_index_gets_wrong_is_damage(repository: Repository, manifest: Manifest) -> None:
    reader = BackupReader(repository, manifest)
    pack, records = largest_pack(reader)
    good = records[1].span
    for bad in (
        good._replace(number=good.number + 1),
        good._replace(offset=good.offset + 1),
        good._replace(length=good.length - 1),
        good._replace(length=good.length + 1),
        good._replace(offset=pack.size),
        good._replace(length=2),
    ):
        with pytest.raises(ObjectDamaged, match=pack.name):
            list(reader.frames(pack, [bad]))


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"frames": 1}, "the index says 1 frames"),
        ({"size": 300}, "go beyond the 300 of the index"),
        ({"data_key": "A" * 80}, "data key does not unwrap"),
        ({"label": "20260301T021500Z-full"}, "has no wrapped key"),
    ],
)
def test_a_pack_that_is_not_as_the_index_says_is_damage(
    repository: Repository, manifest: Manifest, change: dict[str, object], fact: str
) -> None:
    reader = BackupReader(repository, manifest)
    pack, _ = largest_pack(reader)
    with pytest.raises((ObjectDamaged, ObjectMissing), match=fact):
        list(reader.frames(pack.model_copy(update=change)))


def test_a_pack_of_another_backup_is_read_by_that_backups_key(
    repository: Repository, ticking: TickingClock
) -> None:
    """What an incremental will need: the index may name packs that another backup owns."""
    first = take(repository, ticking, sample())
    second = take(repository, ticking, sample(2), shard="s2")
    pack, records = largest_pack(BackupReader(repository, first))
    through_second = list(BackupReader(repository, second).frames(pack, [records[0].span]))
    assert through_second[0].extents[0][:2] == records[0][1:3]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"size": 1}, "the manifest says 1"),
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"packs": 7}, "more or fewer"),
    ],
)
def test_an_index_part_that_is_not_as_the_manifest_says_is_damage(
    repository: Repository, manifest: Manifest, change: dict[str, object], fact: str
) -> None:
    reference = manifest.index[0].model_copy(update=change)
    with pytest.raises(ObjectDamaged, match=f"i000000 is damaged: .*{fact}"):
        BackupReader(repository, manifest).index_part(reference)


def test_a_missing_index_part_is_named(
    repository: Repository, store: MemoryStore, manifest: Manifest
) -> None:
    (name,) = [name for name in names(store, "data/") if name.endswith("i000001")]
    store.delete(name)
    with pytest.raises(ObjectMissing, match="i000001"):
        list(BackupReader(repository, manifest).index_parts())


def test_packs_that_changed_places_are_both_damage(
    repository: Repository, store: MemoryStore, manifest: Manifest
) -> None:
    reader = BackupReader(repository, manifest)
    one, other = [pack for part in reader.index_parts() for pack in part.packs][:2]
    data = store.get(one.name), store.get(other.name)
    replace(store, one.name, data[1])
    replace(store, other.name, data[0])
    for pack in (one, other):
        with pytest.raises(ObjectDamaged, match=pack.name):
            list(reader.frames(pack))
        with pytest.raises(ObjectDamaged, match=pack.name):
            list(
                reader.frames(
                    pack, [FrameSpan(0, 70, 4 + int.from_bytes(store.get(pack.name)[70:74]) % 2**31)]
                )
            )
