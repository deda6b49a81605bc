"""Two servers of a shard take writes: the archive stays on its line, and everybody is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.archive.status import archive_status, check_archive
from fleet import config
from fleet.finding import Level
from fleet.gtid import GtidSet
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.replication import wait_caught_up
from repository.archive.archive import ShardArchive
from tests.scenario.archiving import (
    QUICK,
    Archiver,
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
def three(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[SandboxFleet]:
    """A primary and two replicas of their own."""
    fleet = SandboxFleet.up(
        scratch_directory / "three", replicas=2, store="file", distribution=mysql_distribution
    )
    yield fleet
    fleet.down()


def test_an_old_primary_that_comes_back_never_takes_the_line_from_one_that_holds_it(
    three: SandboxFleet, tmp_path: Path
) -> None:
    fleet = config.load(three.config_path)
    archive_config = fleet.archive.model_copy(update={"spool_directory": tmp_path / "spool", **QUICK})
    fleet = fleet.model_copy(update={"archive": archive_config})
    repository = repository_of(fleet)
    (shard,) = three.shards
    archive = ShardArchive(repository, shard.name)
    a, (b, c) = shard.primary, shard.replicas
    prepare_table(a)
    wait_caught_up(b, a)
    wait_caught_up(c, a)
    with Archiver(fleet, repository) as archiver:
        wait_archived(archive, a)
        # The first failover leaves a transaction of s1-a behind, and s1-c has all of the second epoch.
        for replica in (b, c):
            replica.query("STOP REPLICA")
        before = executed(a)
        write(a, "left behind")
        left = executed(a) - before
        wait_archived(archive, a)
        a.kill()
        promote(b)
        write(b, "second epoch")
        wait_until(lambda: len(archive.epochs()) == 2, "the failover opens an epoch")
        wait_archived(archive, b)
        assert archiver.wait_for("branch").is_alarm
        assert GtidSet.parse(archive.epochs()[1].branch) == left
    c.query("CHANGE REPLICATION SOURCE TO SOURCE_PORT = %s", (b.port,))
    c.query("START REPLICA")
    wait_caught_up(c, b)
    b.kill()
    promote(c)
    write(c, "third epoch")
    a.start()
    a.query("SET GLOBAL super_read_only = OFF")
    a.query("SET GLOBAL read_only = OFF")
    with Archiver(fleet, repository) as archiver:
        told = archiver.wait_for("writers")
        assert told.is_alarm
        assert told.text.startswith("s1-a and s1-c both take writes")
        wait_archived(archive, c)
    third = archive.epochs()[2]
    assert (third.server_name, third.branch) == ("s1-c", "")
    assert len(archive.epochs()) == 3

    (status,) = archive_status(fleet, repository).shards
    for findings in (status.findings, check_archive(fleet, fleet.shard("s1"))):
        split = [one for one in findings if "s1-a and s1-c both take writes" in one.message]
        assert [one.level for one in split] == [Level.FAIL]
