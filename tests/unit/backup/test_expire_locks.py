"""Expire in a store that locks: what is kept is locked for as long as it is needed, and no longer."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup.expire import expire, needed_until, plan_expire
from fleet.errors import ObjectLocked
from fleet.policy import Retention
from repository import layout
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.interface import LockTerms
from repository.stores.memory import MemoryStore
from repository.stores.opening import LOCKED
from tests.unit.repository.sealed_backups import TickingClock, file_keyring, sample, take

DAY = timedelta(days=1)
LOCK = 8 * DAY
WEEK = Retention(days=7.0, minimum_fulls=2, grace_hours=24.0)


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def repository(tmp_path: Path, clock: TickingClock) -> Repository:
    store = MemoryStore(clock, lock=LockTerms("compliance", LOCK, LOCKED))
    return Repository.create(store, file_keyring(tmp_path), clock)


def ends(repository: Repository, manifest: Manifest) -> datetime:
    until = repository.store.locked_until(layout.manifest(manifest.backup))
    assert until is not None
    return until


def take_daily(repository: Repository, clock: TickingClock, days: int) -> list[Manifest]:
    made: list[Manifest] = []
    for number in range(days):
        made.append(take(repository, clock, sample(number, pages=2)))
        clock.sleep(DAY.total_seconds())
        expire(repository, plan_expire(repository, WEEK, clock=clock))
    return made


def test_who_expires_every_day_locks_nothing_beyond_what_retention_keeps(
    repository: Repository, clock: TickingClock
) -> None:
    made = take_daily(repository, clock, 12)
    plan = plan_expire(repository, WEEK, clock=clock)
    ended = {each.label for each in plan.shards[0].expired}
    assert len(ended) >= 3
    for manifest in made:
        window = manifest.timings.finished_at + 8 * DAY
        # What is needed for its chain or as the one before the window is kept a week and a step longer.
        assert ends(repository, manifest) <= window + 9 * DAY
    for manifest in made:
        if manifest.label not in ended:
            assert ends(repository, manifest) >= manifest.timings.finished_at + 7 * DAY
    with pytest.raises(ObjectLocked):
        repository.store.delete(layout.manifest(made[-1].backup))


def test_what_is_kept_beyond_its_window_is_locked_a_week_ahead(
    repository: Repository, clock: TickingClock
) -> None:
    only = take(repository, clock, sample(pages=2))
    clock.sleep(30 * DAY.total_seconds())
    assert ends(repository, only) < clock.now()
    plan = plan_expire(repository, WEEK, clock=clock)
    assert needed_until(plan) == {only.backup: plan.at + 7 * DAY}
    expire(repository, plan)
    assert plan.at + 7 * DAY <= ends(repository, only) <= plan.at + 9 * DAY
