"""The mirror in the configuration: another place than the repository, with the same settings of a store."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fleet.errors import ConfigError
from fleet.mirror_config import MirrorConfig
from fleet.model import Fleet
from fleet.repository_config import StoreConfig

SHARD = {"name": "s1", "servers": [{"name": "s1-a", "host": "127.0.0.1", "region": "eu"}]}


def fleet(repository: dict[str, Any], mirror: dict[str, Any] | None) -> Fleet:
    return Fleet.model_validate(
        {
            "name": "shop",
            "regions": ["eu"],
            "shards": [SHARD],
            "accounts": {"backup": {"user": "b", "password": {"env": "P"}}},
            "keys": [{"id": "k1", "provider": "file", "file": "/k1.key"}],
            "repository": repository,
            "mirror": mirror,
            "retention": {"days": 7.0},
        }
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "overlap"),
    [
        ({"url": "file:///srv/a"}, {"url": "file:///srv/a"}, True),
        ({"url": "file:///srv/a"}, {"url": "file:///srv//a/"}, True),
        ({"url": "file:///srv/a"}, {"url": "file:///srv/a/mirror"}, True),
        ({"url": "file:///srv/a/b"}, {"url": "file:///srv/a"}, True),
        ({"url": "file:///srv/a"}, {"url": "file:///srv/ab"}, False),
        ({"url": "s3://bucket/p"}, {"url": "s3://bucket/p", "region": "us-east-1"}, True),
        ({"url": "s3://bucket"}, {"url": "s3://bucket/p"}, True),
        ({"url": "s3://bucket/p"}, {"url": "s3://bucket/pp"}, False),
        ({"url": "s3://bucket/p"}, {"url": "s3://bucket/p", "endpoint": "https://other"}, False),
        ({"url": "s3://bucket/p"}, {"url": "oss://bucket/p", "region": "r"}, False),
        ({"url": "s3://one/p"}, {"url": "s3://two/p"}, False),
    ],
)
def test_two_places_overlap_if_one_is_the_other_or_inside_of_it(
    ours: dict[str, str], theirs: dict[str, str], overlap: bool
) -> None:
    first, second = StoreConfig.model_validate(ours), StoreConfig.model_validate(theirs)
    assert first.overlaps(second) is second.overlaps(first) is overlap


def test_a_mirror_in_the_place_of_the_repository_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match=r"mirror\.url: .* is the place of the repository itself"):
        fleet({"url": "file:///srv/a"}, {"url": "file:///srv/a"})


def test_it_is_told_which_of_two_places_is_inside_of_the_other() -> None:
    with pytest.raises(
        ValidationError, match=r"'file:///srv' is a place that the repository, .* is inside of"
    ):
        fleet({"url": "file:///srv/a"}, {"url": "file:///srv"})
    with pytest.raises(
        ValidationError, match=r"'file:///srv/a/m' is inside of the repository, 'file:///srv/a'"
    ):
        fleet({"url": "file:///srv/a"}, {"url": "file:///srv/a/m"})


def test_everything_that_means_nothing_to_a_folder_is_told_at_once() -> None:
    with pytest.raises(ValidationError, match=r"has region, which means nothing .*; has lock_days, but"):
        MirrorConfig.model_validate({"url": "file:///srv/m", "region": "eu", "lock_days": 3.0})


def test_at_the_mirror_the_fleet_has_its_place_and_its_retention() -> None:
    configured = fleet(
        {"url": "file:///srv/a", "throttle_bytes_per_second": 7, "pack_size_bytes": 2**20},
        {
            "url": "s3://bucket/p",
            "region": "r",
            "access_key": {"env": "A"},
            "secret_key": {"env": "B"},
            "retention": {"days": 90.0},
        },
    )
    there = configured.at_mirror()
    assert (there.repository.url, there.repository.region) == ("s3://bucket/p", "r")
    assert there.repository.access_key is not None
    assert there.repository.access_key.describe() == {"env": "A"}
    assert there.repository.throttle_bytes_per_second is None
    assert there.repository.pack_size_bytes == 2**20
    assert there.retention.days == 90
    assert there.mirror is None


def test_without_a_retention_of_its_own_the_mirror_keeps_what_the_fleet_keeps() -> None:
    there = fleet({"url": "file:///srv/a"}, {"url": "file:///srv/b"}).at_mirror()
    assert there.retention.days == 7


def test_a_fleet_without_a_mirror_has_none_to_be_at() -> None:
    with pytest.raises(ConfigError, match="there is no mirror"):
        fleet({"url": "file:///srv/a"}, None).at_mirror()


def test_a_mirror_has_the_mistakes_of_a_repository() -> None:
    with pytest.raises(ValidationError, match="together, or neither"):
        MirrorConfig.model_validate({"url": "s3://bucket/p", "access_key": {"env": "A"}})
