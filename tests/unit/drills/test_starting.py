"""An archiver that was started a moment ago: nothing is critical yet, and nothing green."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drills.status.report import FleetStatus, Health, Judged
from drills.status.served import with_service
from drills.status.service_state import PartSeen, ServiceSeen, judge_service, write_service
from tests.unit.drills.seen_fleets import NOW, fleet_of, shard_that_is_well
from tests.unit.drills.test_judge import FLEET

SECOND = timedelta(seconds=1)


def seen(seconds: float, **facts: Any) -> ServiceSeen:
    """A service whose archiver has been in its state for so long."""
    known = {"name": "archiver", "state": "running", "since": NOW - seconds * SECOND, **facts}
    return ServiceSeen(pid=os.getpid(), started_at=NOW, parts=(PartSeen.model_validate(known),))


def not_followed(lag_seconds: float = 500.0, health: Health = Health.CRITICAL) -> FleetStatus:
    stopped = Judged(
        health, "archive-stopped", "shard s1", "no archiver follows a", "Start it: backstay archive run s1"
    )
    lags = Judged(Health.WARNING, "rto-over-target", "shard s1", "too slow", "See: backstay plan s1")
    shard = replace(
        shard_that_is_well("s1"),
        archive_lag_seconds=lag_seconds,
        findings=(stopped, lags),
        health=Health.CRITICAL,
    )
    return fleet_of(shard)


def looked(status: FleetStatus, service: ServiceSeen, directory: Path) -> FleetStatus:
    write_service(directory, service)
    return with_service(status, FLEET, directory, NOW)


@pytest.mark.parametrize("state", ["waiting", "starting", "running"])
def test_an_archiver_that_was_just_started_is_neither_critical_nor_well(tmp_path: Path, state: str) -> None:
    (shard,) = looked(not_followed(), seen(12, state=state), tmp_path).shards
    assert [(each.code, each.health) for each in shard.findings] == [
        ("rto-over-target", Health.WARNING),
        ("archive-stopped", Health.UNKNOWN),
    ]
    assert shard.findings[1].message == "its archiver was started 12 s ago: no archiver follows a"
    assert shard.health is Health.WARNING


def test_nothing_else_wrong_is_not_green_either(tmp_path: Path) -> None:
    status = not_followed(0.0, Health.WARNING)
    status = replace(status, shards=(replace(status.shards[0], findings=status.shards[0].findings[:1]),))
    told = looked(status, seen(12), tmp_path)
    assert told.health is told.shards[0].health is Health.UNKNOWN
    assert told.what_to_do == "Look again in a minute: backstay status s1"


@pytest.mark.parametrize(
    "service", [seen(61), seen(12, failures=3), seen(12, state="failing", failures=1), seen(-5)]
)
def test_one_that_has_had_its_time_or_does_not_stay_is_as_bad_as_it_was(
    tmp_path: Path, service: ServiceSeen
) -> None:
    status = not_followed()
    assert looked(status, service, tmp_path).shards == status.shards


def test_a_broken_promise_stays_critical_while_the_archiver_starts(tmp_path: Path) -> None:
    (shard,) = looked(not_followed(900.0), seen(12), tmp_path).shards
    assert shard.health is Health.CRITICAL
    assert shard.findings[0].message.startswith("its archiver was started 12 s ago: ")


def test_a_part_that_failed_often_and_runs_again_is_no_longer_critical(tmp_path: Path) -> None:
    (told,) = judge_service(seen(21, failures=4, ended="was killed"), tmp_path, NOW)
    assert told.health is Health.WARNING
    assert told.message == "it runs again for 21 s, and ended 4 times before: was killed"
    (early,) = judge_service(seen(19, failures=4, ended="was killed"), tmp_path, NOW)
    assert (early.health, early.message) == (Health.CRITICAL, "it does not run: was killed")
