"""A real shard brought back to a point: what was dropped is there again, and nothing else is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.errors import ReplayFailed, TargetRefused, TargetUnreachable
from fleet.gtid import GtidSet
from fleet.moments import from_microseconds
from fleet.transaction import Gtid
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from repository.catalog import Catalog
from restore.full import Leave, restore_backup
from restore.point import RecoveryTarget
from tests.archives import executed, open_epoch
from tests.scenario.archived_shards import ArchivedShard, Moment, archived_shard, create_tables, write
from tests.scenario.test_restore_backup import opened, rows

pytestmark = pytest.mark.mysql


@dataclass
class Dropped:
    """A shard of which a table was dropped by mistake while work went on; tags, compression, accounts."""

    shard: ArchivedShard
    before: Moment
    after: Moment

    @property
    def drop(self) -> Gtid:
        return self.shard.statement("DROP TABLE").gtid


@pytest.fixture(scope="module")
def dropped(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Dropped]:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        primary = shard.primary
        create_tables(primary, ("orders", "items"))
        shard.back_up()
        write(primary, "orders", 100)
        primary.query("CREATE USER joe@localhost IDENTIFIED BY 'secret'")
        primary.query("SET GLOBAL partial_revokes = ON")
        primary.query("GRANT ALL ON *.* TO joe@localhost")
        primary.query("REVOKE INSERT ON mysql.* FROM joe@localhost")
        primary.query("FLUSH BINARY LOGS")
        with closing(primary.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION gtid_next = 'AUTOMATIC:tag_a'")
            for _ in range(20):
                cursor.execute("INSERT INTO app.items (pad) VALUES ('tagged')")
            cursor.execute("SET SESSION gtid_next = 'AUTOMATIC', binlog_transaction_compression = ON")
            for _ in range(20):
                cursor.execute("INSERT INTO app.items (pad) VALUES (REPEAT('small', 50))")
        write(primary, "items", 50)
        before = Moment.of(primary)
        primary.query("DROP TABLE app.orders")
        write(primary, "items", 30)
        shard.archiver.piece_bytes = 8 * 1024
        shard.archiver.run()
        yield Dropped(shard, before, Moment.of(primary))


def test_a_dropped_table_is_back_just_before_the_drop(dropped: Dropped, tmp_path: Path) -> None:
    shard, drop = dropped.shard, dropped.drop
    assert drop.as_set() <= dropped.after.gtids
    plan = shard.plan(tmp_path / "data", RecoveryTarget.before(drop))
    assert plan.point.gtids == dropped.before.gtids
    assert not (tmp_path / "data").exists()
    assert plan.point.stop is not None and plan.point.stop.statement.startswith("DROP TABLE")
    result = shard.restore(tmp_path / "data", RecoveryTarget.before(drop), leave=Leave.RUNNING)
    assert GtidSet.parse(result.gtid_executed) == dropped.before.gtids
    assert {"gtid set", "replay", "sources forgotten", "tables"} == {check.name for check in result.checks}
    assert all(check.passed for check in result.checks)
    assert result.transactions == plan.transactions >= 191
    with opened(result) as connection:
        assert checksums(connection) == dropped.before.checksums
        ((attributes,),) = rows(connection, "SELECT user_attributes FROM mysql.user WHERE user = 'joe'")
        assert "Restrictions" in attributes
        assert rows(connection, "SHOW REPLICA STATUS") == []
        assert rows(connection, "SELECT @@super_read_only, @@innodb_flush_log_at_trx_commit") == [(1, 1)]
    assert not list((tmp_path / "data").glob("backstay-relay*"))
    assert [each.proven for each in Catalog(shard.repository).backups("s1")] == [True]
    life = shard.archive.life(result.server_uuid)
    assert life is not None
    assert (life.executed_set, life.skipped_set) == (dropped.before.gtids, GtidSet())


def test_a_time_between_two_commits_is_the_state_between_them(dropped: Dropped, tmp_path: Path) -> None:
    archived = dropped.shard.transactions()
    place = next(at for at, each in enumerate(archived) if each.gtid == dropped.drop)
    drop, last = archived[place], archived[place - 1]
    assert last.committed_at_us < drop.committed_at_us
    for at_us in (last.committed_at_us, drop.committed_at_us - 1):
        plan = dropped.shard.plan(tmp_path / "data", RecoveryTarget.at_time(from_microseconds(at_us)))
        assert plan.point.gtids == dropped.before.gtids
        assert plan.point.stop_before == drop.gtid
        assert plan.point.last == last


def test_a_set_is_reached_in_the_middle_of_tagged_ones(dropped: Dropped, tmp_path: Path) -> None:
    shard = dropped.shard
    archived = shard.transactions()
    place = next(at for at, each in enumerate(archived) if each.gtid.tag) + 10
    later = GtidSet(origin for each in archived[place:] for origin in each.gtid.as_set())
    wanted = dropped.after.gtids - later
    assert wanted.has_tags()
    result = shard.restore(tmp_path / "data", RecoveryTarget.exactly(wanted), check="none")
    assert GtidSet.parse(result.gtid_executed) == wanted
    assert result.stopped_before == str(archived[place].gtid)
    assert archived[place].gtid.tag == "tag_a"


def test_points_outside_of_the_archive_are_refused_before_anything_is_touched(
    dropped: Dropped, tmp_path: Path
) -> None:
    shard, into = dropped.shard, tmp_path / "data"
    archived = shard.transactions()
    backup = Catalog(shard.repository).manifest("s1")
    end = from_microseconds(archived[-1].committed_at_us)
    refused = {
        "after the end": RecoveryTarget.at_time(end + timedelta(seconds=5)),
        "before the first backup": RecoveryTarget.before(archived[2].gtid),
        "before the archive": RecoveryTarget.at_time(backup.timings.started_at - timedelta(days=1)),
        "is not in the archive": RecoveryTarget.before(Gtid(dropped.drop.uuid, "", 10**6)),
    }
    for told, target in refused.items():
        with pytest.raises(TargetUnreachable, match=told) as caught:
            shard.restore(into, target)
        assert caught.value.hint
    assert not into.exists()


def test_a_drop_is_skipped_and_so_is_what_then_cannot_be_applied(dropped: Dropped, tmp_path: Path) -> None:
    shard, primary, into = dropped.shard, dropped.shard.primary, tmp_path / "data"
    primary.query("CREATE TABLE app.late (id INT PRIMARY KEY, n INT)")
    primary.query("INSERT INTO app.late VALUES (1, 1), (2, 2)")
    primary.query("UPDATE app.late SET n = 7 WHERE id = 2")
    shard.archiver.run()
    _, inserted, updated = (each.gtid for each in shard.transactions()[-3:])
    some = dropped.drop.as_set() | inserted.as_set()
    with pytest.raises(ReplayFailed) as caught:
        shard.restore(into, RecoveryTarget.latest(skip=some), check="none")
    assert str(updated) in caught.value.message
    assert "app.late" in caught.value.message
    assert "HA_ERR_KEY_NOT_FOUND" in caught.value.message
    assert f"--skip-gtid {updated}" in (caught.value.hint or "")
    with pytest.raises(TargetRefused, match="beyond the point"):
        shard.restore(into, RecoveryTarget.before(dropped.drop))
    with pytest.raises(TargetRefused, match="empty transaction"):
        shard.restore(into, RecoveryTarget.latest())
    with pytest.raises(TargetRefused, match="no longer the backup"):
        restore_backup(shard.fleet, "s1", into, repository=shard.repository)
    skipped = some | updated.as_set()
    result = shard.restore(into, RecoveryTarget.latest(skip=skipped), leave=Leave.RUNNING, check="none")
    assert GtidSet.parse(result.gtid_executed) == executed(primary)
    with opened(result) as connection:
        found = checksums(connection)
        assert rows(connection, "SELECT COUNT(*) FROM app.late") == [(0,)]
    assert found["app.orders"] == dropped.before.checksums["app.orders"]
    assert found["app.items"] == dropped.after.checksums["app.items"]
    life = shard.archive.life(result.server_uuid)
    assert life is not None
    assert life.skipped_set == skipped


def test_gaps_and_branches_are_refused_and_what_would_work_is_named(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> None:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        primary, into = shard.primary, tmp_path / "data"
        create_tables(primary, ("items",))
        first = shard.back_up()
        write(primary, "items", 5)
        primary.query("FLUSH BINARY LOGS")
        intact = executed(primary)
        (lost,) = primary.query("SHOW BINARY LOG STATUS")
        write(primary, "items", 3)
        primary.query("FLUSH BINARY LOGS")
        shard.archiver.leave_out = (lost["File"],)
        second = shard.back_up()
        write(primary, "items", 4)
        shard.archiver.run()
        archived = shard.transactions()
        assert shard.plan(into, RecoveryTarget.latest()).label == second
        assert shard.plan(into, RecoveryTarget.exactly(intact)).label == first
        behind = next(each for each in archived if not each.gtid.as_set() <= intact)
        with pytest.raises(TargetUnreachable, match="inside a gap"):
            shard.plan(into, RecoveryTarget.at_time(from_microseconds(behind.committed_at_us - 1)))
        with pytest.raises(TargetUnreachable, match="a gap lies between") as caught:
            shard.plan(into, RecoveryTarget.latest(), label=first)
        assert "missing in" in caught.value.message
        stray = archived[-1].gtid
        inherited = executed(primary) - stray.as_set()
        open_epoch(shard.archive, primary, reason="promotion", inherited=inherited, branch=stray.as_set())
        with pytest.raises(TargetUnreachable, match="on a branch"):
            shard.plan(into, RecoveryTarget.before(stray))
        plan = shard.plan(into, RecoveryTarget.latest())
        assert stray.as_set() & plan.point.gtids == GtidSet()
        assert [branch.gtids for branch in plan.branches] == [stray.as_set()]
        assert any(f"left behind: {stray}; `backstay archive branches s1`" in step for step in plan.steps())
