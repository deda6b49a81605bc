"""What a store says to a wrong address, wrong credentials, a wrong bucket or the wrong dialect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from oss_front import OssFront

from fleet.errors import ObjectExists, StoreDenied, StoreUnreachable
from repository.stores.oss import OssStore
from repository.stores.s3 import S3Store
from repository.stores.s3_client import S3Client, S3Connection, connect

if TYPE_CHECKING:
    from infra.sandbox.objectstore import SeaweedServer

pytestmark = pytest.mark.s3


def test_a_server_that_is_not_there_is_unreachable(s3_connection: S3Connection) -> None:
    nobody = replace(s3_connection, endpoint="http://127.0.0.1:9")
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:9"):
        S3Store(connect(nobody), "bucket").get("key")
    with pytest.raises(StoreUnreachable, match=r"nowhere\.invalid"):
        S3Store(connect(replace(nobody, endpoint="http://nowhere.invalid")), "bucket").get("key")


def test_a_wrong_secret_is_refused_and_never_shown(s3_connection: S3Connection, bucket: str) -> None:
    wrong = replace(s3_connection, secret_key="wrong-and-secret")
    with pytest.raises(StoreDenied, match="SignatureDoesNotMatch") as caught:
        S3Store(connect(wrong), bucket).get("key")
    shown = f"{caught.value} {caught.value.hint} {caught.value!r} {wrong!r} {caught.value.__cause__!r}"
    assert "wrong-and-secret" not in shown
    with pytest.raises(StoreDenied, match="InvalidAccessKeyId"):
        S3Store(connect(replace(wrong, access_key="NOBODY")), bucket).put("key", b"")


def test_a_missing_bucket_is_named(s3_client: S3Client) -> None:
    store = S3Store(s3_client, "no-such-bucket")
    uses: list[Callable[[], object]] = [
        lambda: store.put("a", b""),
        lambda: store.get("a"),
        lambda: list(store.list("")),
    ]
    for use in uses:
        with pytest.raises(StoreDenied, match=r"no-such-bucket/ at .* does not exist") as caught:
            use()
        assert caught.value.hint is not None
        assert "Create the bucket" in caught.value.hint


def test_what_a_bucket_can_do_is_asked(
    seaweed: SeaweedServer, s3_client: S3Client, bucket: str, plain_bucket: str
) -> None:
    seaweed.create_bucket("contract-locked", object_lock=True)
    found = {name: S3Store(s3_client, name).properties for name in (bucket, plain_bucket, "contract-locked")}
    assert (found[bucket].versioned, found[bucket].object_lock) == (True, False)
    assert (found[plain_bucket].versioned, found[plain_bucket].object_lock) == (False, False)
    assert (found["contract-locked"].versioned, found["contract-locked"].object_lock) == (True, True)
    locked = S3Store(s3_client, "contract-locked")
    locked.put("keys/one", b"one")
    with pytest.raises(ObjectExists):
        locked.put("keys/one", b"two")


def test_oss_with_versioning_ignores_the_condition_and_is_found_out(
    oss_front: OssFront, oss_client: S3Client, bucket: str, prefix: str
) -> None:
    oss_front.versioned_buckets.add(bucket)
    store = OssStore(oss_client, bucket, prefix)
    store.put("keys/one", b"first")
    assert not store.properties.conditional_put
    assert store.properties.versioned
    with pytest.raises(ObjectExists):
        store.put("keys/one", b"second")
    assert store.get("keys/one") == b"first"


def test_oss_refuses_what_a_plain_s3_client_sends(
    oss_front: OssFront, s3_connection: S3Connection, oss_client: S3Client, plain_bucket: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", oss_front.address)
        path_style = connect(replace(s3_connection, endpoint=oss_front.endpoint, addressing="path"))
    with pytest.raises(StoreDenied, match="SecondLevelDomainForbidden"):
        S3Store(path_style, plain_bucket).get("key")
    with pytest.raises(StoreDenied, match="x-amz-checksum"):
        S3Store(oss_client, plain_bucket, "plain").put("key", b"")
