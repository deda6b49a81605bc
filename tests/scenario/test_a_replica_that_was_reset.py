"""A replica whose GTID set was reset goes on replicating: nothing is copied from it, nor restored from it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backup.full import plan_full_backup, take_full_backup
from backup.incremental import take_incremental_backup
from backup.preflight import check_shard
from fleet.clock import SystemClock
from fleet.errors import ServerRefused, TargetUnreachable
from fleet.finding import Level
from fleet.model import Fleet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.replication import replicate_from, wait_caught_up
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.archive.archive import ShardArchive
from repository.repository import Repository
from restore.full import Leave
from restore.point import RecoveryTarget
from tests.archives import FileArchiver
from tests.scenario.archived_shards import QUICK, ArchivedShard, Moment, create_tables, write
from tests.scenario.fleets import fleet_of, repository_of
from tests.scenario.test_restore_backup import opened

pytestmark = pytest.mark.mysql


@dataclass
class Pair:
    """A primary and its replica; ``copied`` was taken of the replica, ``forced`` after it had been reset."""

    primary: ScratchServer
    replica: ScratchServer
    folder: Path
    mysqld: Path

    def fleet(self, *servers: ScratchServer, donor: str = "replica") -> Fleet:
        described = [
            each.describe(region="here", role="primary" if each is self.primary else "replica")
            for each in servers or (self.primary, self.replica)
        ]
        return fleet_of(
            self.primary,
            folder=self.folder,
            shards=[
                {
                    "name": "s1",
                    "servers": [each.model_dump(mode="json", exclude_unset=True) for each in described],
                }
            ],
            backup={"donor": donor, "retries": 0},
            restore={"mysqld": str(self.mysqld)},
        )

    @property
    def repository(self) -> Repository:
        return repository_of(self.fleet())

    def caught_up(self) -> None:
        wait_caught_up(self.replica, self.primary)


@pytest.fixture
def pair(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="r", dir=scratch_directory))
    started: list[ScratchServer] = []
    try:
        for number, name in enumerate(("p", "r"), start=1):
            (folder / name).mkdir()
            started.append(
                start_scratch_server(
                    folder / name,
                    mysql_distribution,
                    name=name,
                    server_id=number,
                    options=QUICK,
                    owner=scratch_directory,
                )
            )
        primary, replica = started
        backup = primary.accounts.backup
        replica.query(f"ALTER USER '{backup.user}'@'%%' IDENTIFIED BY %s", (backup.password,))
        for server in started:
            server.query("RESET BINARY LOGS AND GTIDS")
        replicate_from(replica, primary, primary.accounts.replication)
        yield Pair(primary, replica, folder, mysql_distribution.mysqld)
    finally:
        for server in started:
            server.remove()


def test_no_transaction_is_replayed_on_data_that_holds_it_already(pair: Pair, tmp_path: Path) -> None:
    primary, repository = pair.primary, pair.repository
    primary.query("CREATE DATABASE app")
    create_tables(primary, ("items",))
    pair.caught_up()
    before = take_full_backup(pair.fleet(), "s1", repository=repository)
    assert before.donor == pair.replica.name
    write(primary, "items", 10)
    # Twice the same rows, were it replayed twice.
    primary.query("ALTER TABLE app.items MODIFY id INT, DROP PRIMARY KEY")
    primary.query("INSERT INTO app.items SELECT * FROM app.items")
    early = Moment.of(primary)
    pair.caught_up()
    pair.replica.query("RESET BINARY LOGS AND GTIDS")

    for take in (take_full_backup, take_incremental_backup):
        with pytest.raises(ServerRefused, match=f"which its data holds: {before.label}") as refused:
            take(pair.fleet(), "s1", repository=repository)
        assert "gtid_purged" in (refused.value.hint or "")
    with pytest.raises(ServerRefused, match="which its data holds"):
        take_full_backup(pair.fleet(), "s1", repository=repository, donor=pair.replica.name)
    told = check_shard(pair.fleet(), "s1", clock=SystemClock(), repository=repository)
    assert any(each.level is Level.FAIL and before.label in each.message for each in told)
    plan = plan_full_backup(pair.fleet(donor="prefer-replica"), "s1", repository=repository)
    assert plan.donor == primary.name
    assert any(before.label in reason for reason in plan.passed_over)

    # Who knows of the replica alone cannot tell what the primary still has.
    forced = take_full_backup(pair.fleet(pair.replica), "s1", repository=repository)
    write(primary, "items", 5)
    late = Moment.of(primary)
    archive = ShardArchive(repository, "s1")
    shard = ArchivedShard(primary, pair.fleet(), repository, archive, FileArchiver(archive, primary))
    shard.archiver.run()
    new = (late.gtids - early.gtids).one_line()
    assert pair.replica.query("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, 60) AS late", (new,)) == [{"late": 0}]
    told = check_shard(pair.fleet(), "s1", clock=SystemClock())
    assert any(each.level is Level.FAIL and "has holes" in each.message for each in told)

    for moment, passed in ((early, ()), (late, (forced.label,))):
        target = RecoveryTarget.exactly(moment.gtids)
        into = tmp_path / str(len(passed))
        result = shard.restore(into, target, leave=Leave.RUNNING)
        assert result.label == before.label
        with opened(result) as connection:
            assert checksums(connection) == moment.checksums
        assert {each.label for each in result.passed_over} >= set(passed)
        with pytest.raises(TargetUnreachable, match="which its data holds"):
            shard.plan(tmp_path / "named", target, label=forced.label)
