"""Shards of one real server each, with a backup and an archive, for tests of restores to a point."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup.full import take_full_backup
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.transaction import Transaction
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from infra.sandbox.server import MysqlServer
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.repository import Repository
from restore.point import RecoveryTarget
from restore.point_plan import PointPlan
from restore.point_restore import PointResult, plan_point_restore, restore_to_point
from tests.archives import FileArchiver, executed
from tests.scenario.fleets import fleet_of, repository_of

# The source's own flushing is no part of what is tested.
QUICK = {"sync-binlog": "0", "innodb-flush-log-at-trx-commit": "0"}


@dataclass(frozen=True)
class Moment:
    """What the primary held at a moment at which it stood still."""

    gtids: GtidSet
    checksums: dict[str, int | None]

    @classmethod
    def of(cls, server: MysqlServer) -> Moment:
        with closing(server.connect()) as connection:
            return cls(executed(server), checksums(connection))


@dataclass
class ArchivedShard:
    """A lone primary, its repository and its archive."""

    primary: ScratchServer
    fleet: Fleet
    repository: Repository
    archive: ShardArchive
    archiver: FileArchiver

    def back_up(self) -> str:
        """Returns the backup's label."""
        return take_full_backup(self.fleet, "s1", repository=self.repository).label

    def plan(self, into: Path, target: RecoveryTarget, **more: Any) -> PointPlan:
        return plan_point_restore(self.fleet, "s1", into, target, repository=self.repository, **more)

    def restore(self, into: Path, target: RecoveryTarget, **more: Any) -> PointResult:
        return restore_to_point(self.fleet, "s1", into, target, repository=self.repository, **more)

    def transactions(self) -> list[Transaction]:
        """What is archived, in order."""
        return [entry.transaction for entry in Line.of(self.archive).transactions()]

    def statement(self, beginning: str) -> Transaction:
        """The archived DDL that begins so."""
        (found,) = [each for each in self.transactions() if each.statement.startswith(beginning)]
        return found


@contextmanager
def archived_shard(distribution: MysqlDistribution, directory: Path) -> Generator[ArchivedShard]:
    """A fresh one, with the schema ``app``; nothing is backed up or archived yet."""
    folder = Path(tempfile.mkdtemp(prefix="p", dir=directory))
    primary = start_scratch_server(folder, distribution, owner=directory, options=QUICK)
    try:
        fleet = fleet_of(primary, folder=folder, restore={"mysqld": str(distribution.mysqld)})
        repository = repository_of(fleet)
        archive = ShardArchive(repository, "s1")
        primary.query("CREATE DATABASE app")
        yield ArchivedShard(primary, fleet, repository, archive, FileArchiver(archive, primary))
    finally:
        primary.remove()


def create_tables(primary: MysqlServer, names: Sequence[str], rows: int = 20) -> None:
    for name in names:
        primary.query(f"CREATE TABLE app.{name} (id INT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(300))")
        write(primary, name, rows)


def write(primary: MysqlServer, table: str, rows: int) -> None:
    """One transaction a row."""
    with closing(primary.connect()) as connection, connection.cursor() as cursor:
        for _ in range(rows):
            cursor.execute(f"INSERT INTO app.{table} (pad) VALUES (HEX(RANDOM_BYTES(100)))")


def write_side_by_side(primary: MysqlServer, tables: Sequence[str], rows: int) -> None:
    """Into each table from a thread of its own: transactions that may be applied side by side."""
    threads = [threading.Thread(target=write, args=(primary, table, rows)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
