"""A real shard that was pruned: what retention ended is gone, and a point of the window is proven."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.full import take_full_backup
from backup.incremental import take_incremental_backup
from backup.prune import prepare_prune, prune
from backup.prune_plan import PruneResult
from fleet.errors import TargetUnreachable
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.policy import Retention
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.marks import Marks
from repository.repository import Repository
from repository.retention import apply_policy
from repository.store_clock import ask_store_time
from restore.full import Leave
from restore.point import RecoveryTarget
from restore.point_restore import plan_point_restore, restore_to_point
from restore.promised import plan_promised
from tests.scenario.archived_shards import QUICK as RELAXED
from tests.scenario.archived_shards import create_tables, write
from tests.scenario.archiving import QUICK as QUICKLY
from tests.scenario.archiving import Archiver, archived, executed, wait_until
from tests.scenario.fleets import fleet_of, repository_of
from tests.scenario.test_a_frozen_store_never_freezes_the_donor import s3_fleet
from tests.scenario.test_restore_backup import opened

pytestmark = pytest.mark.mysql


@dataclass
class Lived:
    """A shard with two chains and its archive; the window begins at ``from_here``, in the second of them."""

    fleet: Fleet
    repository: Repository
    old: tuple[str, ...]
    new: tuple[str, ...]
    from_here: datetime
    gtids: GtidSet
    content: dict[str, int | None]

    def policy(self) -> Retention:
        """The window's beginning stays where it is, however long this test takes."""
        now = ask_store_time(self.repository.store).now
        days = (now - self.from_here) / timedelta(days=1)
        return Retention(days=days, grace_hours=0.0, minimum_fulls=1)

    def prune(self) -> PruneResult:
        prepared = prepare_prune(
            self.repository, self.policy(), pause=timedelta(0), archived=["s1"], plan_points=plan_promised
        )
        return prune(self.repository, prepared)


def live(fleet: Fleet, primary: ScratchServer) -> Lived:
    """Two fulls, each with an incremental, binlogs between all of them, and work after the last."""
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")
    create_tables(primary, ("orders",))
    taken: list[str] = []
    with Archiver(fleet, repository):
        for take in (take_full_backup, take_incremental_backup) * 2:
            taken.append(take(fleet, "s1", repository=repository).label)
            write(primary, "orders", 30)
            primary.query("FLUSH BINARY LOGS")
            write(primary, "orders", 10)
            ended = datetime.now(UTC)
            wait_until(lambda at=ended: at < datetime.now(UTC).replace(microsecond=0), "labels differ")
        write(primary, "orders", 5)
        from_here = datetime.now(UTC)
        with closing(primary.connect()) as connection:
            content, gtids = checksums(connection), executed(primary)
        # S3 tells whole seconds, cut off: the window must have begun by its clock, too.
        wait_until(lambda: datetime.now(UTC) > from_here + timedelta(seconds=2), "time passes")
        write(primary, "orders", 20)
        primary.query("FLUSH BINARY LOGS")
        write(primary, "orders", 1)
        done = executed(primary)
        wait_until(lambda: done <= archived(archive), "all is archived")
    return Lived(fleet, repository, tuple(taken[:2]), tuple(taken[2:]), from_here, gtids, content)


@pytest.fixture(params=["file", "s3"])
def lived(
    request: pytest.FixtureRequest,
    scratch_server: ScratchServer,
    mysql_distribution: MysqlDistribution,
    tmp_path: Path,
) -> Lived:
    place = (
        s3_fleet(scratch_server, request.getfixturevalue("seaweed"), tmp_path)
        if request.param == "s3"
        else None
    )
    fleet = fleet_of(
        scratch_server,
        folder=tmp_path,
        repository=place.repository.model_dump(mode="json", exclude_unset=True) if place else None,
        accounts={"backup": scratch_server.backup_account, "archive": scratch_server.archive_account},
        archive={"spool_directory": str(tmp_path / "spool"), **QUICKLY},
        restore={"mysqld": str(mysql_distribution.mysqld)},
    )
    scratch_server.query("CREATE DATABASE app")
    return live(fleet, scratch_server)


@pytest.mark.parametrize("scratch_server", [RELAXED], indirect=True, ids=[""])
def test_what_retention_ended_is_gone_and_a_point_of_the_window_is_proven(
    lived: Lived, tmp_path: Path
) -> None:
    repository = lived.repository
    now = ask_store_time(repository.store).now
    decision = apply_policy(Catalog(repository).backups("s1"), lived.policy(), now)
    assert {name.label for name in decision.expire} == set(lived.old)
    before = Line.of(ShardArchive(repository, "s1"))
    assert lived.prune().objects == 0
    for name, reason in decision.expire.items():
        Marks(repository).put(name, reason)
    assert set(lived.prune().begun) == {f"s1/{label}" for label in lived.old}
    result = lived.prune()
    assert result.backups == tuple(f"s1/{label}" for label in reversed(lived.old))
    for label in lived.old:
        for prefix in (layout.packs_and_parts, layout.wrapped_keys, layout.proofs):
            assert not list(repository.store.list(prefix(BackupName("s1", label))))
    line = Line.of(ShardArchive(repository, "s1"))
    assert line.files[0].name != before.files[0].name
    assert not line.gaps

    target = RecoveryTarget.at_time(lived.from_here)
    proven = restore_to_point(
        lived.fleet,
        "s1",
        tmp_path / "restored",
        target,
        repository=repository,
        leave=Leave.RUNNING,
        check="sample",
    )
    assert all(check.passed for check in proven.checks), proven.checks
    assert proven.gtid_executed == str(lived.gtids)
    with opened(proven) as connection:
        assert checksums(connection) == lived.content
    too_early = RecoveryTarget.at_time(lived.from_here - timedelta(days=1))
    with pytest.raises(TargetUnreachable):
        plan_point_restore(lived.fleet, "s1", tmp_path / "never", too_early, repository=repository)
    assert lived.prune().objects == 0
