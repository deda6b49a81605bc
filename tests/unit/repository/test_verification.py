"""Many backups in one run: each object is read once, a stopped run goes on, damage is named by its harm."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sealed_backups import ToldStore, flipped, names, replace

from drills.reading import page_check
from fleet.clock import SystemClock
from fleet.errors import StoreUnreachable, ToolError
from repository import layout
from repository.breakage import BrokenBackup
from repository.keys import Keyring
from repository.layout import BackupName
from repository.manifest import DamagedPage, Manifest
from repository.marks import Marks
from repository.overlay import Overlay
from repository.reader import BackupReader
from repository.repository import Repository
from repository.stores.interface import ObjectInfo
from repository.stores.memory import MemoryStore
from repository.verification import Verification, verify_all, verify_chain
from repository.verify import Reading
from repository.verify_journal import VerifyJournal
from repository.verify_sample import Sample
from restore.choice import choose_chain
from tests.unit.restore.made_chains import MadeServer, made_chain


class Watched:
    """What a display would show."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.reached: list[tuple[int, int]] = []

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        self.stages.append(name)

    def reach(self, done_bytes: int, total_bytes: int) -> None:
        self.reached.append((done_bytes, total_bytes))


class Counted(ToldStore):
    """How often each object was read, and an end to it after ``most`` reads of packs."""

    def __init__(self, inner: MemoryStore, most: int | None = None) -> None:
        super().__init__(inner)
        self.reads: Counter[str] = Counter()
        self.packs = 0
        self.most = most
        self.guard = threading.Lock()

    def before(self, operation: str, key: str) -> None:
        if operation in {"get", "get_range"}:
            with self.guard:
                self.reads[key] += 1
                if self.most is not None and self.packs == self.most:
                    raise StoreUnreachable("the store has gone")
                self.packs += layout.is_pack(key)


@pytest.fixture
def server() -> MadeServer:
    return MadeServer(4, pages=24)


@pytest.fixture
def links(repository: Repository, server: MadeServer) -> list[Manifest]:
    """A full, two incrementals, a full that refers to them, and an incremental on that: oldest first."""
    taken = made_chain(repository, server, 3)
    server.live()
    taken.append(server.referring_full(repository, taken[-1]))
    server.live()
    return [*taken, server.incremental(repository, taken[-1])]


def full(repository: Repository, **reading: object) -> Verification:
    return verify_all(repository, ["s1"], Reading(pages=page_check, **reading), Watched())  # type: ignore[arg-type]


def quick(repository: Repository) -> Verification:
    return verify_all(repository, ["s1"], Reading(), Watched(), quick=True)


def broken(found: Verification) -> dict[str, BrokenBackup]:
    return {each.label: each for each in found.broken}


def named(found: Verification) -> set[str]:
    damages = {damage.name for report in found.backups for damage in report.damages}
    return damages | {layout.manifest(BackupName(each.shard, each.label)) for each in found.unreadable}


def test_every_object_is_read_once_also_where_several_backups_refer_to_it(
    keyring: Keyring, store: MemoryStore, links: list[Manifest]
) -> None:
    counted = Counted(store)
    watched = Watched()
    repository = Repository.open(counted, keyring)
    found = verify_all(repository, ["s1"], Reading(pages=page_check), watched)
    assert found.is_sound and not found.broken
    packs = [name for name in names(store, "data/") if layout.is_pack(name)]
    assert {counted.reads[pack] for pack in packs} == {1}
    stored = sum(link.sizes.stored_bytes for link in links)
    assert sum(report.stored_bytes for report in found.backups) == stored
    assert sum(report.records for report in found.backups) == sum(link.sizes.records for link in links)
    assert sum(report.pages for report in found.backups) > 100
    assert watched.reached[-1] == (stored, stored)
    done = [each for each, _ in watched.reached]
    assert done == sorted(done) and {total for _, total in watched.reached} == {stored}


def test_progress_of_a_full_that_refers_comes_to_its_end(
    repository: Repository, links: list[Manifest]
) -> None:
    watched = Watched()
    found = verify_chain(repository, links[3], Reading(pages=page_check), watched)
    assert found.is_sound
    done, total = watched.reached[-1]
    assert done == total > links[3].sizes.stored_bytes


def test_any_flipped_byte_of_any_object_is_found_and_named(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    Marks(repository).put(links[0].backup, "for the test")
    chance = random.Random(7)
    sealed = [name for name in names(store) if name.startswith(("data/", "manifests/", "expired/"))]
    for name in [*chance.sample(sealed, 24), layout.expired_mark(links[0].backup)]:
        kept = store.get(name)
        at = chance.randrange(len(kept))
        replace(store, name, flipped(kept, 8 * at + chance.randrange(8)))
        found = full(repository)
        assert not found.is_sound
        assert name in named(found), at
        replace(store, name, kept)
    assert full(repository).is_sound


def test_damage_is_named_by_the_pages_that_cannot_be_restored(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    """What is told to be lost is what a restore cannot do: every backup is restored, or it is named."""
    chance = random.Random(5)
    packs = [name for name in names(store, "data/") if layout.is_pack(name)]
    for pack in chance.sample(packs, 6):
        kept = store.get(pack)
        replace(store, pack, flipped(kept, 8 * chance.randrange(80, len(kept))))
        told = broken(full(repository))
        for link in links:
            if is_restorable(repository, link):
                assert link.label not in told
            else:
                assert told[link.label].files and told[link.label].reason is None
        replace(store, pack, kept)


def is_restorable(repository: Repository, link: Manifest) -> bool:
    """Can all its pages be fetched? As a restore does, by the overlay of its chain."""
    chain = choose_chain(repository, "s1", link.label).chain
    overlay, reader = Overlay(chain), BackupReader(repository, link)
    try:
        for pass_ in overlay.passes:
            for part in pass_.parts:
                index = reader.index_part(part.reference, chain.links[part.link].backup)
                for record in list(overlay.records(pass_, part, index)):
                    for _ in reader.frames(index.packs[record.pack], [record.span]):
                        pass
    except ToolError:
        return False
    return True


def test_a_lost_pack_costs_a_table_and_its_pages_are_told(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    for pack in names(store, f"data/s1/{links[0].label}/p"):
        kept = store.get(pack)
        store.delete(pack)
        for found in (full(repository), quick(repository)):
            assert pack in named(found)
            told = broken(found)
            tables = {file.table for each in told.values() for file in each.files}
            assert tables <= {None, "shop.orders", "shop.stock", *(f"shop.stock{n}" for n in range(9))}
            assert all(file.lost and file.ranges for each in told.values() for file in each.files)
        store.put(pack, kept)


def test_a_lost_base_breaks_all_above_it_and_a_stored_full_is_whole_again(
    repository: Repository, store: MemoryStore, links: list[Manifest], server: MadeServer
) -> None:
    store.delete(layout.manifest(links[0].backup))
    for found in (full(repository), quick(repository)):
        assert set(broken(found)) == {link.label for link in links[1:]}
        assert all(each.reason for each in found.broken)
    fresh = server.full(repository)
    found = full(repository)
    assert fresh.label not in broken(found)
    assert [report.label for report in found.backups if report.is_sound] == [fresh.label]


def test_a_full_that_refers_does_without_the_index_of_what_it_refers_to(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    part = layout.index_part(links[0].backup, 0)
    replace(store, part, flipped(store.get(part), 8 * 200))
    found = full(repository)
    assert part in named(found)
    assert set(broken(found)) == {link.label for link in links[:3]}
    assert all(is_restorable(repository, link) for link in links[3:])
    # Its packs are read where they are named.
    assert sum(report.frames for report in found.backups if report.label == links[3].label) > 20


@pytest.mark.parametrize("harm", ["gone", "cut", "swapped"])
def test_quick_sees_what_a_list_shows(
    repository: Repository, store: MemoryStore, links: list[Manifest], harm: str
) -> None:
    assert quick(repository).is_sound
    one, other, *_ = names(store, f"data/s1/{links[0].label}/p")
    kept = store.get(one), store.get(other)
    if harm == "gone":
        store.delete(one)
    elif harm == "cut":
        replace(store, one, kept[0][:-1])
    else:
        replace(store, one, kept[1])
        replace(store, other, kept[0])
    assert one in named(full(repository))
    if harm != "swapped":
        assert one in named(quick(repository))


def test_a_list_that_misses_objects_is_no_damage(
    keyring: Keyring, store: MemoryStore, links: list[Manifest]
) -> None:
    hidden = set(names(store, f"data/s1/{links[1].label}/"))

    class Behind(ToldStore):
        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            return (info for info in super().list(prefix) if info.key not in hidden)

    repository = Repository.open(Behind(store), keyring)
    assert quick(repository).is_sound
    assert full(repository).is_sound


def test_a_backup_that_is_pruned_meanwhile_is_no_damage(
    keyring: Keyring, store: MemoryStore, links: list[Manifest]
) -> None:
    newest = links[-1]

    class Pruning(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "get_range" and key == layout.pack(newest.backup, 0):
                self.inner.put(layout.pruning_mark(newest.backup), b'{"format": 1}', if_absent=False)
                self.inner.delete(layout.manifest(newest.backup))
                for name in names(self.inner, layout.packs_and_parts(newest.backup)):
                    self.inner.delete(name)

    found = full(Repository.open(Pruning(store), keyring))
    assert found.is_sound
    assert [report.label for report in found.backups if report.pruned] == [newest.label]


def test_a_store_that_goes_away_keeps_the_journal_and_the_next_run_goes_on(
    keyring: Keyring, store: MemoryStore, links: list[Manifest], tmp_path: Path
) -> None:
    path = tmp_path / "verify.jsonl"
    packs = sum(layout.is_pack(name) for name in names(store, "data/"))
    read = 0
    for most in (3, 9, None):
        counted = Counted(store, most)
        repository = Repository.open(counted, keyring)
        journal = VerifyJournal.open(path, repository.repository_id, "s1 full", SystemClock())
        try:
            found = full(repository, journal=journal, threads=1)
        except StoreUnreachable as error:
            assert error.retryable
            journal.close(finished=False)
        else:
            journal.close(finished=True)
            assert found.is_sound
            assert sum(report.stored_bytes for report in found.backups) == sum(
                link.sizes.stored_bytes for link in links
            )
        read += counted.packs
    assert read == packs
    assert not path.exists()


def test_what_was_damaged_is_read_again_by_a_run_that_goes_on(
    repository: Repository, store: MemoryStore, links: list[Manifest], tmp_path: Path
) -> None:
    pack = layout.pack(links[1].backup, 1)
    kept = store.get(pack)
    replace(store, pack, flipped(kept, 8 * 200))
    path = tmp_path / "verify.jsonl"
    for is_sound in (False, True):
        journal = VerifyJournal.open(path, repository.repository_id, "s1 full", SystemClock())
        assert full(repository, journal=journal).is_sound is is_sound
        journal.close(finished=False)
        replace(store, pack, kept)


def test_samples_cover_every_object_and_each_says_what_it_read(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    sample = Sample.begin(30, "abc")
    stored = sum(link.sizes.stored_bytes for link in links)
    seen = 0
    for _ in range(sample.windows):
        found = full(repository, sample=sample)
        read = sum(report.stored_bytes for report in found.backups)
        assert found.is_sound and read < stored
        seen += sum(report.frames for report in found.backups)
        sample = sample.next
    assert seen >= sum(report.frames for report in full(repository).backups)
    assert sample.window == 1


@pytest.mark.parametrize("noted", [True, False])
def test_a_page_that_the_donor_had_damaged_is_told_as_the_donors(repository: Repository, noted: bool) -> None:
    server = MadeServer(3, pages=12)
    orders = server.files["shop/orders.ibd"]
    orders.pages[3] = bytes(20) + b"?" * (len(orders.pages[3]) - 20)
    page = DamagedPage(file="shop/orders.ibd", page=3)
    server.full(repository, damaged_pages=(page,) if noted else ())
    (report,) = full(repository).backups
    assert report.donor_pages == noted
    assert len(report.damages) == (not noted)
    assert all("page 3 of shop/orders.ibd" in damage.problem for damage in report.damages)
