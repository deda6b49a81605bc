"""Every kind of object, harmed in every way: verify finds it and names it, and readers refuse it."""

from __future__ import annotations

import random

import pytest
from sealed_backups import (
    DyingStore,
    TickingClock,
    differing,
    flipped,
    names,
    replace,
    restored,
    sample,
    take,
)
from test_catalog import proof_of

from fleet.errors import StoreUnreachable, ToolError
from repository import layout
from repository.catalog import Catalog
from repository.keys import Keyring
from repository.manifest import Manifest
from repository.reader import BackupReader
from repository.repository import Repository
from repository.seal import Identity, ObjectKind, seal_object
from repository.stores.memory import MemoryStore
from repository.verify import Reading, VerifyProgress, verify_backup


@pytest.fixture
def manifest(repository: Repository, ticking: TickingClock) -> Manifest:
    made = take(repository, ticking, sample())
    Catalog(repository).record_proof(made, proof_of(made))
    return made


def sealed_and_clear(store: MemoryStore) -> list[str]:
    return [name for name in names(store) if name.startswith(("data/", "manifests/", "proofs/", "keys/"))]


def damages(repository: Repository, manifest: Manifest) -> list[str]:
    return [damage.name for damage in verify_backup(repository, manifest).damages]


def test_a_sound_backup_is_read_whole(repository: Repository, store: MemoryStore, manifest: Manifest) -> None:
    seen: list[VerifyProgress] = []
    report = verify_backup(repository, manifest, seen.append, reading=Reading(threads=3))
    assert report.is_sound
    assert report.damages == ()
    assert report.objects == len(sealed_and_clear(store))
    assert report.stored_bytes == manifest.sizes.stored_bytes == seen[-1].bytes_done == seen[-1].bytes_total
    assert report.records == manifest.sizes.records
    assert report.frames == len(sample().blocks)
    assert [progress.bytes_done for progress in seen] == sorted(progress.bytes_done for progress in seen)


def test_a_missing_object_is_named(repository: Repository, store: MemoryStore, manifest: Manifest) -> None:
    for name in names(store, "data/"):
        kept = store.get(name)
        store.delete(name)
        assert name in damages(repository, manifest)
        store.put(name, kept)
    store.delete(layout.manifest(manifest.backup))
    assert damages(repository, manifest) == [layout.manifest(manifest.backup)]


def test_a_flipped_bit_in_any_object_is_named(
    repository: Repository, store: MemoryStore, manifest: Manifest
) -> None:
    chance = random.Random(3)
    for name in names(store):
        if not name.startswith(("data/", "manifests/", "proofs/")):
            continue
        kept = store.get(name)
        bits = {
            *range(0, 8 * 75, 7),
            *(chance.randrange(8 * len(kept)) for _ in range(20)),
            8 * len(kept) - 1,
        }
        for bit in chance.sample(sorted(bits), 30):
            replace(store, name, flipped(kept, bit))
            assert damages(repository, manifest) == [name], bit
        replace(store, name, kept)
    assert damages(repository, manifest) == []


def test_a_flipped_bit_in_a_wrapped_key_is_named_or_says_the_same(
    repository: Repository, store: MemoryStore, manifest: Manifest
) -> None:
    """It is JSON in clear: what is not the key itself may change its spelling, but never its meaning."""
    (name,) = names(store, "keys/")
    kept = store.get(name)
    found = 0
    for bit in range(8 * len(kept)):
        replace(store, name, flipped(kept, bit))
        try:
            repository.unwrap(manifest.backup, "k1")
        except ToolError as error:
            found += 1
            assert name in error.message or f"backup {manifest.backup}" in error.message
            assert name in damages(repository, manifest)
    assert found > 7 * len(kept)


@pytest.mark.parametrize("cut", [1, 30, 10**6])
def test_a_truncated_object_is_named(
    repository: Repository, store: MemoryStore, manifest: Manifest, cut: int
) -> None:
    for name in sealed_and_clear(store):
        kept = store.get(name)
        replace(store, name, kept[: max(0, len(kept) - cut)])
        assert name in damages(repository, manifest)
        replace(store, name, kept)


def test_bytes_behind_an_object_are_named(
    repository: Repository, store: MemoryStore, manifest: Manifest
) -> None:
    for name in names(store, "data/") + names(store, "manifests/"):
        kept = store.get(name)
        replace(store, name, kept + b"\0")
        assert damages(repository, manifest) == [name]
        replace(store, name, kept)


def test_objects_that_changed_places_are_both_named(
    repository: Repository, store: MemoryStore, manifest: Manifest
) -> None:
    objects = names(store, "data/")
    packs = [name for name in objects if "/p" in name]
    parts = [name for name in objects if "/i" in name]
    for one, other in ((packs[0], packs[1]), (packs[-1], packs[2]), (parts[0], parts[1])):
        data = store.get(one), store.get(other)
        replace(store, one, data[1])
        replace(store, other, data[0])
        assert damages(repository, manifest) == sorted((one, other))
        replace(store, one, data[0])
        replace(store, other, data[1])


def test_an_object_of_another_backup_does_not_pass(
    repository: Repository, store: MemoryStore, manifest: Manifest, ticking: TickingClock
) -> None:
    other = take(repository, ticking, sample())
    for name in names(store, f"data/s1/{manifest.label}/"):
        kept = store.get(name)
        replace(store, name, store.get(name.replace(manifest.label, other.label)))
        assert damages(repository, manifest) == [name]
        replace(store, name, kept)
    replace(store, layout.manifest(manifest.backup), store.get(layout.manifest(other.backup)))
    assert damages(repository, manifest) == [layout.manifest(manifest.backup)]


def test_an_old_version_of_an_object_does_not_pass(
    repository: Repository, store: MemoryStore, manifest: Manifest
) -> None:
    """Sealed again under the same name with the right keys, but not what the index part was written for."""
    pack = next(BackupReader(repository, manifest).index_parts()).packs[0]
    identity = Identity(repository.repository_id, pack.name, ObjectKind.PACK)
    replace(store, pack.name, bytes(seal_object(identity, repository.backup_key(manifest.backup), [b"x"])))
    assert damages(repository, manifest) == [pack.name]


def test_a_store_that_goes_away_is_an_error_and_no_damage(
    repository: Repository, store: MemoryStore, keyring: Keyring, manifest: Manifest
) -> None:
    for at in range(5, 30, 4):
        dying = DyingStore(store, at, unheard=False, forever=True)
        opened = Repository.open(dying, keyring)
        with pytest.raises(StoreUnreachable):
            verify_backup(opened, manifest)


def test_what_was_harmed_and_put_back_restores_again(
    repository: Repository, store: MemoryStore, manifest: Manifest
) -> None:
    name = names(store, "data/")[-1]
    kept = store.get(name)
    store.delete(name)
    with pytest.raises(ToolError):
        restored(repository, manifest)
    store.put(name, kept)
    assert differing(restored(repository, manifest), sample().content()) == []
