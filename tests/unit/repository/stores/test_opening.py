from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import StoreUnreachable
from fleet.repository_config import RepositoryConfig
from fleet.secrets import Secret
from repository.stores.counting import StoreCounts
from repository.stores.opening import open_store
from repository.stores.retrying import RetryPolicy


def test_a_folder_is_opened_counted_and_throttled(tmp_path: Path, clock: Any) -> None:
    counts = StoreCounts()
    config = RepositoryConfig(url=f"file://{tmp_path}/repository", throttle_bytes_per_second=1000)
    store = open_store(config, clock=clock, counts=counts)
    store.put("a/b", bytes(2000))
    assert (tmp_path / "repository/a/b").stat().st_size == 2000
    assert store.describe() == f"file://{tmp_path}/repository"
    assert counts.snapshot()["put"].bytes == 2000
    assert sum(clock.slept) == pytest.approx(1.75, abs=0.01)


def test_a_bucket_is_opened_with_secrets_that_are_read_when_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    monkeypatch.setenv("TEST_ACCESS_KEY", "AK")
    monkeypatch.setenv("TEST_SECRET_KEY", "very-secret")
    config = RepositoryConfig(
        url="s3://bucket/prefix",
        endpoint="http://127.0.0.1:9",
        access_key=Secret(env="TEST_ACCESS_KEY"),
        secret_key=Secret(env="TEST_SECRET_KEY"),
    )
    counts = StoreCounts()
    policy = RetryPolicy(first_delay_seconds=1, first_contact_seconds=5)
    store = open_store(config, clock=clock, policy=policy, counts=counts)
    assert store.describe() == "s3://bucket/prefix/ at http://127.0.0.1:9"
    with pytest.raises(StoreUnreachable, match="tried") as caught:
        store.get("a")
    assert "very-secret" not in str(caught.value)
    found = counts.snapshot()["get"]
    assert found.requests == found.failures == found.retries + 1


def test_an_oss_bucket_is_opened_by_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "K")
    config = RepositoryConfig(
        url="oss://bucket/prefix",
        region="cn-hangzhou",
        access_key=Secret(env="TEST_KEY"),
        secret_key=Secret(env="TEST_KEY"),
    )
    assert open_store(config).describe() == "oss://bucket/prefix/ at https://s3.oss-cn-hangzhou.aliyuncs.com"


def test_a_folder_is_opened_without_loading_boto() -> None:
    code = (
        "import sys; from repository.stores.opening import open_store;"
        "from fleet.repository_config import RepositoryConfig as C;"
        "open_store(C(url='file:///tmp/x')); sys.exit(any('boto' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
