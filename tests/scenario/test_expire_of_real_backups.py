"""Retention ends real backups: nothing new is built on them, and while they are there they still restore."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.expire import Expiry, expire, plan_expire
from backup.incremental import plan_incremental_backup
from backup.keeping import take_back
from backup.result import BackupResult
from fleet.policy import Retention
from infra.sandbox.distribution import MysqlDistribution
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.marks import Marks
from repository.store_clock import ask_store_time
from restore.full import restore_backup
from tests.scenario.incrementals import Shard, StridingClock, started_shard

pytestmark = pytest.mark.mysql

INSTANT = Retention(days=1e-6, minimum_fulls=1)
"""A window of a tenth of a second: what ended before that is old."""


class TrueClock(StridingClock):
    """No label is ahead of the store's clock: what ends in the future never expires."""

    def stride(self) -> StridingClock:
        return self


@pytest.fixture
def shard(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Shard]:
    with started_shard(scratch_directory / "expire", mysql_distribution, scratch_directory) as started:
        started.clock = TrueClock()
        yield started


def wait_until_old(shard: Shard, newest: BackupResult) -> None:
    deadline = time.monotonic() + 30
    while (ask_store_time(shard.repository.store).now - newest.finished_at).total_seconds() < 0.3:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def planned(shard: Shard) -> Expiry:
    return plan_expire(shard.repository, INSTANT, may_shrink=True)


def test_what_expired_is_built_on_by_nothing_and_still_restores(shard: Shard, tmp_path: Path) -> None:
    first = shard.full()
    shard.change()
    second = shard.incremental()
    shard.change()
    third = shard.full()
    wait_until_old(shard, third)
    plan = planned(shard)
    assert {each.label for each in plan.shards[0].expires} == {first.label, second.label}
    assert not Marks(shard.repository).all()
    expire(shard.repository, plan)
    assert set(Marks(shard.repository).all()) == {
        BackupName("s1", first.label),
        BackupName("s1", second.label),
    }
    shard.change()
    fourth = shard.incremental()
    assert fourth.base == third.label
    # Taken back, the old chain is what the next one is built on once the newer backups have ended.
    assert take_back(shard.repository, "s1", second.label).labels == (first.label, second.label)
    for ended in (third, fourth):
        Marks(shard.repository).put(BackupName("s1", ended.label), "a trial")
    assert Catalog(shard.repository).name("s1").label == second.label
    assert plan_incremental_backup(shard.fleet(), "s1", repository=shard.repository).base == second.label
    shard.change()
    fifth = shard.incremental()
    assert fifth.base == second.label
    shard.assert_restores(tmp_path / "latest")
    named = restore_backup(
        shard.fleet(), "s1", tmp_path / "named", label=third.label, repository=shard.repository
    )
    assert all(check.passed for check in named.checks)
