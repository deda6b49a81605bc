"""Prune and a policy that was made larger since: what it keeps stays, marked long ago or not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from backup.expire import expire, plan_expire
from backup.prune import prepare_prune, prune
from backup.prune_plan import PrunePlan, PruneResult
from backup.prune_survey import WANTED
from fleet.policy import Retention
from repository.layout import BackupName
from repository.leases import HeldLease, LeaseTerms
from repository.marks import Marks
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from restore.promised import plan_promised
from tests.unit.repository.chained import Donor, Taken, take_link
from tests.unit.repository.sealed_backups import TickingClock, file_keyring

SHORT = Retention(days=0.001, minimum_fulls=1, repack_below=0.0)
MONTH = Retention(days=30.0, minimum_fulls=1, repack_below=0.0)


class Place:
    """A chain of two and a full a day later, all but the last ended by a retention that was too short."""

    def __init__(self, folder: Path) -> None:
        self.clock = TickingClock()
        self.repository = Repository.create(MemoryStore(self.clock), file_keyring(folder), self.clock)
        donor = Donor(random.Random(3))
        donor.create(1, 9)
        first = take_link(self.repository, self.clock, donor, None)
        donor.change(donor.files[0], 2)
        self.taken: list[Taken] = [first, take_link(self.repository, self.clock, donor, first.manifest)]
        self.clock.sleep(86400)
        self.taken.append(take_link(self.repository, self.clock, donor, None))
        self.clock.sleep(3600)
        self.expire(SHORT)
        self.clock.sleep(25 * 3600)

    @property
    def names(self) -> list[BackupName]:
        return [each.manifest.backup for each in self.taken]

    def expire(self, policy: Retention) -> None:
        plan = plan_expire(self.repository, policy, clock=self.clock, may_shrink=True)
        expire(self.repository, plan)

    def plan(self, policy: Retention) -> PrunePlan:
        return prepare_prune(self.repository, policy, clock=self.clock, plan_points=plan_promised).plan

    def prune(self, policy: Retention) -> PruneResult:
        prepared = prepare_prune(self.repository, policy, clock=self.clock, plan_points=plan_promised)
        return prune(self.repository, prepared, clock=self.clock)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_the_present_policy_keeps_stays_and_the_way_out_is_told(place: Place) -> None:
    place.prune(SHORT)
    assert set(Marks(place.repository).pruning()) == set(place.names[:2])
    place.clock.sleep(3700)
    told = place.plan(MONTH)
    assert not told.backups
    assert [each.reasons[0] for each in told.marked] == [WANTED, WANTED]
    assert place.prune(MONTH).backups == ()
    # The hour that had begun is taken back with it.
    assert not Marks(place.repository).pruning()
    place.expire(MONTH)
    assert not Marks(place.repository).all()
    assert not place.plan(MONTH).marked


def test_what_it_does_not_keep_goes_as_ever_and_a_lease_is_no_policy(place: Place) -> None:
    terms = LeaseTerms("s1", "restore", (place.names[1].label,))
    lease = HeldLease(place.repository, terms, place.clock)
    assert lease.take()
    (first, second) = place.plan(SHORT).marked
    assert WANTED not in (*first.reasons, *second.reasons)
    lease.release()
    place.prune(SHORT)
    place.clock.sleep(3700)
    assert place.prune(SHORT).backups == tuple(f"{name}" for name in reversed(place.names[:2]))
