from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from fleet.repository_config import RepositoryConfig
from repository.stores.opening import LOCKED, lock_terms, open_store


def test_nothing_is_locked_unless_the_configuration_says_so() -> None:
    config = RepositoryConfig(url="s3://bucket", region="x")
    assert lock_terms(config) is None
    assert open_store(config).lock is None


def test_the_lock_reaches_the_store() -> None:
    config = RepositoryConfig(url="s3://bucket", region="x", lock_days=1.5, lock_mode="governance")
    terms = open_store(config).lock
    assert terms is not None
    assert (terms.mode, terms.duration) == ("governance", timedelta(hours=36))


@pytest.mark.parametrize("url", ["file:///srv/backups", "oss://bucket/prefix"])
def test_a_place_that_cannot_lock_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="lock_days"):
        RepositoryConfig(url=url, region=None if url.startswith("file") else "x", lock_days=30.0)


@pytest.mark.parametrize("days", [0.0, -1.0, float("inf"), 40000.0])
def test_a_lock_lasts_from_a_moment_to_a_century(days: float) -> None:
    with pytest.raises(ValidationError, match="lock_days"):
        RepositoryConfig(url="s3://bucket", lock_days=days)


@pytest.mark.parametrize(
    ("key", "is_locked"),
    [
        ("backstay.json", True),
        ("rescue.py", True),
        ("keyring/2026-a.json", True),
        ("keyring/2026-a.retiring", False),
        ("keys/s1/20260301T021500Z-full/2026-a.json", True),
        ("data/s1/20260301T021500Z-full/p00000000", True),
        ("manifests/s1/20260301T021500Z-full", True),
        ("archive/s1/000001/opened", True),
        ("leases/s1/0123456789abcdef/000000", False),
        ("holds/s1/20260301T021500Z-full/01234567", False),
        ("expired/s1/20260301T021500Z-full/mark", False),
        ("proofs/s1/20260301T021500Z-full/20260302T000000Z", False),
        ("trials/01234567", False),
    ],
)
def test_what_comes_and_goes_is_not_locked(key: str, is_locked: bool) -> None:
    assert bool(LOCKED.fullmatch(key)) is is_locked
