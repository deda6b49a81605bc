from __future__ import annotations

import json
from pathlib import Path

import pytest
from sealed_backups import (
    DyingStore,
    TickingClock,
    differing,
    file_keyring,
    names,
    replace,
    restored,
    sample,
    take,
)

from fleet.errors import (
    FormatUnsupported,
    KeyUnusable,
    ObjectDamaged,
    ObjectMissing,
    RepositoryExists,
    RepositoryMissing,
    StoreUnreachable,
    ToolError,
)
from repository import layout
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring, PassphraseSource
from repository.repository import Repository
from repository.stores.memory import MemoryStore


def test_a_new_repository_holds_what_the_format_says(repository: Repository, store: MemoryStore) -> None:
    assert names(store) == ["RESCUE.md", "backstay.json", "keyring/k1.json", "rescue.py"]
    description = json.loads(store.get("backstay.json"))
    assert description["format"] == 1
    assert description["needs"] == {"read": [], "write": [], "delete": []}
    assert description["repository_id"] == repository.repository_id
    assert description["created_at"].endswith("Z")
    assert description["created_by"].startswith("backstay ")
    entry = json.loads(store.get("keyring/k1.json"))
    assert set(entry) == {
        "format",
        "key_id",
        "provider",
        "kdf",
        "kms_key",
        "public_key",
        "check",
        "created_at",
    }
    assert (entry["provider"], entry["kdf"], entry["kms_key"]) == ("file", None, None)


def test_a_repository_is_created_once(
    repository: Repository, store: MemoryStore, keyring: Keyring, tmp_path: Path, ticking: TickingClock
) -> None:
    before = {name: store.get(name) for name in names(store)}
    for again in (keyring, file_keyring(tmp_path, "k2")):
        with pytest.raises(RepositoryExists, match="already holds a repository"):
            Repository.create(store, again, ticking)
    assert {name: store.get(name) for name in names(store)} == before


def test_where_there_is_no_repository_is_said_so(keyring: Keyring) -> None:
    with pytest.raises(RepositoryMissing, match="no repository at memory:") as caught:
        Repository.open(MemoryStore(), keyring)
    assert "backstay init" in (caught.value.hint or "")


def test_a_lost_description_is_not_an_empty_place(
    repository: Repository, store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    take(repository, ticking, sample())
    store.delete(layout.DESCRIPTION)
    with pytest.raises(ObjectMissing, match=r"holds backups, but backstay.json is missing"):
        Repository.open(store, keyring)
    with pytest.raises(RepositoryExists):
        Repository.create(store, keyring, ticking)


@pytest.mark.parametrize("unheard", [False, True])
def test_a_creation_that_died_anywhere_can_be_repeated(
    keyring: Keyring, tmp_path: Path, ticking: TickingClock, unheard: bool
) -> None:
    both = Keyring([*keyring.sources, *file_keyring(tmp_path, "k2").sources])
    for at in range(1, 100):
        store = MemoryStore()
        try:
            Repository.create(DyingStore(store, at, unheard=unheard, forever=True), both, ticking)
            break
        except StoreUnreachable:
            pass
        try:
            repository = Repository.create(store, both, ticking)
        except RepositoryExists:
            repository = Repository.open(store, both)
        manifest = take(repository, ticking, sample())
        assert differing(restored(repository, manifest), sample().content()) == []
    else:
        pytest.fail("the creation never succeeded")
    assert at > 8


def test_a_key_that_cannot_be_used_leaves_no_half_repository(tmp_path: Path, ticking: TickingClock) -> None:
    store = MemoryStore()
    keyring = file_keyring(tmp_path)
    (tmp_path / "k1.key").write_bytes(b"short")
    with pytest.raises(KeyUnusable):
        Repository.create(store, keyring, ticking)
    assert names(store) == []


def test_a_wrong_or_missing_key_is_named(repository: Repository, store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "k1.key").write_bytes(bytes(32))
    with pytest.raises(KeyUnusable, match="key k1 is wrong"):
        Repository.open(store, file_keyring(tmp_path))
    (tmp_path / "k1.key").unlink()
    with pytest.raises(KeyUnusable, match=r"k1\.key"):
        Repository.open(store, Keyring([_file_source(tmp_path)]))
    with pytest.raises(KeyUnusable, match="does not know key other; it knows k1"):
        Repository.open(store, file_keyring(tmp_path, "other"))


def test_a_damaged_repository_id_is_told_as_what_else_it_may_be(
    repository: Repository, store: MemoryStore, keyring: Keyring
) -> None:
    """A key is judged by a check value that is bound to the id: either may be the one that is wrong."""
    flipped = f"{int(repository.repository_id[0], 16) ^ 1:x}{repository.repository_id[1:]}"
    changed(store, "backstay.json", repository_id=flipped)
    with pytest.raises(
        KeyUnusable, match=r"key k1 is wrong, or keyring/k1\.json or backstay\.json"
    ) as caught:
        Repository.open(store, keyring)
    assert "another copy of the repository" in (caught.value.hint or "")


@pytest.mark.parametrize("text", [b"{}", b"", b'{"format": 1}'])
def test_a_damaged_keyring_entry_is_named_and_locks_out_no_other_key(
    repository: Repository, store: MemoryStore, keyring: Keyring, ticking: TickingClock, text: bytes
) -> None:
    passphrase = PassphraseSource("p", lambda: "open sesame")
    repository.add_key(passphrase, ticking)
    replace(store, "keyring/k1.json", text)
    with pytest.raises(ToolError, match=r"keyring/k1\.json"):
        Repository.open(store, keyring)
    opened = Repository.open(store, Keyring([*keyring.sources, passphrase]))
    assert set(opened.keys.keks) == {"p"}


def test_a_lost_keyring_entry_is_named(repository: Repository, store: MemoryStore, keyring: Keyring) -> None:
    store.delete("keyring/k1.json")
    with pytest.raises(KeyUnusable, match="does not know key k1; it knows none") as caught:
        Repository.open(store, keyring)
    assert "or keyring/k1.json was lost: put that back" in (caught.value.hint or "")


def test_a_flipped_byte_in_a_wrapped_key_is_damage_and_not_a_wrong_key(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    backup = take(repository, ticking, sample()).backup
    name = f"keys/{backup}/k1.json"
    wrapped = json.loads(store.get(name))["wrapped"]
    changed(store, name, wrapped=("B" if wrapped[0] == "A" else "A") + wrapped[1:])
    with pytest.raises(ObjectDamaged, match=f"{name} is damaged: key k1 is right") as caught:
        repository.backup_key(backup)
    assert "another copy" in (caught.value.hint or "")


def _file_source(folder: Path):
    return FileSource("k1", folder / "k1.key")


def changed(store: MemoryStore, name: str, **fields: object) -> None:
    replace(store, name, json.dumps(json.loads(store.get(name)) | fields).encode())


@pytest.mark.parametrize("name", ["backstay.json", "keyring/k1.json"])
def test_a_newer_format_is_refused_by_name(
    repository: Repository, store: MemoryStore, keyring: Keyring, name: str
) -> None:
    changed(store, name, format=2)
    with pytest.raises(FormatUnsupported, match=f"{name} has format 2"):
        Repository.open(store, keyring)


def test_needs_are_asked_for_what_is_about_to_be_done(
    repository: Repository, store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    manifest = take(repository, ticking, sample())
    changed(store, "backstay.json", needs={"read": [], "write": ["holds"], "delete": ["locks"]})
    opened = Repository.open(store, keyring)
    assert Catalog(opened).manifest("s1") == manifest
    with pytest.raises(FormatUnsupported, match="to write under memory:, a tool must know holds"):
        take(opened, ticking, sample())
    with pytest.raises(FormatUnsupported, match=r"to delete .* locks"):
        opened.check_may("delete")
    changed(store, "backstay.json", needs={"read": ["magic"]})
    with pytest.raises(FormatUnsupported, match=r"to read .* magic"):
        Repository.open(store, keyring)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"format": 1}', b'{"format": 1, "repository_id": "x"}'])
def test_a_damaged_description_is_named(
    repository: Repository, store: MemoryStore, keyring: Keyring, text: bytes
) -> None:
    replace(store, "backstay.json", text)
    with pytest.raises((ObjectDamaged, FormatUnsupported), match=r"backstay\.json"):
        Repository.open(store, keyring)


def test_a_keyring_entry_under_another_name_is_refused(
    repository: Repository, store: MemoryStore, tmp_path: Path
) -> None:
    store.put("keyring/k2.json", store.get("keyring/k1.json"))
    (tmp_path / "k2.key").write_bytes((tmp_path / "k1.key").read_bytes())
    with pytest.raises(ObjectDamaged, match=r"keyring/k2\.json .* key k1"):
        Repository.open(store, file_keyring(tmp_path, "k2"))


def test_an_old_key_opens_what_it_wrapped_after_a_new_one_came(
    repository: Repository, store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    old = take(repository, ticking, sample())
    passphrase = PassphraseSource("p", lambda: "open sesame")
    repository.add_key(passphrase, ticking)
    both = Repository.open(store, Keyring([passphrase, *keyring.sources]))
    new = take(both, ticking, sample(2))
    assert differing(restored(both, old), sample().content()) == []
    assert differing(restored(both, new), sample(2).content()) == []
    only_new = Repository.open(store, Keyring([passphrase]))
    assert differing(restored(only_new, new), sample(2).content()) == []
    with pytest.raises(
        KeyUnusable, match=f"backup s1/{old.label} is wrapped by k1, and no such key is usable here"
    ):
        Catalog(only_new).manifest("s1", old.label)


def test_why_a_configured_key_is_unusable_is_said_when_it_is_needed(
    repository: Repository, store: MemoryStore, keyring: Keyring, tmp_path: Path, ticking: TickingClock
) -> None:
    manifest = take(repository, ticking, sample())
    passphrase = PassphraseSource("p", lambda: "open sesame")
    repository.add_key(passphrase, ticking)
    (tmp_path / "k1.key").write_bytes(bytes(32))
    opened = Repository.open(store, Keyring([passphrase, *keyring.sources]))
    with pytest.raises(KeyUnusable, match=r"wrapped by k1, .* \(key k1 is wrong"):
        opened.backup_key(manifest.backup)


def test_a_lost_wrapped_key_is_named(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    manifest = take(repository, ticking, sample())
    store.delete(layout.wrapped_key(manifest.backup, "k1"))
    with pytest.raises(ObjectMissing, match=f"backup {manifest.backup} has no wrapped key"):
        repository.backup_key(manifest.backup)


def test_a_damaged_copy_of_a_wrapped_key_does_not_hide_a_good_one(
    repository: Repository, store: MemoryStore, keyring: Keyring, tmp_path: Path, ticking: TickingClock
) -> None:
    second = file_keyring(tmp_path, "k2")
    repository.add_key(second.primary, ticking)
    both = Repository.open(store, Keyring([*second.sources, *keyring.sources]))
    manifest = take(repository, ticking, sample())
    store.put(layout.wrapped_key(manifest.backup, "k2"), b"{broken")
    assert Catalog(both).manifest("s1") == manifest
    store.delete(layout.wrapped_key(manifest.backup, "k1"))
    with pytest.raises(ObjectDamaged, match=r"k2\.json"):
        both.backup_key(manifest.backup)


def test_two_creations_at_once_end_with_one_repository(keyring: Keyring, ticking: TickingClock) -> None:
    """The second begins when the first has put its description and nothing else."""
    store = MemoryStore()
    with pytest.raises(StoreUnreachable):
        Repository.create(DyingStore(store, 6, unheard=False, forever=True), keyring, ticking)
    assert "backstay.json" in names(store)
    assert "keyring/k1.json" not in names(store)
    first = Repository.create(store, keyring, ticking)
    assert json.loads(store.get("backstay.json"))["repository_id"] == first.repository_id
    assert Repository.open(store, keyring).repository_id == first.repository_id
