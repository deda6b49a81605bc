"""Packs of expired backups shrink to what others refer to, and whoever refers to them reads on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup.repack import RepackResult, repack
from fleet.errors import FormatUnsupported, ObjectDamaged, ObjectMissing, StoreUnreachable
from repository import layout
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.foundations import check_whole
from repository.index import Record
from repository.manifest import Manifest
from repository.reader import BackupReader
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.stores.memory import MemoryStore
from tests.unit.repository.chained import Donor, Taken, by_overlay, take_link, take_referring
from tests.unit.repository.sealed_backups import (
    DyingStore,
    TickingClock,
    differing,
    file_keyring,
    flipped,
    names,
    replace,
)


class History:
    """A full, and fulls that refer, each on the one before."""

    def __init__(self, folder: Path, seed: int, fulls: int, *, pages: int = 40) -> None:
        self.folder, self.clock = folder, TickingClock()
        self.store = MemoryStore()
        self.repository = Repository.create(self.store, file_keyring(folder), self.clock)
        donor = Donor(random.Random(seed))
        for space_id in (0, 50):
            donor.create(space_id, pages)
        self.taken = [take_link(self.repository, self.clock, donor)]
        for _ in range(fulls):
            for file in donor.files:
                for _ in range(pages // 4):
                    donor.change(file, donor.chance.randrange(pages))
            self.taken.append(take_referring(self.repository, self.clock, donor, self.taken[-1].manifest))

    def copy(self) -> History:
        made = object.__new__(History)
        made.folder, made.clock, made.taken = self.folder, self.clock, self.taken
        made.store = MemoryStore()
        for info in self.store.list(""):
            made.store.put(info.key, self.store.get(info.key))
        made.repository = Repository.open(made.store, file_keyring(self.folder))
        return made

    def repack(
        self, which: int, *, below: float = 0.9, store: MemoryStore | DyingStore | None = None
    ) -> RepackResult:
        """Reduce the backup at this place of the history to what those behind it refer to."""
        repository = Repository.open(store or self.store, file_keyring(self.folder))  # type: ignore[arg-type]
        expired = self.taken[which].manifest
        return repack(repository, expired, referring(self.taken[which + 1 :], expired), below=below)

    def assert_whole(self, kept: Sequence[Taken]) -> None:
        for each in kept:
            assert differing(by_overlay(self.repository, each.manifest), dict(each.content)) == []


def referring(taken: Sequence[Taken], expired: Manifest) -> list[Manifest]:
    return [each.manifest for each in taken if expired.backup in each.manifest.foundations()]


def size_of(store: MemoryStore) -> int:
    return sum(info.size for info in store.list("data/"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), fulls=st.integers(2, 5), below=st.sampled_from([0.3, 0.8, 1.01]))
def test_who_refers_reads_on_whatever_was_let_go(
    tmp_path_factory: pytest.TempPathFactory, seed: int, fulls: int, below: float
) -> None:
    history = History(tmp_path_factory.getbasetemp(), seed, fulls)
    # The oldest backups expire one by one, each is reduced again and again as fewer refer to it.
    for oldest_kept in range(1, fulls + 1):
        kept = history.taken[oldest_kept:]
        for expired in history.taken[:oldest_kept]:
            before = size_of(history.store)
            done = repack(
                history.repository, expired.manifest, referring(kept, expired.manifest), below=below
            )
            assert before - size_of(history.store) == done.freed_bytes
            history.assert_whole(kept)
        for number in {layout.parse_pack(name) for name in names(history.store, "data/")} - {None}:
            assert number is not None
    for name in names(history.store, "data/"):
        found = layout.parse_remainder(name)
        if found:
            # One object is what is left of a pack.
            folder = name.rpartition("/")[0]
            assert len(names(history.store, f"{folder}/r{found[0]:08d}-")) == 1
            assert f"{folder}/p{found[0]:08d}" not in names(history.store, "data/")


def test_what_is_reduced_is_smaller_and_a_second_run_finds_nothing_to_do(tmp_path: Path) -> None:
    history = History(tmp_path, 7, 4)
    kept = history.taken[-1:]
    expired = history.taken[0].manifest
    done = repack(history.repository, expired, referring(kept, expired), below=0.9)
    assert done.packs == expired.sizes.packs
    assert done.reduced
    assert done.freed_bytes > 0
    again = repack(history.repository, expired, referring(kept, expired), below=0.9)
    assert (again.reduced, again.freed_bytes) == (0, 0)
    history.assert_whole(kept)


def test_the_backup_itself_is_gone_and_says_so_instead_of_giving_zeros(tmp_path: Path) -> None:
    history = History(tmp_path, 3, 3)
    expired = history.taken[0].manifest
    repack(history.repository, expired, referring(history.taken[-1:], expired), below=1.01)
    reader = BackupReader(history.repository, expired)
    let_go = 0
    for part in reader.index_parts():
        for pack, records in part.by_pack():
            for record in records:
                try:
                    (frame,) = reader.frames(pack, [record.span])
                    frame.cut(record.skip, record.length)
                except ObjectMissing as missing:
                    let_go += 1
                    assert "expired" in str(missing.hint) + missing.message
    assert let_go > 10


def test_before_a_restore_it_is_told_which_of_them_is_whole(tmp_path: Path) -> None:
    history = History(tmp_path, 3, 3)
    catalog = Catalog(history.repository)
    expired, kept = history.taken[0].manifest, history.taken[-1].manifest
    repack(history.repository, expired, [kept], below=1.01)
    check_whole(history.repository, read_chain(catalog, kept))
    with pytest.raises(ObjectMissing, match="only what other backups refer to is left of it"):
        check_whole(history.repository, read_chain(catalog, expired))
    lost = next(name for name in names(history.store, "data/") if layout.parse_remainder(name))
    history.store.delete(lost)
    with pytest.raises(ObjectMissing, match="packs"):
        check_whole(history.repository, read_chain(catalog, kept))


def test_a_pack_that_nobody_refers_to_is_next_to_nothing(tmp_path: Path) -> None:
    history = History(tmp_path, 3, 0)
    expired = history.taken[0].manifest
    done = repack(history.repository, expired, [], below=0.5)
    assert done.reduced == done.packs == expired.sizes.packs
    left = [info for info in history.store.list("data/") if layout.parse_remainder(info.key)]
    assert len(left) == done.packs
    assert max(info.size for info in left) < 500


def test_it_may_die_at_any_step_and_the_next_run_ends_it(tmp_path: Path) -> None:
    begun = History(tmp_path, 11, 2, pages=16)
    deaths = 0
    for unheard in (False, True):
        for at in range(1, 1000):
            history = begun.copy()
            dying = DyingStore(history.store, at, unheard=unheard, forever=True)
            try:
                history.repack(0, below=1.01, store=dying)
            except StoreUnreachable:
                deaths += 1
            history.assert_whole(history.taken[1:])
            if at % 5 == 0:
                history.repack(0, below=1.01)
                history.assert_whole(history.taken[1:])
                packs = [name for name in names(history.store, "data/") if layout.is_pack(name)]
                assert not [name for name in packs if history.taken[0].manifest.label in name]
            if dying.operations < at:
                break
    assert deaths > 50


def test_a_remainder_that_lacks_something_is_not_the_last_of_a_pack(tmp_path: Path) -> None:
    """What a run left that knew of fewer who refer is no reason to let go of the pack."""
    history = History(tmp_path, 5, 3)
    expired = history.taken[0].manifest
    whole = history.copy()
    repack(history.repository, expired, referring(history.taken[-1:], expired), below=1.01)
    for name in names(history.store, f"data/s1/{expired.label}/r"):
        whole.store.put(name, history.store.get(name))
    whole.assert_whole(whole.taken)
    whole.repack(0, below=1.01)
    whole.assert_whole(whole.taken[1:])
    assert not names(whole.store, f"data/s1/{expired.label}/p")
    # Where the pack is gone as well, nothing is hidden.
    with pytest.raises(ObjectDamaged, match="does not hold all that is referred to"):
        history.repack(0, below=1.01)


def test_a_remainder_that_nobody_read_back_is_read_before_the_pack_goes(tmp_path: Path) -> None:
    """Who put it may have died before looking, and the store may hold something else."""
    history = History(tmp_path, 5, 1, pages=16)
    expired = history.taken[0].manifest
    whole = history.copy()
    history.repack(0, below=1.01)
    for name in names(history.store, f"data/s1/{expired.label}/r"):
        sealed = history.store.get(name)
        whole.store.put(name, flipped(sealed, 8 * len(sealed) - 9))
    with pytest.raises(ObjectDamaged):
        whole.repack(0, below=0.0)
    assert len(names(whole.store, f"data/s1/{expired.label}/p")) == expired.sizes.packs
    whole.assert_whole(whole.taken)
    # Where the pack is reduced once more, that is from the pack itself.
    whole.repack(0, below=1.01)
    assert not names(whole.store, f"data/s1/{expired.label}/p")
    whole.assert_whole(whole.taken[1:])


def test_any_flipped_bit_of_a_remainder_is_found(tmp_path: Path) -> None:
    history = History(tmp_path, 9, 1, pages=12)
    history.repack(0, below=1.01)
    kept = history.taken[1]
    assert differing(by_overlay(history.repository, kept.manifest), dict(kept.content)) == []
    needed = [name for name in names(history.store, "data/") if layout.parse_remainder(name)]
    chance = random.Random(1)
    for name in chance.sample(needed, min(4, len(needed))):
        good = history.store.get(name)
        for bit in chance.sample(range(8 * len(good)), 60):
            replace(history.store, name, flipped(good, bit))
            try:
                found = differing(by_overlay(history.repository, kept.manifest), dict(kept.content))
            except (FormatUnsupported, ObjectDamaged, ObjectMissing):
                continue
            # A pack of which nothing is referred to is not read at all.
            assert not found
        replace(history.store, name, good)


def test_it_reads_the_same_from_a_folder(tmp_path: Path) -> None:
    history = History(tmp_path, 2, 2)
    history.repack(0)
    folder = FilesystemStore(tmp_path / "copy")
    for info in history.store.list(""):
        folder.put(info.key, history.store.get(info.key))
    copied = Repository.open(folder, file_keyring(tmp_path))
    manifest = Catalog(copied).manifest("s1")
    assert differing(by_overlay(copied, manifest), dict(history.taken[-1].content)) == []
    records: list[Record] = [
        record for part in BackupReader(copied, manifest).index_parts() for record in part.records()
    ]
    assert records
