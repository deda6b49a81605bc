"""What status says of real servers: well; then without their archiver, a replica, the repository."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backup.full import take_full_backup
from drills.status.look import Looker
from drills.status.report import Cell, FleetStatus, Health, ShardStatus
from fleet.config import load
from fleet.model import Fleet
from fleet.skew import Skew
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.server import MysqlServer
from repository.archive.archive import ShardArchive
from tests.scenario.archiving import QUICK, Archiver, wait_archived, wait_until
from tests.scenario.fleets import repository_of

pytestmark = pytest.mark.mysql


def fleet_in(sandbox: SandboxFleet, folder: Path) -> Fleet:
    """The sandbox, with a repository of its own; what this machine's disks hold is no matter here."""
    fleet = load(sandbox.config_path)
    changes: dict[str, dict[str, Any]] = {
        "repository": {"url": f"file://{folder}/repository"},
        "archive": {"spool_directory": str(folder / "spool"), **QUICK},
        "service": {"directory": str(folder / "state")},
        "alerts": {"disk_percent": 100.0, "archive_lag_seconds": 0.0, "replication_lag_seconds": 3600.0},
        "backup": {"retries": 0},
    }
    made = {name: type(getattr(fleet, name)).model_validate(said) for name, said in changes.items()}
    return fleet.model_copy(update=made)


def codes(shard: ShardStatus) -> dict[str, Health]:
    return {finding.code: finding.health for finding in shard.findings}


def test_a_fleet_that_falls_ill_and_gets_well(sandbox: SandboxFleet, tmp_path: Path) -> None:
    fleet = fleet_in(sandbox, tmp_path)
    repository = repository_of(fleet)
    primary, replica = sandbox.servers[0], sandbox.servers[1]
    looker = Looker(fleet, asks_time=True)

    def seen() -> ShardStatus:
        (shard,) = looker.look().shards
        return shard

    def is_well() -> bool:
        return looker.look().health is Health.OK

    def told() -> str:
        return str(seen().findings)

    assert codes(seen())["no-backup"] is Health.CRITICAL
    taken = take_full_backup(fleet, fleet.shards[0].name, repository=repository)
    archive = ShardArchive(repository, fleet.shards[0].name)
    with Archiver(fleet, repository):
        primary.query("CREATE DATABASE IF NOT EXISTS status")
        primary.query("CREATE TABLE status.rows (n INT PRIMARY KEY)")
        wait_archived(archive, primary)
        wait_until(is_well, told)
        _is_well(looker.look(), taken.label)
        _replica_stops(replica, seen)
    primary.query("INSERT INTO status.rows VALUES (1)")
    # The source notices that its replica is gone when it next sends something.
    wait_until(lambda: codes(seen()) == {"archive-stopped": Health.CRITICAL}, told)
    with Archiver(fleet, repository):
        wait_until(is_well, told)
    _repository_goes(looker, fleet)
    primary.query("DROP DATABASE status")


def _is_well(status: FleetStatus, label: str) -> None:
    (shard,) = status.shards
    assert shard.last_full is not None
    assert shard.last_full.label == label
    assert [server.role for server in shard.servers] == ["primary", "replica", "replica"]
    clocks = [status.store_clock, *(server.clock for server in shard.servers)]
    assert all(clock is not None and clock.agrees_with(Skew(0.0, 0.0)) for clock in clocks)
    assert shard.recovery.cells[-1] is Cell.ARCHIVED
    assert (len(shard.windows), shard.gaps, shard.archive_lag_seconds) == (1, (), 0.0)
    assert shard.lag_history
    assert shard.next_run is not None
    assert status.what_to_do == "Nothing: every shard can be recovered."


def _replica_stops(replica: MysqlServer, seen: Callable[[], ShardStatus]) -> None:
    replica.query("STOP REPLICA")
    try:
        assert codes(seen()) == {"replication-lag": Health.CRITICAL}
        (told,) = [server for server in seen().servers if server.name == replica.name]
        assert told.problem == "does not receive: its replication is stopped"
    finally:
        replica.query("START REPLICA")
    wait_until(lambda: not seen().findings, lambda: str(seen().findings))


def _repository_goes(looker: Looker, fleet: Fleet) -> None:
    before = looker.look()
    away = fleet.repository.path.with_name("away")
    shutil.move(fleet.repository.path, away)
    status = looker.look()
    assert (status.health, status.seen_at) == (Health.CRITICAL, before.seen_at)
    assert [finding.code for finding in status.findings] == ["repository-unreachable"]
    assert {shard.health for shard in status.shards} == {Health.UNKNOWN}
    shutil.move(away, fleet.repository.path)
    assert looker.look().health is Health.OK
