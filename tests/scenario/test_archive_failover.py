"""The archive follows the primary, wherever that goes, and keeps what a lost primary leaves behind apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.archive.status import archive_status
from fleet import config
from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from fleet.model import Fleet
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.replication import replicate_from, wait_caught_up
from infra.sandbox.server import MysqlServer
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Life
from repository.archive.line import Line
from tests.scenario.archiving import (
    QUICK,
    Archiver,
    archived,
    assert_byte_equal,
    executed,
    prepare_table,
    promote,
    wait_archived,
    wait_until,
    write,
)
from tests.scenario.fleets import repository_of

pytestmark = [pytest.mark.mysql, pytest.mark.slow]


@pytest.fixture
def pair(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[SandboxFleet]:
    """A primary and a replica of their own, to be killed."""
    fleet = SandboxFleet.up(
        scratch_directory / "pair", replicas=1, store="file", distribution=mysql_distribution
    )
    yield fleet
    fleet.down()


def demote(server: MysqlServer) -> None:
    server.query("SET GLOBAL super_read_only = ON")


def fleet_of_pair(pair: SandboxFleet, folder: Path) -> Fleet:
    fleet = config.load(pair.config_path)
    archive = fleet.archive.model_copy(update={"spool_directory": folder / "spool", **QUICK})
    return fleet.model_copy(update={"archive": archive})


def test_a_switchover_then_a_failover_with_lost_transactions_then_a_restored_server(
    pair: SandboxFleet, tmp_path: Path
) -> None:
    fleet = fleet_of_pair(pair, tmp_path)
    repository = repository_of(fleet)
    (shard,) = pair.shards
    archive = ShardArchive(repository, shard.name)
    a, b = shard.primary, shard.replicas[0]
    uuid_a, uuid_b = (server.query("SELECT @@server_uuid AS u")[0]["u"] for server in (a, b))
    prepare_table(a)
    with Archiver(fleet, repository) as archiver:
        wait_archived(archive, a)

        # 1. A planned switchover: the old primary lives on, as a replica, and would go on sending.
        demote(a)
        wait_caught_up(b, a)
        promote(b)
        replicate_from(a, b, pair.accounts.replication)
        write(b, "after the switchover")
        wait_until(lambda: len(archive.epochs()) == 2, "the switchover opens an epoch")
        wait_archived(archive, b)
        second = archive.epochs()[1]
        assert (second.reason, second.server_uuid, second.branch) == ("promotion", uuid_b, "")
        assert Line.of(archive).gtids | Line.of(archive).first_gtids == executed(b)

        # 2. A failover: the primary dies with transactions that its replica never had.
        wait_caught_up(a, b)
        a.query("STOP REPLICA IO_THREAD")
        before = executed(b)
        for number in range(3):
            write(b, f"lost {number}")
        lost = executed(b) - before
        wait_archived(archive, b)
        b.kill()
        archiver.wait_for("waiting")
        assert len(archive.epochs()) == 2, "a replica that is not promoted is no reason for an epoch"
        promote(a)
        write(a, "after the failover")
        wait_until(lambda: len(archive.epochs()) == 3, "the failover opens an epoch")
        wait_archived(archive, a)
        third = archive.epochs()[2]
        assert (third.reason, third.server_uuid) == ("promotion", uuid_a)
        assert GtidSet.parse(third.branch) == lost
        line = Line.of(archive)
        assert line.gtids | line.first_gtids == executed(a)
        assert not line.gtids & lost
        assert [branch.gtids for branch in line.branches] == [lost]
        assert not line.gaps
        (status,) = archive_status(fleet, repository).shards
        assert [branch.gtids for branch in status.branches] == [lost.one_line()]
        assert status.epoch is not None
        assert (status.epoch.number, status.epoch.reason) == (3, "promotion")

        # 3. The dead one comes back as it was, writable and alone: nobody follows it.
        b.start()
        b.query("SET GLOBAL super_read_only = OFF")
        b.query("SET GLOBAL read_only = OFF")
        write(a, "still the primary")
        wait_archived(archive, a)
    assert len(archive.epochs()) == 3
    assert_byte_equal(archive, a, epoch=3)

    # 4. A server that a restore made becomes the primary: a new life, and what it left out is known.
    skipped = GtidSet.parse(f"{uuid_a}:1")
    a.kill()
    archive.record_life(
        Life(
            server_uuid=uuid_b,
            restored_at=SystemClock().now(),
            epoch=3,
            gtid_executed=executed(b).one_line(),
            skipped=skipped.one_line(),
        )
    )
    write(b, "a new life")
    with Archiver(fleet, repository):
        wait_until(lambda: len(archive.epochs()) == 4, "the restored server opens an epoch")
        own = GtidSet(origin for origin in executed(b) if origin.uuid == uuid_b)
        wait_until(lambda: not own - archived(archive), "its transactions are archived")
    fourth = archive.epochs()[3]
    assert (fourth.reason, fourth.server_uuid, fourth.skipped_set) == ("restore", uuid_b, skipped)


def test_a_replica_can_be_followed_and_another_one_takes_its_place_without_an_epoch(
    pair: SandboxFleet, tmp_path: Path
) -> None:
    plain = fleet_of_pair(pair, tmp_path)
    fleet = plain.model_copy(update={"archive": plain.archive.model_copy(update={"source": "replica"})})
    repository = repository_of(fleet)
    (shard,) = pair.shards
    archive = ShardArchive(repository, shard.name)
    a, b = shard.primary, shard.replicas[0]
    prepare_table(a)
    with Archiver(fleet, repository) as archiver:
        assert "s1-b: a replica" in archiver.wait_for("following").text
        wait_archived(archive, a)
        b.kill()
        write(a, "while the replica is gone")
        wait_archived(archive, a)
    assert len(archive.epochs()) == 1
    assert archive.epochs()[0].server_uuid == a.query("SELECT @@server_uuid AS u")[0]["u"]
    line = Line.of(archive)
    assert line.gtids | line.first_gtids == executed(a)
    assert (line.gaps, line.branches) == ((), ())
