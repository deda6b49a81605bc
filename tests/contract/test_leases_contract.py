"""The store's own clock, and leases, over every kind of store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from fleet.gtid import GtidSet
from repository.held_lease import HeldLease
from repository.leases import Leases, LeaseTerms, held
from repository.repository import Repository
from repository.store_clock import ask_store_time, check_clock
from repository.stores.interface import Store
from tests.unit.repository.sealed_backups import UUID, TickingClock, file_keyring

pytestmark = pytest.mark.parametrize(
    "store",
    ["memory", "filesystem", *(pytest.param(kind, marks=pytest.mark.s3) for kind in ("s3", "oss"))],
    indirect=True,
)

LABEL = "20260301T021500Z-full"
TERMS = LeaseTerms("s1", "standby", (LABEL,), GtidSet.parse(f"{UUID}:1-5"))


def test_a_store_on_this_machine_goes_by_this_machines_clock(store: Store) -> None:
    told = ask_store_time(store)
    check_clock(told)
    assert abs(told.ahead_seconds) <= told.give_or_take_seconds + 0.1
    assert list(store.list("trials/")) == []


def test_the_stores_time_never_goes_back(store: Store) -> None:
    first, second = ask_store_time(store), ask_store_time(store)
    assert first.now <= second.now


def test_a_lease_is_seen_while_it_is_held_and_ends_with_its_ttl(store: Store, tmp_path: Path) -> None:
    repository = Repository.create(store, file_keyring(tmp_path), TickingClock())
    leases = Leases(repository)
    with held(repository, TERMS, ttl_seconds=600) as held_lease:
        assert held_lease.without is None
        held_lease.check()
        now = ask_store_time(store).now
        (seen,) = leases.in_force(now, "s1")
        assert (seen.token, seen.kind, seen.labels) == (held_lease.token, "standby", (LABEL,))
        assert seen.gtids_from == TERMS.gtids_from
        # Whole seconds are cut off, of both times.
        assert timedelta(seconds=590) < seen.until - now <= timedelta(seconds=600)
        assert leases.in_force(seen.until, "s1") == ()
    assert leases.in_force(now) == ()
    assert list(store.list("leases/")) == []


def test_a_renewed_lease_is_in_force_for_longer(store: Store, tmp_path: Path) -> None:
    repository = Repository.create(store, file_keyring(tmp_path), clock := TickingClock())
    lease = HeldLease(repository, TERMS, clock)
    assert lease.take()
    (before,) = Leases(repository).in_force(ask_store_time(store).now)
    assert lease.renew()
    (after,) = Leases(repository).in_force(ask_store_time(store).now)
    assert after.until >= before.until
    assert [info.key for info in store.list("leases/")] == [f"leases/s1/{lease.token}/000001"]
    lease.release()
    assert list(store.list("leases/")) == []
