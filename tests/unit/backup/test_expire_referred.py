"""Expire says of what it ends by whom that is referred to: so far it stays stored."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from backup.expire import expire, plan_expire
from backup.prune import prepare_prune
from fleet.policy import Retention
from repository.layout import BackupName
from repository.reach import needed_by
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from tests.unit.backup.test_prune import History
from tests.unit.repository.chained import Donor, take_link, take_referring
from tests.unit.repository.sealed_backups import TickingClock, file_keyring

BOTH_FULLS = Retention(days=30.0, minimum_fulls=2, grace_hours=24.0)
NEWEST_FULL = Retention(days=30.0, minimum_fulls=1, grace_hours=24.0)


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def repository(tmp_path: Path, clock: TickingClock) -> Repository:
    return Repository.create(MemoryStore(clock), file_keyring(tmp_path), clock)


@pytest.fixture
def history(repository: Repository, clock: TickingClock) -> History:
    made = History.made(repository, clock)
    clock.sleep(40 * 86400)
    return made


def test_of_a_chain_that_ends_it_is_told_which_full_that_stays_refers_to_it(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    first = [each.manifest.label for each in history.first]
    referring = history.referring.manifest.label
    (planned,) = plan_expire(repository, BOTH_FULLS, clock=clock, may_shrink=True).shards
    assert {each.label: each.referred_by for each in planned.expires} == dict.fromkeys(first, (referring,))
    expire(repository, plan_expire(repository, BOTH_FULLS, clock=clock, may_shrink=True))
    clock.sleep(25 * 3600)
    (later,) = plan_expire(repository, BOTH_FULLS, clock=clock).shards
    assert {each.label: each.referred_by for each in later.expired} == dict.fromkeys(first, (referring,))
    # Prune says the same of each, in its own words.
    kept = prepare_prune(repository, BOTH_FULLS, clock=clock).plan.marked
    assert {each.label for each in kept} == set(first)


def test_a_full_that_ends_as_well_is_not_told_of(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    (planned,) = plan_expire(repository, NEWEST_FULL, clock=clock, may_shrink=True).shards
    ended = {each.label: each.referred_by for each in planned.expires}
    assert ended.keys() == {each.manifest.label for each in (*history.first, history.referring)}
    assert set(ended.values()) == {()}


def test_all_that_stay_and_refer_are_told_the_newest_last(
    repository: Repository, clock: TickingClock
) -> None:
    donor = Donor(random.Random(7))
    donor.create(1, 9)
    old = take_link(repository, clock, donor, None)
    donor.change(donor.files[0], 2)
    one = take_referring(repository, clock, donor, old.manifest)
    donor.change(donor.files[0], 3)
    other = take_referring(repository, clock, donor, one.manifest)
    clock.sleep(40 * 86400)
    (planned,) = plan_expire(repository, BOTH_FULLS, clock=clock, may_shrink=True).shards
    assert {each.label: each.referred_by for each in planned.expires} == {
        old.manifest.label: (one.manifest.label, other.manifest.label)
    }


def test_who_is_needed_through_others_is_needed_and_circles_end() -> None:
    a, b, c, d = (BackupName("s1", label) for label in "abcd")
    assert needed_by([a, d], {a: [b], b: [c], c: [b, a], d: [c, d]}) == {b: (a, d), c: (a, d)}
    assert needed_by([a], {}) == {}
