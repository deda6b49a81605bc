"""Manifests in short: what is remembered of their bytes, and what is asked for anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import KeyUnusable, ObjectDamaged, ObjectMissing
from repository import layout, shorts
from repository.keys import Keyring
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.repository import Repository
from repository.seal import BackupKey
from repository.shorts import Looked, ShortManifest, Shorts
from repository.stores.hiding import Hiding
from repository.stores.memory import MemoryStore
from tests.unit.repository.sealed_backups import TickingClock, file_keyring, sample, take


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return file_keyring(tmp_path)


@pytest.fixture
def repository(keyring: Keyring, clock: TickingClock) -> Repository:
    return Repository.create(MemoryStore(clock), keyring, clock)


@pytest.fixture
def manifest(repository: Repository, clock: TickingClock) -> Manifest:
    return take(repository, clock, sample())


def look(known: Shorts, repository: Repository, manifest: Manifest) -> Looked:
    (found,) = known.read(repository, [manifest.backup])
    return found


def without(repository: Repository, key: str) -> Repository:
    """The repository as it will be without that object."""
    store = Hiding(repository.store, lambda each: each == key)
    return Repository(store, repository.description, repository.keys)


def test_a_manifest_in_short_says_what_the_whole_says_but_for_its_files(
    repository: Repository, manifest: Manifest
) -> None:
    found = look(Shorts(), repository, manifest)
    assert isinstance(found, ShortManifest)
    assert found.files == len(manifest.files)
    for name in ShortManifest.model_fields.keys() - {"files"}:
        assert getattr(found, name) == getattr(manifest, name)


def test_the_same_bytes_are_understood_once(
    repository: Repository, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, opened = Shorts(), list[str]()
    understand = shorts._parse  # pyright: ignore[reportPrivateUsage]

    def counted(name: str, text: bytes) -> ShortManifest:
        opened.append(name)
        return understand(name, text)

    monkeypatch.setattr(shorts, "_parse", counted)
    assert look(known, repository, manifest) is look(known, repository, manifest)
    assert opened == [layout.manifest(manifest.backup)]


def test_a_manifest_that_was_read_before_is_missing_where_it_is_gone(
    repository: Repository, manifest: Manifest
) -> None:
    known = Shorts()
    assert isinstance(look(known, repository, manifest), ShortManifest)
    assert look(known, without(repository, layout.manifest(manifest.backup)), manifest) is None
    repository.store.delete(layout.manifest(manifest.backup))
    assert look(known, repository, manifest) is None


def test_a_manifest_that_was_read_before_cannot_be_read_where_its_key_is_gone(
    repository: Repository, manifest: Manifest
) -> None:
    known = Shorts()
    assert isinstance(look(known, repository, manifest), ShortManifest)
    later = without(repository, layout.wrapped_key(manifest.backup, "k1"))
    assert isinstance(look(known, later, manifest), ObjectMissing)


def test_a_manifest_whose_bytes_changed_is_opened_anew(repository: Repository, manifest: Manifest) -> None:
    known, name = Shorts(), layout.manifest(manifest.backup)
    assert isinstance(look(known, repository, manifest), ShortManifest)
    content = bytearray(repository.store.get(name))
    content[-1] ^= 1
    repository.store.put(name, content, if_absent=False)
    assert isinstance(look(known, repository, manifest), ObjectDamaged)


def test_a_manifest_that_was_read_before_is_damaged_under_another_key(
    repository: Repository, manifest: Manifest, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Shorts()
    assert isinstance(look(known, repository, manifest), ShortManifest)
    other = repository.backup_key(take(repository, clock, sample(2), shard="s2").backup)

    def wrong(_backup: BackupName) -> BackupKey:
        return other

    monkeypatch.setattr(repository, "backup_key", wrong)
    assert isinstance(look(known, repository, manifest), ObjectDamaged)


def test_a_manifest_known_in_one_repository_says_nothing_in_another(
    repository: Repository, manifest: Manifest
) -> None:
    known = Shorts()
    assert isinstance(look(known, repository, manifest), ShortManifest)
    elsewhere = repository.description.model_copy(update={"repository_id": "0" * 32})
    found = look(known, Repository(repository.store, elsewhere, repository.keys), manifest)
    assert isinstance(found, ObjectDamaged | KeyUnusable)
