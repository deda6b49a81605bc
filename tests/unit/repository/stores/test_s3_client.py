from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.errors import ConfigError
from repository.stores.oss import OssStore, connect_oss
from repository.stores.s3 import S3Store
from repository.stores.s3_client import S3Connection, connect

LOCAL = S3Connection(endpoint="http://127.0.0.1:9000", access_key="AK", secret_key="very-secret")


def test_a_connection_never_shows_its_secret() -> None:
    assert "very-secret" not in repr(LOCAL)
    assert "very-secret" not in S3Store(connect(LOCAL), "bucket", "prefix").describe()


def test_half_a_pair_of_keys_is_refused() -> None:
    for wrong in (replace(LOCAL, access_key=None), replace(LOCAL, secret_key=None)):
        with pytest.raises(ConfigError, match="only one of access_key and secret_key"):
            connect(wrong)


def test_an_endpoint_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match=r"endpoint at host\.example") as caught:
        connect(replace(LOCAL, endpoint="https://user:very-secret@host.example"))
    assert "very-secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("endpoint", ["host.example", "ftp://host.example", "https://", "127.0.0.1:9000"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="is no URL"):
        connect(replace(LOCAL, endpoint=endpoint))


def test_an_impossible_region_is_a_mistake_in_the_config() -> None:
    with pytest.raises(ConfigError, match="no S3 client"):
        connect(replace(LOCAL, region="not a region!"))


def test_a_store_names_bucket_prefix_and_endpoint() -> None:
    client = connect(LOCAL)
    assert S3Store(client, "bucket", "a/b").describe() == "s3://bucket/a/b/ at http://127.0.0.1:9000"
    assert S3Store(client, "bucket", "/a/").describe() == "s3://bucket/a/ at http://127.0.0.1:9000"
    assert S3Store(client, "bucket").describe() == "s3://bucket/ at http://127.0.0.1:9000"


def test_oss_finds_its_endpoint_by_the_region() -> None:
    keys = S3Connection(access_key="AK", secret_key="very-secret")
    for region in ("cn-hangzhou", "oss-cn-hangzhou"):
        store = OssStore(connect_oss(replace(keys, region=region)), "bucket", "a")
        assert store.describe() == "oss://bucket/a/ at https://s3.oss-cn-hangzhou.aliyuncs.com"
    own = replace(keys, region="cn-hangzhou", endpoint="https://s3.oss-cn-hangzhou-internal.aliyuncs.com")
    assert OssStore(connect_oss(own), "bucket").describe().endswith("-internal.aliyuncs.com")


def test_oss_without_a_place_or_with_paths_is_refused() -> None:
    keys = S3Connection(access_key="AK", secret_key="very-secret")
    with pytest.raises(ConfigError, match="needs an endpoint or a region"):
        connect_oss(keys)
    with pytest.raises(ConfigError, match="path-style"):
        connect_oss(replace(keys, region="cn-hangzhou", addressing="path"))
