"""Somebody has what a backup host has: its account of the store and the public half of the key.

The account is a real one of the server: it may put, prolong locks and list, and read what a backup needs to
begin. SeaweedFS cannot express an account that puts and does not delete, which AWS can; so this one deletes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fleet.clock import SystemClock
from fleet.errors import (
    ConfigError,
    KeyUnusable,
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    StoreDenied,
    ToolError,
)
from fleet.finding import Level
from fleet.policy import Retention
from fleet.repository_config import RepositoryConfig
from repository import layout
from repository.bucket_survey import check_bucket
from repository.catalog import Catalog
from repository.key_pair import PairSource, create_pair
from repository.keys import Keyring
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.interface import Store
from repository.stores.opening import open_bucket, open_store
from repository.undelete import undelete
from tests.unit.repository.sealed_backups import TickingClock, differing, restored, sample, take

if TYPE_CHECKING:
    from infra.sandbox.objectstore import SeaweedServer

pytestmark = pytest.mark.s3

BUCKET = "guarded"
MINUTE = timedelta(minutes=1)
SAMPLE = sample(pages=4)
# SeaweedFS takes a name without a pattern for that of a folder.
MAY = [
    f"List:{BUCKET}",
    f"Write:{BUCKET}",
    f"PutObjectRetention:{BUCKET}",
    f"GetBucketObjectLockConfiguration:{BUCKET}",
    *(f"Read:{BUCKET}/suite/*/{name}" for name in ("backstay.jso*", "keyring/*", "trials/*")),
]


@pytest.fixture(scope="module")
def guarded(scratch_directory: Path) -> Iterator[SeaweedServer]:
    """A server of its own, with a bucket that locks and an account that takes backups."""
    from infra.sandbox.objectstore import SeaweedServer

    server = SeaweedServer(scratch_directory / "guarded", owner=scratch_directory, roles={"backup": MAY})
    server.start()
    server.create_bucket(BUCKET, object_lock=True)
    yield server
    server.remove()


@dataclass
class Stolen:
    """A repository with a backup in it, as its owner and as the thief see it."""

    owner: RepositoryConfig
    thief: RepositoryConfig
    reading: Keyring
    sealing: Keyring
    manifest: Manifest

    def by_thief(self) -> Repository:
        return Repository.open(open_store(self.thief), self.sealing)

    def by_owner(self) -> Repository:
        return Repository.open(open_store(self.owner), self.reading)

    def names(self) -> list[str]:
        """All that is locked, by the owner's list."""
        return [each.key for each in open_store(self.owner).list("") if not each.key.startswith("trials/")]

    def is_whole(self) -> bool:
        repository = self.by_owner()
        manifest = Catalog(repository).read_manifest(self.manifest.backup)
        return differing(restored(repository, manifest), SAMPLE.content()) == []


@pytest.fixture
def stolen(guarded: SeaweedServer, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Stolen:
    def account(name: str, keys: tuple[str, str]) -> RepositoryConfig:
        for what, value in zip(("ACCESS", "SECRET"), keys, strict=True):
            monkeypatch.setenv(f"{name}_{what}", value)
        return RepositoryConfig.model_validate(
            {
                "url": f"s3://{BUCKET}/{prefix}",
                "endpoint": guarded.endpoint,
                "access_key": {"env": f"{name}_ACCESS"},
                "secret_key": {"env": f"{name}_SECRET"},
                "lock_days": 0.02,
                "lock_mode": "governance",
            }
        )

    owner = account("OWNER", (guarded.access_key, guarded.secret_key))
    thief = account("BACKUP", guarded.keys_of("backup"))
    create_pair(tmp_path / "p.key", tmp_path / "p.pub")
    sealing = Keyring([PairSource("p", tmp_path / "p.pub", None)])
    reading = Keyring([PairSource("p", None, tmp_path / "p.key")])
    Repository.create(open_store(owner), sealing, SystemClock())
    # The thief's account is that of the backup host, which took this one.
    manifest = take(Repository.open(open_store(thief), sealing), TickingClock(), SAMPLE)
    return Stolen(owner, thief, reading, sealing, manifest)


def raw(config: RepositoryConfig) -> tuple[Any, Any]:
    """The bucket's own API, with this account."""
    store = open_bucket(config)
    assert store is not None
    return store.versioned.client, lambda key: {"Bucket": BUCKET, "Key": store.prefix + key}


def just_now(store: Store) -> datetime:
    """A moment after all that was put; whatever is put from now on is later, to the store's whole second."""
    last = max(each.modified_at for each in store.list(""))
    while True:
        store.put("trials/now", b"", if_absent=False)
        if store.stat("trials/now").modified_at > last:
            return last
        time.sleep(0.05)


def test_the_host_takes_backups_that_its_account_cannot_read(stolen: Stolen) -> None:
    store = open_store(stolen.thief)
    assert stolen.is_whole()
    for name in stolen.names():
        if name.split("/")[0] in {"data", "keys", "manifests"}:
            with pytest.raises(StoreDenied):
                store.get(name)
    with pytest.raises(StoreDenied):
        Catalog(stolen.by_thief()).read_manifest(stolen.manifest.backup)
    # And whoever copies the whole bucket has no key.
    with pytest.raises(KeyUnusable, match="only the public half"):
        copied = Repository.open(open_store(stolen.owner), stolen.sealing)
        Catalog(copied).read_manifest(stolen.manifest.backup)


def test_what_is_stored_is_not_overwritten_by_the_ways_of_a_backup(stolen: Stolen) -> None:
    store = open_store(stolen.thief)
    for name in stolen.names():
        with pytest.raises(ObjectExists):
            store.put(name, b"mine")
    assert stolen.is_whole()


def test_no_version_of_a_backup_can_be_deleted_and_no_lock_ended(stolen: Stolen) -> None:
    client, named = raw(stolen.thief)
    store = open_bucket(stolen.owner)
    assert store is not None
    for name in stolen.names():
        for version in store.versioned.versions_of(store.prefix + name):
            for bypass in (False, True):
                with pytest.raises(Exception, match="AccessDenied"):
                    client.delete_object(
                        **named(name), VersionId=version.id, BypassGovernanceRetention=bypass
                    )
            with pytest.raises(Exception, match="AccessDenied"):
                client.put_object_retention(
                    **named(name),
                    VersionId=version.id,
                    BypassGovernanceRetention=True,
                    Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + MINUTE},
                )
        with pytest.raises(ObjectLocked):
            store.delete(name)
    assert stolen.is_whole()


def test_what_was_overwritten_and_hidden_comes_back_to_the_byte(stolen: Stolen) -> None:
    store = open_store(stolen.owner)
    before, names = just_now(store), stolen.names()
    client, named = raw(stolen.thief)
    for number, name in enumerate(names):
        if number % 3 != 1:
            client.put_object(**named(name), Body=b"mine")
        if number % 3 != 0:
            client.delete_object(**named(name))
    client.put_object(**named("data/s1/planted"), Body=b"new")
    with pytest.raises(ToolError):
        stolen.is_whole()

    plan = undelete(stolen.owner, before, SystemClock())
    assert not plan.done
    assert sorted(each.name for each in plan.objects) == sorted(names)
    assert {each.happened for each in plan.objects} == {"overwritten", "deleted"}
    with pytest.raises(ConfigError, match="may not ask"):
        undelete(stolen.thief, before, SystemClock(), names=names)
    done = undelete(stolen.owner, before, SystemClock(), names=names)
    assert (done.done, len(done.objects), done.put_again) == (True, len(names), 0)
    assert stolen.is_whole()
    assert undelete(stolen.owner, before, SystemClock()).objects == ()


def test_what_was_overwritten_by_something_locked_comes_back_as_a_copy(stolen: Stolen) -> None:
    store = open_store(stolen.owner)
    before, name = just_now(store), layout.manifest(stolen.manifest.backup)
    client, named = raw(stolen.thief)
    client.put_object(
        **named(name),
        Body=b"mine",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=datetime.now(UTC) + MINUTE,
    )
    with pytest.raises(ObjectDamaged, match=re.escape(name)):
        stolen.is_whole()
    assert undelete(stolen.owner, before, SystemClock(), names=[name]).put_again == 1
    assert stolen.is_whole()
    assert undelete(stolen.owner, before, SystemClock()).objects == ()


def test_check_tells_what_this_account_may_not_and_fails_nothing(stolen: Stolen) -> None:
    found = check_bucket(stolen.thief, Retention(days=0.001, grace_hours=0), SystemClock())
    assert {each.level for each in found} == {Level.WARN, Level.OK}
    assert any("lifecycle rules may not be asked" in each.message for each in found)
