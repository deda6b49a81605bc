"""What Object Lock and versions do on a real S3 server, and what the stores make of it.

Seen on SeaweedFS 4. Where AWS's documentation differs: a lock, a legal hold and a missing permission are all
refused with 403 AccessDenied (AWS adds a text); an object without a lock is told by HEAD, because the code of
GetObjectRetention differs (ObjectLockConfigurationNotFoundError, on AWS NoSuchObjectLockConfiguration); a put
that names a lock in a bucket without Object Lock is 400 InvalidRequest on both.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fleet.errors import ObjectExists, ObjectLocked, ObjectMissing, StoreDenied
from repository.stores.interface import LockMode, LockTerms, Store
from repository.stores.memory import MemoryStore
from repository.stores.s3 import S3Store
from repository.stores.s3_client import S3Client

if TYPE_CHECKING:
    from infra.sandbox.objectstore import SeaweedServer

HOUR = timedelta(hours=1)
COVERS = re.compile("data/.*")
MakeStore = Callable[..., Store]


@pytest.fixture(scope="session")
def locking_bucket(seaweed: SeaweedServer) -> str:
    """A bucket with Object Lock, and so with versioning."""
    seaweed.create_bucket("locking", object_lock=True)
    return "locking"


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.s3)])
def locking(request: pytest.FixtureRequest, prefix: str) -> Store:
    """An empty store of each kind that locks what is under ``data/`` for an hour."""
    terms = LockTerms("compliance", HOUR, COVERS)
    if request.param == "memory":
        return MemoryStore(lock=terms)
    client = request.getfixturevalue("s3_client")
    return S3Store(client, request.getfixturevalue("locking_bucket"), prefix, lock=terms)


def in_an_hour() -> datetime:
    return datetime.now(UTC) + HOUR


def test_what_is_put_is_locked_from_birth_and_a_delete_says_until_when(locking: Store) -> None:
    assert locking.properties.object_lock
    locking.put("data/p", b"bytes")
    until = locking.locked_until("data/p")
    assert until is not None
    assert abs(until - in_an_hour()) < timedelta(minutes=2)
    with pytest.raises(ObjectLocked, match=r"data/p .*locked until") as refused:
        locking.delete("data/p")
    assert refused.value.until == until
    assert locking.get("data/p") == b"bytes"
    assert [each.key for each in locking.list("")] == ["data/p"]


def test_what_the_terms_do_not_cover_is_not_locked(locking: Store) -> None:
    locking.put("leases/l", b"")
    assert locking.locked_until("leases/l") is None
    locking.prolong("leases/l", in_an_hour())
    assert locking.locked_until("leases/l") is None
    locking.delete("leases/l")
    assert list(locking.list("")) == []


def test_a_lock_is_prolonged_and_never_shortened(locking: Store) -> None:
    locking.put("data/p", b"")
    later = (datetime.now(UTC) + 3 * HOUR).replace(microsecond=0)
    locking.prolong("data/p", later)
    assert locking.locked_until("data/p") == later
    locking.prolong("data/p", later - HOUR)
    assert locking.locked_until("data/p") == later
    locking.prolong("data/p", later.replace(microsecond=1))
    assert locking.locked_until("data/p") == later + timedelta(seconds=1)


def test_the_lock_of_what_is_not_there_is_missing(locking: Store) -> None:
    with pytest.raises(ObjectMissing, match="data/p"):
        locking.locked_until("data/p")
    with pytest.raises(ObjectMissing, match="data/p"):
        locking.prolong("data/p", in_an_hour())
    locking.delete("data/p")


def test_stores_without_terms_lock_nothing_and_prolong_nothing(store: Store) -> None:
    assert store.lock is None
    store.put("data/p", b"")
    store.prolong("data/p", in_an_hour())
    assert store.locked_until("data/p") is None
    store.delete("data/p")


def raw(store: S3Store, key: str) -> dict[str, Any]:
    """How the bucket's own API is asked for ``key``."""
    return {"Bucket": store.versioned.bucket, "Key": store.prefix + key}


def all_of(store: S3Store, key: str) -> list[tuple[bool, int]]:
    return [(each.is_marker, each.size) for each in store.versioned.versions_of(store.prefix + key)]


@pytest.mark.s3
def test_a_delete_in_a_versioned_bucket_frees_every_version(
    s3_client: S3Client, bucket: str, prefix: str
) -> None:
    store = S3Store(s3_client, bucket, prefix)
    store.put("data/p", b"1")
    store.put("data/p2", b"a name that begins alike")
    store.put("data/p", b"22", if_absent=False)
    s3_client.delete_object(**raw(store, "data/p"))
    # An object behind a delete marker is none: a conditional put succeeds.
    store.put("data/p", b"333")
    assert sorted(all_of(store, "data/p")) == [(False, 1), (False, 2), (False, 3), (True, 0)]
    assert all_of(store, "data/p")[0] == (False, 3)
    store.delete("data/p")
    assert all_of(store, "data/p") == []
    assert [each.key for each in store.list("")] == ["data/p2"]


@pytest.mark.s3
def test_deleting_what_is_not_there_leaves_no_delete_marker(
    s3_client: S3Client, bucket: str, prefix: str
) -> None:
    store = S3Store(s3_client, bucket, prefix)
    store.delete("data/never")
    assert all_of(store, "data/never") == []


@pytest.mark.s3
def test_a_delete_in_a_bucket_without_versions_is_one_request(
    s3_client: S3Client, plain_bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(s3_client, plain_bucket, prefix)
    store.put("data/p", b"1")
    _ = store.properties

    def never(**_: Any) -> dict[str, Any]:
        raise AssertionError("versions of a bucket that has none")

    monkeypatch.setattr(s3_client, "list_object_versions", never)
    monkeypatch.setattr(s3_client, "get_bucket_versioning", never)
    store.delete("data/p")
    assert list(store.list("")) == []


@pytest.mark.s3
@pytest.mark.parametrize("mode", ["compliance", "governance"])
def test_a_lock_holds_the_version_and_not_the_name(
    s3_client: S3Client, locking_bucket: str, prefix: str, mode: LockMode
) -> None:
    """Whoever may put can put over it, whoever may delete can hide it; what was locked stays under that."""
    store = S3Store(s3_client, locking_bucket, prefix, lock=LockTerms(mode, HOUR))
    store.put("data/p", b"ours")
    with pytest.raises(ObjectExists):
        store.put("data/p", b"theirs")
    s3_client.put_object(**raw(store, "data/p"), Body=b"theirs")
    assert store.get("data/p") == b"theirs"
    s3_client.delete_object(**raw(store, "data/p"))
    with pytest.raises(ObjectMissing):
        store.get("data/p")
    with pytest.raises(ObjectLocked) as refused:
        store.delete("data/p")
    assert refused.value.until is not None
    assert all_of(store, "data/p") == [(True, 0), (False, 6), (False, 4)]


@pytest.mark.s3
def test_a_lock_of_the_other_mode_is_prolonged_in_its_own(
    s3_client: S3Client, locking_bucket: str, prefix: str
) -> None:
    S3Store(s3_client, locking_bucket, prefix, lock=LockTerms("compliance", HOUR)).put("data/p", b"")
    store = S3Store(s3_client, locking_bucket, prefix, lock=LockTerms("governance", HOUR))
    later = (datetime.now(UTC) + 3 * HOUR).replace(microsecond=0)
    store.prolong("data/p", later)
    assert store.versioned.lock_of(store.prefix + "data/p") == ("COMPLIANCE", later, False)


@pytest.mark.s3
def test_an_object_under_a_legal_hold_is_locked_without_a_date(
    s3_client: S3Client, locking_bucket: str, prefix: str
) -> None:
    store = S3Store(s3_client, locking_bucket, prefix)
    s3_client.put_object(**raw(store, "data/p"), Body=b"x", ObjectLockLegalHoldStatus="ON")
    with pytest.raises(ObjectLocked, match="legal hold") as refused:
        store.delete("data/p")
    assert refused.value.until is None


@pytest.mark.s3
def test_a_lock_that_is_over_lets_the_object_go(
    s3_client: S3Client, locking_bucket: str, prefix: str
) -> None:
    store = S3Store(s3_client, locking_bucket, prefix, lock=LockTerms("compliance", timedelta(seconds=1)))
    store.put("data/p", b"x")
    until = store.locked_until("data/p")
    assert until is not None
    while True:
        try:
            store.delete("data/p")
            break
        except ObjectLocked as locked:
            assert locked.until == until
            assert datetime.now(UTC) < until + timedelta(seconds=30)
    assert datetime.now(UTC) >= until - timedelta(seconds=1)
    assert all_of(store, "data/p") == []


@pytest.mark.s3
def test_a_bucket_without_object_lock_refuses_a_locked_put(
    s3_client: S3Client, bucket: str, prefix: str
) -> None:
    store = S3Store(s3_client, bucket, prefix, lock=LockTerms("governance", HOUR))
    assert not store.properties.object_lock
    with pytest.raises(StoreDenied, match="data/p") as refused:
        store.put("data/p", b"")
    assert refused.value.hint is not None
    assert "made with Object Lock" in refused.value.hint
    assert list(store.list("")) == []


@pytest.mark.s3
def test_versions_of_many_objects_come_by_name_and_newest_first(s3_client: S3Client, bucket: str) -> None:
    store = S3Store(s3_client, bucket, f"suite/{uuid.uuid4().hex}")
    for key in ("a/1", "a/10", "a/2"):
        store.put(key, b"")
        store.put(key, b"x", if_absent=False)
    found = list(store.versioned.versions(store.prefix))
    assert [(each.name.removeprefix(store.prefix), each.size, each.is_latest) for each in found] == [
        ("a/1", 1, True),
        ("a/1", 0, False),
        ("a/10", 1, True),
        ("a/10", 0, False),
        ("a/2", 1, True),
        ("a/2", 0, False),
    ]
