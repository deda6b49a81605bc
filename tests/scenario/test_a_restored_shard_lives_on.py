"""A restored server becomes the shard: its archive goes on in a new epoch; restores go through both lives."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pymysql
import pytest

from fleet.gtid import GtidSet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.server import MysqlServer
from repository.archive.line import Line
from restore.full import Leave
from restore.point import RecoveryTarget
from restore.standby import StandbyStatus, promote, run_standby
from tests.archives import FileArchiver, executed, open_epoch
from tests.scenario.archived_shards import archived_shard, create_tables, write
from tests.scenario.test_restore_backup import opened
from tests.scenario.test_standby import wait_until

pytestmark = pytest.mark.mysql


@dataclass
class Promoted:
    """A promoted server, as far as an archiver of its files looks at it."""

    name: str
    datadir: Path
    socket: Path

    def query(self, sql: str) -> list[dict[str, Any]]:
        connection = self.connect(cursorclass=pymysql.cursors.DictCursor)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def connect(self, **more: Any) -> Any:
        return pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True, **more)


def test_what_one_restore_left_out_stays_out_of_the_next(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> None:
    cancelled, told = threading.Event(), list[StandbyStatus]()
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        create_tables(shard.primary, ("items", "orders"))
        first = shard.back_up()
        write(shard.primary, "items", 10)
        shard.primary.query("DROP TABLE app.orders")
        write(shard.primary, "items", 10)
        shard.archiver.run()
        drop = shard.statement("DROP TABLE").gtid
        lived = executed(shard.primary)
        # Lost with the primary: the line that goes on never had it.
        write(shard.primary, "items", 1)
        stray = executed(shard.primary) - lived

        def follow() -> None:
            run_standby(
                shard.fleet,
                "s1",
                tmp_path / "standby",
                repository=shard.repository,
                skip=drop.as_set(),
                on_status=told.append,
                cancelled=cancelled,
            )

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            wait_until(lambda: told and told[-1].lag_transactions == 0)
            result = promote(shard.fleet, "s1", tmp_path / "standby", repository=shard.repository)
        finally:
            cancelled.set()
            thread.join()
        assert GtidSet.parse(result.gtid_executed) == lived
        shard.archiver.run()
        with opened(result) as connection:
            assert result.left is not None
            new = cast(MysqlServer, Promoted("new", result.target, result.left.socket))
            life = shard.archive.life(result.server_uuid)
            assert life is not None
            assert life.skipped_set == drop.as_set()
            epoch = open_epoch(
                shard.archive,
                new,
                reason="restore",
                inherited=life.executed_set,
                branch=stray,
                skipped=life.skipped_set,
            )
            assert epoch.epoch == 2
            write(new, "orders", 10)
            write(new, "items", 10)
            FileArchiver(shard.archive, new).run()
            wanted, sums = executed(new), checksums(connection)
    assert Line.of(shard.archive).skipped == drop.as_set()
    plan = shard.plan(tmp_path / "again", RecoveryTarget.latest())
    assert plan.label == first
    assert plan.epoch == 2
    assert plan.point.gtids == wanted
    again = shard.restore(tmp_path / "again", RecoveryTarget.latest(), leave=Leave.RUNNING, check="none")
    assert GtidSet.parse(again.gtid_executed) == wanted
    assert not wanted & stray
    with opened(again) as connection:
        assert checksums(connection) == sums
