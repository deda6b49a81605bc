from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sealed_backups import UUID, TickingClock, ToldStore, file_keyring, names, replace, sample, take

from fleet.errors import FormatUnsupported, KeyUnusable, NotFound, ObjectDamaged, StoreUnreachable
from repository import layout
from repository.catalog import Catalog
from repository.codec import encode_document
from repository.keys import Keyring
from repository.manifest import Manifest, Proof, ProofCheck
from repository.repository import Repository
from repository.seal import Identity, ObjectKind, seal_object
from repository.stores.memory import MemoryStore


def proof_of(manifest: Manifest, *, proven: bool = True) -> Proof:
    return Proof(
        repository_id=manifest.repository_id,
        shard=manifest.shard,
        label=manifest.label,
        proven=proven,
        gtid_executed=f"{UUID}:1-7",
        server_version="9.7.4",
        checks=(ProofCheck(name="check table shop.orders", passed=proven),),
        finished_at=datetime(2026, 3, 2, 1, 2, 3, tzinfo=UTC),
        created_by="backstay 0.1.0",
    )


def test_backups_are_listed_by_shard_and_time(repository: Repository, ticking: TickingClock) -> None:
    made = [take(repository, ticking, sample(), shard=shard) for shard in ("s2", "s1", "s2", "a-1", "a")]
    catalog = Catalog(repository)
    assert catalog.shards() == ["a", "a-1", "s1", "s2"]
    listed = [(backup.shard, backup.label) for backup in catalog.backups()]
    assert listed == sorted(manifest.backup for manifest in made)
    assert [backup.label for backup in catalog.backups("s2")] == [made[0].label, made[2].label]
    first = catalog.backups("s1")[0]
    assert (first.kind, first.proven, first.donor, first.server_version) == ("full", False, "s1-b", "9.7.4")
    assert first.files == 6
    assert first.stored_bytes == made[1].sizes.stored_bytes
    assert first.finished_at == made[1].timings.finished_at


def test_an_empty_repository_has_no_backups(repository: Repository) -> None:
    assert Catalog(repository).backups() == []
    assert Catalog(repository).shards() == []


def test_the_latest_backup_is_the_newest(repository: Repository, ticking: TickingClock) -> None:
    made = [take(repository, ticking, sample(seed)) for seed in range(3)]
    catalog = Catalog(repository)
    assert catalog.manifest("s1") == made[2]
    assert catalog.manifest("s1", made[0].label) == made[0]


def test_a_backup_that_is_not_there_is_not_found(repository: Repository, ticking: TickingClock) -> None:
    with pytest.raises(NotFound, match="no backup of shard s1") as caught:
        Catalog(repository).manifest("s1")
    assert "no backup of any shard" in (caught.value.hint or "")
    manifest = take(repository, ticking, sample())
    with pytest.raises(NotFound, match="has no backup 20260301T021599Z-full") as caught:
        Catalog(repository).manifest("s1", "20260301T021599Z-full")
    assert manifest.label in (caught.value.hint or "")
    with pytest.raises(NotFound) as caught:
        Catalog(repository).manifest("s2")
    assert "s1" in (caught.value.hint or "")


def test_leftovers_are_no_backup(repository: Repository, store: MemoryStore, ticking: TickingClock) -> None:
    manifest = take(repository, ticking, sample())
    store.delete(layout.manifest(manifest.backup))
    assert Catalog(repository).backups() == []
    assert len(names(store, "data/")) > 5


def test_an_unreadable_manifest_is_neither_hidden_nor_in_the_way(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    good, bad = take(repository, ticking, sample()), take(repository, ticking, sample())
    name = layout.manifest(bad.backup)
    replace(store, name, store.get(name)[:-1])
    catalog = Catalog(repository)
    assert [backup.label for backup in catalog.backups()] == [good.label]
    (unreadable,) = catalog.survey().unreadable
    assert (unreadable.shard, unreadable.label) == bad.backup
    assert isinstance(unreadable.error, ObjectDamaged)
    with pytest.raises(ObjectDamaged, match=name):
        catalog.manifest("s1", "latest")


def test_when_no_manifest_can_be_read_the_missing_key_is_named(
    repository: Repository, store: MemoryStore, keyring: Keyring, tmp_path: Path, ticking: TickingClock
) -> None:
    """That is not an empty repository."""
    take(repository, ticking, sample())
    other = file_keyring(tmp_path, "k2")
    repository.add_key(other.primary, ticking)
    opened = Repository.open(store, other)
    with pytest.raises(KeyUnusable, match="is wrapped by k1, and no such key is usable here"):
        Catalog(opened).backups()
    assert len(Catalog(opened).survey().unreadable) == 1


def test_a_store_that_does_not_answer_is_not_a_damaged_backup(
    repository: Repository, store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    class Silent(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "get" and key.startswith("manifests/"):
                raise StoreUnreachable("no answer")

    take(repository, ticking, sample())
    with pytest.raises(StoreUnreachable):
        Catalog(Repository.open(Silent(store), keyring)).survey()


def seal_manifest(repository: Repository, store: MemoryStore, manifest: Manifest, text: bytes) -> None:
    """Replace a manifest by another that has the right keys."""
    name = layout.manifest(manifest.backup)
    identity = Identity(repository.repository_id, name, ObjectKind.MANIFEST)
    key = repository.backup_key(manifest.backup)
    replace(store, name, bytes(seal_object(identity, key, encode_document(text, 1))))


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        (b'"format":1', b'"format":2', "has format 2"),
        (b'"read":[]', b'"read":["chunks"]', "must know chunks"),
    ],
)
def test_a_manifest_of_a_newer_tool_is_refused(
    repository: Repository, store: MemoryStore, ticking: TickingClock, old: bytes, new: bytes, fact: str
) -> None:
    manifest = take(repository, ticking, sample())
    text = manifest.model_dump_json().encode()
    assert old in text
    seal_manifest(repository, store, manifest, text.replace(old, new))
    with pytest.raises(FormatUnsupported, match=fact) as caught:
        Catalog(repository).manifest("s1")
    assert layout.manifest(manifest.backup) in caught.value.message


def test_a_manifest_that_speaks_of_another_backup_is_refused(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    manifest = take(repository, ticking, sample())
    changed = manifest.model_copy(update={"shard": "s9"}).model_dump_json().encode()
    seal_manifest(repository, store, manifest, changed)
    with pytest.raises(ObjectDamaged, match="says that it is the manifest of s9/"):
        Catalog(repository).manifest("s1")


def test_a_proof_makes_a_backup_proven(repository: Repository, ticking: TickingClock) -> None:
    manifest = take(repository, ticking, sample())
    catalog = Catalog(repository)
    assert catalog.proofs(*manifest.backup) == []
    failed, passed = proof_of(manifest, proven=False), proof_of(manifest)
    name = catalog.record_proof(manifest, failed)
    assert name == f"proofs/s1/{manifest.label}/20260302T010203Z"
    assert not catalog.backups()[0].proven
    assert catalog.record_proof(manifest, passed) == f"proofs/s1/{manifest.label}/20260302T010204Z"
    assert catalog.proofs(*manifest.backup) == [failed, passed]
    assert catalog.backups()[0].proven
    assert catalog.backups("s1")[0].proven


def test_a_damaged_proof_proves_nothing_and_hides_nothing(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    manifest = take(repository, ticking, sample())
    catalog = Catalog(repository)
    name = catalog.record_proof(manifest, proof_of(manifest))
    replace(store, name, store.get(name)[:-1])
    assert [backup.proven for backup in catalog.backups()] == [False]
    with pytest.raises(ObjectDamaged, match=name):
        catalog.proofs(*manifest.backup)


def test_a_proof_of_another_backup_is_not_recorded(repository: Repository, ticking: TickingClock) -> None:
    one, other = take(repository, ticking, sample()), take(repository, ticking, sample())
    with pytest.raises(ValueError, match="says nothing of"):
        Catalog(repository).record_proof(one, proof_of(other))
