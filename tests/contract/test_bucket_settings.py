"""What a real server tells of a bucket's settings, and which of them nobody may ask."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from repository.stores.s3 import S3Store
from repository.stores.s3_bucket import BucketSeen, LifecycleRule, look_at_bucket
from repository.stores.s3_client import S3Client

if TYPE_CHECKING:
    from infra.sandbox.objectstore import SeaweedServer

pytestmark = pytest.mark.s3


def seen(client: S3Client, bucket: str) -> BucketSeen:
    return look_at_bucket(S3Store(client, bucket, f"suite/{uuid.uuid4().hex}"), "trials/")


def made(seaweed: SeaweedServer, *, versioning: bool = False, object_lock: bool = False) -> str:
    name = f"settings-{uuid.uuid4().hex[:12]}"
    seaweed.create_bucket(name, versioning=versioning, object_lock=object_lock)
    return name


def test_a_plain_bucket_has_nothing_to_tell(s3_client: S3Client, plain_bucket: str) -> None:
    found = seen(s3_client, plain_bucket)
    assert found == BucketSeen(found.prefix, "", False, None, (), None)


def test_versions_are_freed_by_who_may_delete_them(s3_client: S3Client, bucket: str) -> None:
    found = seen(s3_client, bucket)
    assert (found.versioning, found.object_lock, found.frees_versions) == ("Enabled", False, True)


def test_a_bucket_that_locks_by_default_keeps_even_a_trial(
    s3_client: S3Client, seaweed: SeaweedServer
) -> None:
    bucket = made(seaweed, object_lock=True)
    assert seen(s3_client, bucket).default_lock is None
    client: Any = s3_client
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    found = seen(s3_client, bucket)
    assert (found.object_lock, found.default_lock, found.frees_versions) == (
        True,
        "for 1 days (governance)",
        False,
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            {"ID": "x", "Filter": {"Prefix": "a/"}, "Expiration": {"Days": 3}},
            LifecycleRule("x", "a/", "3 days after they are put", (), frees_versions=False, by_tag=False),
        ),
        (
            {"ID": "old", "Prefix": "a/", "Expiration": {"Days": 3}},
            LifecycleRule("old", "a/", "3 days after they are put", (), frees_versions=False, by_tag=False),
        ),
        (
            {"ID": "date", "Filter": {}, "Expiration": {"Date": "2040-01-31T00:00:00Z"}},
            LifecycleRule("date", "", "on 2040-01-31", (), frees_versions=False, by_tag=False),
        ),
        (
            {"ID": "v", "Filter": {}, "NoncurrentVersionExpiration": {"NoncurrentDays": 3}},
            LifecycleRule("v", "", None, (), frees_versions=True, by_tag=False),
        ),
        (
            {"ID": "m", "Filter": {}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
            LifecycleRule("m", "", None, (), frees_versions=False, by_tag=False),
        ),
    ],
)
def test_lifecycle_rules_are_read(
    s3_client: S3Client, seaweed: SeaweedServer, rule: dict[str, Any], expected: LifecycleRule
) -> None:
    bucket = made(seaweed)
    client: Any = s3_client
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [{**rule, "Status": "Enabled"}]}
    )
    assert seen(s3_client, bucket).rules == (expected,)


def test_a_rule_that_is_switched_off_is_none(s3_client: S3Client, seaweed: SeaweedServer) -> None:
    bucket = made(seaweed)
    client: Any = s3_client
    rule = {"ID": "x", "Filter": {}, "Expiration": {"Days": 3}, "Status": "Disabled"}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert seen(s3_client, bucket).rules == ()
