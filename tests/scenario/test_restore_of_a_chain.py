"""A full and four incrementals of a server under load: restored, killed, laid over an older one, followed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest

from backup.full import take_full_backup
from backup.incremental import take_incremental_backup
from fleet.model import Fleet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from repository.catalog import Catalog
from restore.fleet_restore import restore_fleet
from restore.full import Leave, LeftServer, RestoreResult, plan_full_restore, restore_backup
from restore.plan import Mode
from restore.point import RecoveryTarget
from restore.standby import StandbyStatus, run_standby
from restore.target import look_at
from tests.scenario.archived_shards import ArchivedShard, Moment, archived_shard

pytestmark = pytest.mark.mysql

PROGRAM = """
import sys, time
from pathlib import Path
from fleet.model import Fleet
from restore.full import restore_backup
from tests.scenario.fleets import repository_of

class StuckInTheMiddle:
    total = done = 0
    def stage(self, name, total_bytes=None):
        self.total = self.total or total_bytes
    def advance(self, count_bytes):
        self.done += count_bytes
        if self.done > self.total / 2:
            print("in the middle", flush=True)
            time.sleep(600)

    def note(self, text):
        pass

fleet = Fleet.model_validate_json(Path(sys.argv[1]).read_text())
restore_backup(fleet, "s1", Path(sys.argv[2]), repository=repository_of(fleet), progress=StuckInTheMiddle())
"""


@dataclass(frozen=True)
class Chained:
    """A shard with a full and four incrementals on it, oldest first.

    ``at_last`` is what the primary held at the last of them, ``at_end`` what it held when it was archived.
    """

    shard: ArchivedShard
    labels: list[str]
    at_last: Moment
    at_end: Moment

    def restore(self, target: Path, **more: Any) -> RestoreResult:
        return restore_backup(self.shard.fleet, "s1", target, repository=self.shard.repository, **more)


@pytest.fixture(scope="module")
def chained(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Chained]:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        primary = shard.primary
        for name in ("items", "cold"):
            primary.query(
                f"CREATE TABLE app.{name}"
                " (id INT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(300), KEY (pad(20)))"
            )
            primary.query(f"INSERT INTO app.{name} (pad) VALUES (HEX(RANDOM_BYTES(128)))")
            for _ in range(12):
                primary.query(f"INSERT INTO app.{name} (pad) SELECT HEX(RANDOM_BYTES(128)) FROM app.{name}")
        labels = [shard.back_up()]
        with under_load(shard):
            labels += [incremental(shard) for _ in range(3)]
        primary.query("CREATE TABLE app.late SELECT * FROM app.items LIMIT 200")
        primary.query("RENAME TABLE app.cold TO app.colder")
        labels.append(incremental(shard))
        at_last = Moment.of(primary)
        primary.query("UPDATE app.items SET pad = 'after the last backup' WHERE id < 100")
        shard.archiver.run()
        yield Chained(shard, labels, at_last, Moment.of(primary))


def incremental(shard: ArchivedShard) -> str:
    result = take_incremental_backup(shard.fleet, "s1", repository=shard.repository)
    assert (result.kind, result.became_full_because) == ("incremental", None)
    return result.label


@contextmanager
def under_load(shard: ArchivedShard) -> Generator[None]:
    """Random rows are changed for as long as it lasts."""
    done = threading.Event()

    def change() -> None:
        with closing(shard.primary.connect()) as connection, connection.cursor() as cursor:
            while not done.is_set():
                cursor.execute(
                    "UPDATE app.items SET pad = HEX(RANDOM_BYTES(128)) WHERE id = 1 + FLOOR(RAND() * 4000)"
                )

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def checksums_of(left: LeftServer | None, target: Path) -> dict[str, int | None]:
    """Of the server that a restore left, which is stopped then."""
    assert left is not None
    try:
        with closing(pymysql.connect(unix_socket=str(left.socket), user="root")) as connection:
            return checksums(connection)
    finally:
        os.kill(left.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while look_at(target).locked_by is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shutil.rmtree(left.socket.parent)


def test_a_chain_is_restored_and_its_newest_link_is_proven(chained: Chained, tmp_path: Path) -> None:
    plan = plan_full_restore(chained.shard.fleet, "s1", tmp_path, repository=chained.shard.repository)
    assert [link.label for link in plan.chain.links] == chained.labels[::-1]
    result = chained.restore(tmp_path, leave=Leave.RUNNING, check="all")
    assert result.links == tuple(reversed(chained.labels))
    assert all(check.passed for check in result.checks)
    # Each page came once, from where it is newest.
    assert result.written_bytes <= result.data_bytes <= result.files_bytes
    assert result.read_bytes <= plan.stored_bytes
    assert checksums_of(result.left, tmp_path) == chained.at_last.checksums
    proven = {each.label: each.proven for each in Catalog(chained.shard.repository).backups("s1")}
    assert proven[chained.labels[-1]]


def test_a_chain_whose_restore_is_killed_in_the_middle_goes_on(chained: Chained, tmp_path: Path) -> None:
    target, config = tmp_path / "data", tmp_path / "fleet.json"
    fleet = chained.shard.fleet
    known = {
        "name": "test",
        "regions": ["here"],
        "shards": [{"name": "s1", "servers": [{"name": "a", "host": "localhost", "region": "here"}]}],
        "accounts": {"backup": {"user": "u", "password": {"env": "NONE"}}},
        "repository": {"url": fleet.repository.url},
        "keys": [key.model_dump(mode="json", exclude_unset=True) for key in fleet.keys],
        "restore": {"mysqld": str(fleet.restore.mysqld)},
    }
    config.write_text(Fleet.model_validate(known).model_dump_json(exclude_unset=True))
    command = [sys.executable, "-c", PROGRAM, str(config), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in the middle\n"
        process.kill()
    assert not (target / "ibdata1").exists()
    plan = plan_full_restore(fleet, "s1", target, repository=chained.shard.repository)
    assert (plan.mode, plan.manifest.label) == (Mode.RESUME, chained.labels[-1])
    result = chained.restore(target, leave=Leave.RUNNING)
    assert checksums_of(result.left, target) == chained.at_last.checksums


def test_a_chain_is_laid_over_a_server_of_an_older_link(chained: Chained, tmp_path: Path) -> None:
    older = chained.restore(tmp_path, label=chained.labels[1])
    result = chained.restore(tmp_path, label=chained.labels[-1], delta=True, leave=Leave.RUNNING)
    assert result.mode == "delta"
    assert result.equal_bytes > 0
    assert result.written_bytes < older.written_bytes
    assert checksums_of(result.left, tmp_path) == chained.at_last.checksums


def test_a_fleet_is_restored_to_the_end_of_its_archives_from_incrementals(
    chained: Chained, tmp_path: Path
) -> None:
    result = restore_fleet(
        chained.shard.fleet,
        RecoveryTarget.latest(),
        tmp_path,
        repository=chained.shard.repository,
        leave=Leave.RUNNING,
    )
    assert result.failed == ()
    (outcome,) = result.shards
    assert outcome.result is not None
    assert outcome.result.label == chained.labels[-1]
    assert outcome.result.transactions == 1
    assert checksums_of(outcome.result.left, tmp_path / "s1") == chained.at_end.checksums


def test_a_standby_begins_with_an_incremental(chained: Chained, tmp_path: Path) -> None:
    cancelled = threading.Event()
    deadline = time.monotonic() + 60

    def look(status: StandbyStatus) -> None:
        if status.lag_transactions == 0 or time.monotonic() > deadline:
            cancelled.set()

    shard = chained.shard
    last = run_standby(
        shard.fleet, "s1", tmp_path, repository=shard.repository, on_status=look, cancelled=cancelled
    )
    assert last.label == chained.labels[-1]
    assert last.gtid_executed == chained.at_end.gtids.one_line()
    assert look_at(tmp_path).locked_by is None


# Last: from here on it is the newest backup of the shard.
def test_a_full_that_refers_to_the_chain_is_restored_without_it(chained: Chained, tmp_path: Path) -> None:
    shard = chained.shard
    taken = take_full_backup(shard.fleet, "s1", repository=shard.repository, full="referring")
    plan = plan_full_restore(shard.fleet, "s1", tmp_path, repository=shard.repository)
    assert [link.label for link in plan.chain.links] == [taken.label]
    assert {each.label for each in plan.manifest.refers_to} <= set(chained.labels)
    assert taken.stored_bytes < taken.files_bytes / 4
    result = chained.restore(tmp_path, leave=Leave.RUNNING)
    assert checksums_of(result.left, tmp_path) == chained.at_end.checksums
