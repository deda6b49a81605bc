"""Real backups in a bucket that locks: nobody deletes them, and what was laid over them goes again."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cli.toml import to_toml
from fleet.repository_config import RepositoryConfig
from infra.sandbox.dataset import create_dataset
from repository.stores.opening import LOCKED, open_bucket
from repository.stores.s3 import S3Store
from tests.scenario.doors import Door, wait_for

if TYPE_CHECKING:
    from infra.sandbox.objectstore import SeaweedServer
    from infra.sandbox.scratch import ScratchServer

pytestmark = [pytest.mark.mysql, pytest.mark.s3]

BUCKET = "locked-backups"
DAY = timedelta(days=1)


@pytest.fixture
def place(seaweed: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The repository's settings: a bucket that locks, a day long."""
    monkeypatch.setenv("LOCKED_ACCESS", seaweed.access_key)
    monkeypatch.setenv("LOCKED_SECRET", seaweed.secret_key)
    return {
        "url": f"s3://{BUCKET}/mysql",
        "endpoint": seaweed.endpoint,
        "access_key": {"env": "LOCKED_ACCESS"},
        "secret_key": {"env": "LOCKED_SECRET"},
        "lock_days": 1.0,
    }


@pytest.fixture
def door(scratch_server: ScratchServer, place: dict[str, Any], tmp_path: Path) -> Door:
    server, account = (
        each.model_dump(mode="json", exclude_unset=True)
        for each in (scratch_server.server, scratch_server.backup_account)
    )
    document = {
        "name": "test",
        "regions": [scratch_server.server.region],
        "shards": [{"name": "s1", "servers": [server]}],
        "accounts": {"backup": account},
        "repository": place,
        "keys": [{"id": "k1", "provider": "file", "file": str(tmp_path / "k1.key")}],
        "backup": {"donor": "primary"},
        "retention": {"days": 0.5, "grace_hours": 1.0},
    }
    config = tmp_path / "backstay.toml"
    config.write_text(to_toml(document))
    config.chmod(0o600)
    return Door(config, tmp_path)


def bucket_of(place: dict[str, Any]) -> S3Store:
    store = open_bucket(RepositoryConfig.model_validate(place))
    assert store is not None
    return store


def test_backups_are_locked_and_come_back_from_under_what_was_put_over_them(
    seaweed: SeaweedServer, scratch_server: ScratchServer, door: Door, place: dict[str, Any]
) -> None:
    seaweed.create_bucket(BUCKET, object_lock=False)
    refused = door.json("init", "--new-key", "k1.key", expect=41)
    assert "no Object Lock" in refused["error"]["message"]
    client = seaweed.client()
    client.delete_bucket(Bucket=BUCKET)
    seaweed.create_bucket(BUCKET, object_lock=True)
    door.run("init", "--new-key", "k1.key")
    assert "what is stored is locked for 1 days" in re.sub(r"\s+", " ", door.run("check"))
    with closing(scratch_server.connect()) as connection:
        create_dataset(connection, 5)
    (full,) = door.json("backup", "full", "s1")["backups"]
    (link,) = door.json("backup", "incremental", "s1")["backups"]
    assert link["base"] == full["label"]

    store = bucket_of(place)
    locked = [each.key for each in store.list("") if LOCKED.fullmatch(each.key)]
    until = {key: store.locked_until(key) for key in locked}
    assert all(each and each > datetime.now(UTC) + 0.9 * DAY for each in until.values())
    # What the incremental rests on is locked for a step longer than the incremental itself.
    ends = {
        label: min(each for key, each in until.items() if each and label in key)
        for label in (full["label"], link["label"])
    }
    assert ends[full["label"]] > ends[link["label"]] + DAY / 16

    for key in locked:
        for version in store.versioned.versions_of(store.prefix + key):
            with pytest.raises(Exception, match="AccessDenied"):
                client.delete_object(
                    Bucket=BUCKET, Key=version.name, VersionId=version.id, BypassGovernanceRetention=True
                )
    before = max(each.modified_at for each in store.list(""))

    def is_later() -> bool:
        store.put("trials/later", b"", if_absent=False)
        return store.stat("trials/later").modified_at > before

    wait_for("the store's clock to go on", 10, is_later)
    (manifest,) = (key for key in locked if key == f"manifests/s1/{full['label']}")
    (pack, *_) = (key for key in locked if key.startswith(f"data/s1/{full['label']}/p"))
    client.put_object(Bucket=BUCKET, Key=store.prefix + manifest, Body=b"mine")
    client.delete_object(Bucket=BUCKET, Key=store.prefix + pack)
    assert door.json("verify", "s1", expect=41)["error"]["kind"] == "CheckFailed"
    back = door.json("undelete", "--since", f"{before:%Y-%m-%dT%H:%M:%SZ}", "--yes")
    assert {each["name"]: each["happened"] for each in back["objects"]} == {
        manifest: "overwritten",
        pack: "deleted",
    }
    assert door.json("verify", "s1")["sound"]

    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": "mysql"}, "Expiration": {"Days": 90}}
    client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})
    found = door.json("check", expect=41)["findings"]
    (fatal,) = [each for each in found if each["level"] == "fail"]
    assert fatal["subject"] == "bucket" and "rule tidy (prefix mysql) deletes objects" in fatal["message"]
