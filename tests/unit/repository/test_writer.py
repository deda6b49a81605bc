from __future__ import annotations

import threading
import time
import tracemalloc

import pytest
from sealed_backups import (
    DROPPED_FILE,
    PAGE,
    DyingStore,
    Sample,
    TickingClock,
    ToldStore,
    begin,
    differing,
    facts,
    file_keyring,
    fill,
    names,
    restored,
    sample,
    take,
)

from fleet.blocks import Extent, Stage
from fleet.errors import (
    Cancelled,
    KeyUnusable,
    ObjectDamaged,
    ObjectExists,
    ProtocolViolation,
    StoreFull,
    StoreUnreachable,
)
from repository import layout
from repository.catalog import Catalog
from repository.keys import Keyring
from repository.manifest import FileEntry
from repository.reader import BackupReader
from repository.repository import Repository
from repository.seal import MAX_PLAINTEXT_BYTES
from repository.stores.interface import Buffer, Stored
from repository.stores.memory import MemoryStore


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_a_backup_comes_back_byte_for_byte(repository: Repository, ticking: TickingClock, lanes: int) -> None:
    made = sample()
    manifest = take(repository, ticking, made, lanes=lanes)
    assert differing(restored(repository, manifest), made.content()) == []
    assert manifest.sizes.received_bytes == sum(len(data) for _, _, data in made.blocks)
    assert manifest.sizes.records == sum(len(extents) for _, extents, _ in made.blocks)
    assert manifest.sizes.files_bytes == sum(entry.size for entry in made.files)


def test_a_backup_without_any_data_is_a_backup(repository: Repository, ticking: TickingClock) -> None:
    made = Sample((FileEntry(number=0, name="a", size=5),))
    manifest = take(repository, ticking, made, lanes=1)
    assert restored(repository, manifest) == {"a": bytes(5)}
    assert manifest.index == ()


def test_the_manifest_that_complete_returns_is_the_one_that_is_read(
    repository: Repository, ticking: TickingClock
) -> None:
    manifest = take(repository, ticking, sample())
    assert Catalog(repository).manifest("s1") == manifest


def test_objects_are_put_in_the_order_of_the_format(
    store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    """An index part only after all packs that it names were confirmed; the key first, the manifest last."""

    class Watching(ToldStore):
        def after(self, operation: str, key: str) -> None:
            order.append(key)

    order: list[str] = []
    Repository.create(store, keyring, ticking)
    repository = Repository.open(Watching(store), keyring)
    manifest = take(repository, ticking, sample(), lanes=2, uploads=3)
    assert order[0] == layout.wrapped_key(manifest.backup, "k1")
    assert order[-1] == layout.manifest(manifest.backup)
    reader = BackupReader(repository, manifest)
    assert len(manifest.index) > 2
    for part in reader.index_parts():
        for pack in part.packs:
            assert order.index(pack.name) < order.index(part.name)


def test_packs_are_about_as_large_as_asked_and_none_is_empty(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    take(repository, ticking, sample(), lanes=1)
    sizes = [info.size for info in store.list(layout.DATA) if "/p" in info.key]
    assert len(sizes) > 5
    assert all(6 * PAGE <= size < 6 * PAGE + 9 * PAGE for size in sizes[:-1])
    assert sizes[-1] > 0


def test_two_backups_in_the_same_second_take_two_labels(repository: Repository) -> None:
    class Standing(TickingClock):
        def now(self):
            return self._now

    clock = Standing()
    first, second = begin(repository, clock), begin(repository, clock)
    assert first.label == "20260301T021500Z-full"
    assert second.label == "20260301T021501Z-full"
    first.abandon()
    second.abandon()


def test_a_label_claimed_under_another_key_is_left_alone(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    class Standing(TickingClock):
        def now(self):
            return self._now

    store.put("keys/s1/20260301T021500Z-full/other.json", b"{}")
    writer = begin(repository, Standing())
    assert writer.label == "20260301T021501Z-full"
    assert names(store, "keys/s1/20260301T021500Z-full/") == ["keys/s1/20260301T021500Z-full/other.json"]
    writer.abandon()


def test_a_minute_of_taken_labels_is_an_error(repository: Repository) -> None:
    class Standing(TickingClock):
        def now(self):
            return self._now

    clock = Standing()
    writers = [begin(repository, clock, uploads=1) for _ in range(60)]
    with pytest.raises(ObjectExists, match="60 seconds"):
        begin(repository, clock)
    for writer in writers:
        writer.abandon()


@pytest.mark.parametrize("error", [StoreFull("no room"), StoreUnreachable("gone"), RuntimeError("a bug")])
def test_an_error_of_the_store_surfaces_in_the_lane(
    store: MemoryStore, keyring: Keyring, ticking: TickingClock, error: Exception
) -> None:
    class Full(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "put" and "/p" in key:
                raise error

    Repository.create(store, keyring, ticking)
    writer = begin(Repository.open(Full(store), keyring), ticking)
    lane = writer.open_lane()
    with pytest.raises(type(error), match=str(error)):
        for page in range(10_000):
            lane.add(Stage.FILE, [Extent(0, page * PAGE, PAGE)], memoryview(bytes(range(256)) * 4))
    assert page < 2_000
    with pytest.raises(type(error)):
        lane.close()
    with pytest.raises(type(error)):
        writer.complete(facts(()))
    writer.abandon()


def test_a_store_that_confirms_another_size_is_not_believed(
    store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    class Losing(ToldStore):
        def put(
            self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None
        ) -> Stored:
            stored = super().put(key, data, if_absent=if_absent, sha256=sha256)
            return stored._replace(size=stored.size - 1) if "/p" in key else stored

    Repository.create(store, keyring, ticking)
    with pytest.raises(ObjectDamaged, match=r"/p0000000\d: .* confirms"):
        take(Repository.open(Losing(store), keyring), ticking, sample())
    assert names(store, layout.MANIFESTS) == []


class FrozenStore(ToldStore):
    """Puts of packs wait until ``thaw`` is set."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.thaw = threading.Event()
        self.waiting = 0
        self.highest = 0
        self._lock = threading.Lock()

    def before(self, operation: str, key: str) -> None:
        if operation == "put" and "/p" in key:
            with self._lock:
                self.waiting += 1
                self.highest = max(self.highest, self.waiting)
            self.thaw.wait(30)
            with self._lock:
                self.waiting -= 1


def add_until_it_fails(writer, caught: list[BaseException]) -> None:
    lane = writer.open_lane()
    try:
        for page in range(10**6):
            lane.add(Stage.FILE, [Extent(0, page * PAGE, PAGE)], memoryview(bytes(range(256)) * 4))
    except Exception as error:
        caught.append(error)


def wait_until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_memory_is_bounded_while_the_store_is_frozen_and_abandon_frees_the_lanes(
    store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    Repository.create(store, keyring, ticking)
    frozen = FrozenStore(store)
    writer = begin(Repository.open(frozen, keyring), ticking, uploads=3)
    caught: list[BaseException] = []
    lanes = [threading.Thread(target=add_until_it_fails, args=(writer, caught)) for _ in range(2)]
    for lane in lanes:
        lane.start()
    wait_until(lambda: frozen.waiting == 3)
    time.sleep(0.1)
    assert writer._buffers.made <= 2 + 3
    started = time.monotonic()
    writer.abandon(grace_seconds=0.2)
    assert time.monotonic() - started < 2
    for lane in lanes:
        lane.join(10)
        assert not lane.is_alive()
    assert [type(error) for error in caught] == [Cancelled, Cancelled]
    with pytest.raises(Cancelled):
        writer.complete(facts(()))
    frozen.thaw.set()
    assert names(store, layout.MANIFESTS) == []


def test_buffers_are_used_again(repository: Repository, ticking: TickingClock) -> None:
    with begin(repository, ticking, uploads=2) as writer:
        fill(writer, sample(pages=300), lanes=2)
        writer.complete(facts(sample(pages=300).files))
        assert writer.statistics().packs > 50
        assert writer._buffers.made <= 4


def test_memory_does_not_grow_with_the_backup(
    keyring: Keyring, ticking: TickingClock, store: MemoryStore
) -> None:
    class Forgetting(ToldStore):
        def put(
            self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None
        ) -> Stored:
            if key.startswith(layout.DATA):
                return Stored(len(data), sha256, None)
            return super().put(key, data, if_absent=if_absent, sha256=sha256)

    Repository.create(store, keyring, ticking)
    repository = Repository.open(Forgetting(store), keyring)
    block = memoryview(bytes(range(256)) * 64)

    def peak(blocks: int) -> int:
        tracemalloc.start()
        try:
            with begin(repository, ticking, pack_size=64 * PAGE, packs_per_part=16) as writer:
                lane = writer.open_lane()
                for at in range(blocks):
                    lane.add(Stage.FILE, [Extent(0, at * len(block), len(block))], block)
                lane.close()
                writer.complete(facts((FileEntry(number=0, name="a", size=blocks * len(block)),)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Two frames in the lane, its pack and two on their way; each pack has room for the largest frame.
    bound = 2 * MAX_PLAINTEXT_BYTES + 3 * (MAX_PLAINTEXT_BYTES + 64 * PAGE)
    assert peak(10_000) < bound + 1024 * 1024


def test_what_was_stored_is_removed_when_a_backup_is_abandoned(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    before = names(store)
    writer = begin(repository, ticking)
    fill(writer, sample())
    writer.abandon()
    writer.abandon()
    assert names(store) == before
    assert Catalog(repository).backups() == []


def test_a_backup_is_not_abandoned_after_it_is_complete(
    repository: Repository, ticking: TickingClock
) -> None:
    with begin(repository, ticking) as writer:
        fill(writer, sample())
        manifest = writer.complete(facts(sample().files))
    writer.abandon()
    assert differing(restored(repository, manifest), sample().content()) == []


def test_data_stays_when_nobody_knows_whether_the_manifest_was_stored(
    store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    class Unheard(ToldStore):
        def after(self, operation: str, key: str) -> None:
            if key.startswith(layout.MANIFESTS):
                raise StoreUnreachable("no answer")

    Repository.create(store, keyring, ticking)
    with pytest.raises(StoreUnreachable):
        take(Repository.open(Unheard(store), keyring), ticking, sample())
    repository = Repository.open(store, keyring)
    manifest = Catalog(repository).manifest("s1")
    assert differing(restored(repository, manifest), sample().content()) == []


def test_a_backup_is_not_completed_while_a_lane_is_open(
    repository: Repository, ticking: TickingClock
) -> None:
    with begin(repository, ticking) as writer:
        lane = writer.open_lane()
        with pytest.raises(ValueError, match="open"):
            writer.complete(facts(()))
        lane.close()
        with pytest.raises(ValueError, match="closed"):
            lane.add(Stage.FILE, [Extent(0, 0, 1)], memoryview(b"x"))


@pytest.mark.parametrize(
    ("blocks", "fact"),
    [
        ([(Stage.FILE, 0, 11)], "up to byte 11"),
        ([(Stage.FILE, 5, 6)], "up to byte 11"),
        ([(Stage.PAGE, 0, 8), (Stage.PAGE, 2, 8)], "16 arrived for it in stage PAGE"),
        ([(Stage.REDO, 0, 4), (Stage.REDO, 3, 2)], "redo for byte 3 arrived twice"),
    ],
)
def test_more_data_than_a_file_can_hold_is_no_backup(
    repository: Repository, store: MemoryStore, ticking: TickingClock, blocks, fact: str
) -> None:
    with begin(repository, ticking) as writer:
        lanes = [writer.open_lane(), writer.open_lane()]
        for lane, (stage, offset, length) in zip(lanes, blocks, strict=False):
            lane.add(stage, [Extent(3, offset, length)], memoryview(bytes(length)))
            lane.add(Stage.FILE, [Extent(DROPPED_FILE, 0, 1)], memoryview(b"x"))
        for lane in lanes:
            lane.close()
        with pytest.raises(ProtocolViolation, match=f"a.ibd.*{fact}"):
            writer.complete(facts((FileEntry(number=3, name="a.ibd", size=10),)))
    assert names(store, layout.MANIFESTS) == []


def test_each_stage_may_bring_a_file_once(repository: Repository, ticking: TickingClock) -> None:
    with begin(repository, ticking) as writer:
        lane = writer.open_lane()
        for stage, byte in zip(Stage, b"abc", strict=True):
            lane.add(stage, [Extent(3, 0, 10)], memoryview(bytes((byte,)) * 10))
        lane.close()
        manifest = writer.complete(facts((FileEntry(number=3, name="a.ibd", size=10),)))
    assert restored(repository, manifest) == {"a.ibd": b"c" * 10}


def test_statistics_tell_what_was_done(repository: Repository, ticking: TickingClock) -> None:
    made = sample()
    with begin(repository, ticking) as writer:
        fill(writer, made)
        manifest = writer.complete(facts(made.files), seconds={"clone": 1.5})
        done = writer.statistics()
    assert done.received_bytes == sum(len(data) for _, _, data in made.blocks)
    assert done.packs == manifest.sizes.packs > 0
    assert done.index_parts == len(manifest.index) > 1
    assert done.records == manifest.sizes.records
    assert set(done.cpu_seconds) == {"compress", "seal", "store"}
    assert manifest.timings.seconds == {"clone": 1.5}
    assert manifest.timings.finished_at > manifest.timings.started_at


def test_a_key_that_the_repository_does_not_know_writes_nothing(
    repository: Repository, store: MemoryStore, tmp_path, ticking: TickingClock
) -> None:
    both = Keyring([*file_keyring(tmp_path, "new").sources, *file_keyring(tmp_path, "k1").sources])
    opened = Repository.open(store, both)
    before = names(store)
    with pytest.raises(KeyUnusable, match="does not know key new; it knows k1"):
        begin(opened, ticking)
    assert names(store) == before
    repository.add_key(both.primary, ticking)
    manifest = take(Repository.open(store, both), ticking, sample())
    assert names(store, f"keys/s1/{manifest.label}/") == [f"keys/s1/{manifest.label}/new.json"]


@pytest.mark.parametrize("size", [0, -1, 2**32])
def test_a_pack_size_beyond_the_format_is_refused(
    repository: Repository, ticking: TickingClock, size: int
) -> None:
    with pytest.raises(ValueError, match="pack"):
        begin(repository, ticking, pack_size=size)


def test_a_dying_store_says_so_at_once(store: MemoryStore, keyring: Keyring, ticking: TickingClock) -> None:
    Repository.create(store, keyring, ticking)
    dying = DyingStore(store, 1, unheard=False, forever=True)
    with pytest.raises(StoreUnreachable):
        Repository.open(dying, keyring)
