"""Two shards brought back to one moment, in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.full import take_full_backup
from fleet.errors import TargetUnreachable, UsageError
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.moments import from_microseconds
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import start_scratch_server
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from restore.fleet_restore import plan_fleet_restore, restore_fleet
from restore.point import RecoveryTarget
from tests.archives import archive_files, executed
from tests.scenario.archived_shards import QUICK, create_tables, write
from tests.scenario.fleets import fleet_of, repository_of

pytestmark = pytest.mark.mysql


def test_two_shards_come_back_to_one_moment(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> None:
    servers = [
        start_scratch_server(
            tmp_path / name, mysql_distribution, name=name, owner=scratch_directory, options=QUICK
        )
        for name in ("one", "two")
    ]
    try:
        one, two = servers
        document = fleet_of(one, folder=tmp_path, restore={"mysqld": str(mysql_distribution.mysqld)})
        shards = [
            {"name": f"s{number}", "servers": [server.server.model_dump(mode="json", exclude_unset=True)]}
            for number, server in enumerate(servers, 1)
        ]
        shared = document.model_dump(mode="json", exclude_unset=True) | {"shards": shards}
        fleet = Fleet.model_validate(shared)
        repository = repository_of(fleet)
        for name, server in zip(("s1", "s2"), servers, strict=True):
            server.query("CREATE DATABASE app")
            create_tables(server, ("items",), 5)
            account = server.backup_account
            own = fleet.model_copy(update={"accounts": fleet.accounts.model_copy(update={"backup": account})})
            take_full_backup(own, name, repository=repository)
        write(two, "items", 10)
        write(one, "items", 10)
        wanted = [executed(server) for server in servers]
        write(one, "items", 5)
        for name, server in zip(("s1", "s2"), servers, strict=True):
            archive_files(ShardArchive(repository, name), server)
    finally:
        for server in servers:
            server.remove()
    line = Line.of(ShardArchive(repository, "s1"))
    beyond = next(
        entry.transaction
        for entry in line.transactions()
        if entry.transaction.gtid.as_set() <= line.gtids - wanted[0]
    )
    end = line.last()
    assert end is not None
    target = RecoveryTarget.at_time(from_microseconds(beyond.committed_at_us - 1))
    plan = plan_fleet_restore(fleet, target, tmp_path / "all", repository=repository)
    assert plan.skew_seconds is not None
    assert 0 < plan.skew_seconds < 60
    with pytest.raises(UsageError):
        plan_fleet_restore(fleet, RecoveryTarget.before(beyond.gtid), tmp_path / "all", repository=repository)
    with pytest.raises(TargetUnreachable, match="all shards"):
        late = RecoveryTarget.at_time(from_microseconds(end.transaction.committed_at_us + 10**6))
        plan_fleet_restore(fleet, late, tmp_path / "all", repository=repository)
    assert not (tmp_path / "all").exists()
    result = restore_fleet(fleet, target, tmp_path / "all", repository=repository, check="none")
    assert not result.failed
    assert [outcome.shard for outcome in result.shards] == ["s1", "s2"]
    reached = [outcome.result and GtidSet.parse(outcome.result.gtid_executed) for outcome in result.shards]
    assert reached == wanted
