"""What is scheduled for a fleet, and where it runs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from flows.deployments import ENTRYPOINTS, CronLine, Deployment, Place, near, pools_of, wanted_deployments
from tests.unit.flows.scheduled_fleets import SHARD_A, SHARD_B, described


def by_name(**sections: Any) -> dict[str, Deployment]:
    wanted = wanted_deployments(described(**sections), in_pools=True)
    return {each.full_name: each for each in wanted}


def test_a_shard_has_one_deployment_with_two_schedules_that_are_spread() -> None:
    wanted = by_name(
        schedule={"full_cron": "0 2 * * *", "incremental_cron": "0 */6 * * *", "stagger_minutes": 30}
    )
    assert wanted["backup/shop.a"].schedules == (
        CronLine("full", "0 2 * * *", "UTC", "full"),
        CronLine("incremental", "0 */6 * * *", "UTC", "incremental"),
    )
    assert [each.line.split()[0] for each in wanted["backup/shop.b"].schedules] == ["15", "15"]
    assert wanted["backup/shop.b"].parameters == {"shard": "b"}
    assert wanted["backup/shop.b"].tags == {"backstay", "fleet:shop", "shard:b", "kind:backup"}
    assert wanted["backup/shop.b"].limit == 1


def test_a_backup_waits_for_the_one_before_it_and_a_duty_of_the_fleet_does_not() -> None:
    wanted = by_name()
    assert {each.next for name, each in wanted.items() if name.startswith("backup/")} == {"waits"}
    assert {each.next for name, each in wanted.items() if not name.startswith("backup/")} == {"is cancelled"}


def test_a_shard_with_hours_of_its_own_keeps_them_and_its_time_zone() -> None:
    own = {**SHARD_A, "schedule": {"full_cron": "0 1 * * 0", "timezone": "Europe/Berlin"}}
    full, _ = by_name(shards=[own, SHARD_B])["backup/shop.a"].schedules
    assert full == CronLine("full", "0 1 * * 0", "Europe/Berlin", "full")


def test_the_duties_of_the_fleet_are_one_deployment_each() -> None:
    names = [name for name in by_name() if not name.startswith("backup/")]
    duties = ["archive-health", "reconcile", "retention", "verify", "proof"]
    assert names == [f"{duty}/shop" for duty in duties]
    assert "proof/shop" not in by_name(proof={"enabled": False})


def test_a_shards_work_runs_where_it_is_copied_from() -> None:
    fleet = described()
    assert near(fleet, fleet.shard("a")).name == "a2"
    assert near(fleet, fleet.shard("b")).name == "b1"
    primaries = described(backup={"donor": "primary"})
    assert near(primaries, primaries.shard("a")).name == "a1"
    named = described(backup={"donors": ["a1", "b1"]})
    assert near(named, named.shard("a")).name == "a1"


@pytest.mark.parametrize(
    ("pools", "place"),
    [
        ("one", Place("backstay-shop", "us")),
        ("region", Place("backstay-shop.us", "default")),
        ("server", Place("backstay-shop.a2", "default")),
    ],
)
def test_pools_are_one_or_one_for_each_region_or_server(pools: str, place: Place) -> None:
    wanted = by_name(scheduler={"pools": pools})
    assert wanted["backup/shop.a"].place == place
    assert wanted["retention/shop"].place == Place("backstay-shop", "default")
    for short in ("archive-health/shop", "reconcile/shop"):
        assert wanted[short].place == Place("backstay-shop", "short")


def test_pools_are_named_once_with_the_queues_that_are_not_there_by_themselves() -> None:
    wanted = by_name(scheduler={"pools": "one"}, backup={"donor": "primary"}).values()
    assert pools_of(wanted) == {"backstay-shop": ("eu", "short", "us")}
    assert pools_of(wanted_deployments(described(), in_pools=False)) == {}


def test_every_flow_is_where_its_entrypoint_says() -> None:
    for name, entrypoint in ENTRYPOINTS.items():
        module, _, attribute = entrypoint.rpartition(".")
        flow = getattr(import_module(module), attribute)
        assert flow.name == name
        assert flow.retries == 0
