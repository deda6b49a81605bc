"""Real backups restored: equal to the donor, proven, over what is there, after kills, joining replication."""

from __future__ import annotations

import os
import random
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
from fleet.clock import SystemClock
from fleet.errors import (
    Cancelled,
    NotFound,
    ProofFailed,
    StoreDenied,
    TargetRefused,
    VersionMismatch,
)
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.progress import Silent
from infra.sandbox.dataset import checksums, create_dataset
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.catalog import Catalog
from repository.manifest import GtidBracket, Manifest
from repository.repository import Repository
from restore.full import Leave, RestoreResult, plan_full_restore, restore_backup
from restore.journal import JOURNAL_NAME
from restore.mysqld import PrivateServer
from restore.plan import Mode
from restore.point_restore import PointResult
from restore.program import DataShape
from restore.proof import prove, require_proven
from restore.target import look_at
from tests.scenario.fleets import fleet_of, repository_of
from wire.restored import remembered_sources

pytestmark = pytest.mark.mysql


@dataclass(frozen=True)
class Taken:
    """A donor that stands still, and its backup."""

    donor: ScratchServer
    fleet: Fleet
    repository: Repository
    manifest: Manifest
    checksums: dict[str, int | None]

    def restore(self, target: Path, **more: Any) -> RestoreResult:
        return restore_backup(self.fleet, "s1", target, repository=self.repository, **more)


@pytest.fixture(scope="module")
def taken(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Taken]:
    folder = scratch_directory / "restore"
    folder.mkdir()
    donor = start_scratch_server(folder, mysql_distribution, owner=scratch_directory)
    try:
        with closing(donor.connect()) as connection:
            create_dataset(connection, 20, binlog=False)
            fleet = fleet_of(donor, folder=folder, restore={"mysqld": str(mysql_distribution.mysqld)})
            repository = repository_of(fleet)
            take_full_backup(fleet, "s1", repository=repository)
            manifest = Catalog(repository).manifest("s1")
            yield Taken(donor, fleet, repository, manifest, checksums(connection))
    finally:
        donor.remove()


@contextmanager
def opened(result: RestoreResult | PointResult) -> Generator[pymysql.connections.Connection[Any]]:
    """A connection to the server that a restore left; it is stopped afterwards."""
    assert result.left is not None
    connection = pymysql.connect(unix_socket=str(result.left.socket), user="root", autocommit=True)
    try:
        yield connection
    finally:
        connection.close()
        os.kill(result.left.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while look_at(result.target).locked_by is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shutil.rmtree(result.left.socket.parent)


def rows(connection: pymysql.connections.Connection[Any], sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def private(taken: Taken, target: Path, *options: str) -> PrivateServer:
    mysqld = taken.fleet.restore.mysqld
    assert mysqld is not None
    return PrivateServer(
        mysqld, target, DataShape(), start_timeout_seconds=120, buffer_pool_bytes=64 << 20, options=options
    )


def test_a_restored_server_is_equal_to_the_donor_and_joins_its_replication(
    taken: Taken, tmp_path: Path
) -> None:
    result = taken.restore(tmp_path / "data", leave=Leave.RUNNING, check="all")
    assert result.gtid_executed == taken.manifest.gtid.low
    assert all(check.passed for check in result.checks)
    assert "of 0 tables" not in result.checks[-1].detail
    with opened(result) as connection:
        assert checksums(connection) == taken.checksums
        assert rows(connection, "SELECT @@super_read_only, @@skip_networking, @@event_scheduler") == [
            (1, 1, "DISABLED")
        ]
        assert rows(connection, "SHOW REPLICA STATUS") == []
        taken.donor.query("CREATE TABLE shop.after_restore (id INT PRIMARY KEY)")
        taken.donor.query("INSERT INTO shop.after_restore VALUES (1), (2)")
        replication = taken.donor.accounts.replication
        # Filled in one statement at a time: a password may hold a semicolon, or a quote.
        filled = {
            "<primary>": taken.donor.host,
            "3306": str(taken.donor.port),
            "<user>": replication.user,
            "'<password>'": connection.escape(replication.password),
        }
        for statement in result.next_steps[1].split(";"):
            for blank, value in filled.items():
                statement = statement.replace(blank, value)  # noqa: PLW2901
            if statement.strip():
                rows(connection, statement)
        wanted = taken.donor.query("SELECT @@global.gtid_executed AS g")[0]["g"]
        assert rows(connection, f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{wanted}', 30)") == [(0,)]
        assert rows(connection, "SELECT COUNT(*) FROM shop.after_restore") == [(2,)]
        taken.donor.query("DROP TABLE shop.after_restore")


def test_the_target_holds_the_backups_files_and_what_mysqld_makes(taken: Taken, tmp_path: Path) -> None:
    target = tmp_path / "data"
    taken.restore(target, check="none")
    facts = look_at(target)
    wanted = {
        entry.name
        for entry in taken.manifest.files
        if not entry.name.startswith(("#innodb_redo/", "#clone/"))
    }
    assert wanted <= facts.files.keys()
    made = {name for name in facts.files.keys() - wanted if not name.startswith(("#", "mysql/"))}
    # CSV tables of user schemas come back empty, as mysqld makes them.
    made = {name for name in made if not name.endswith((".CSV", ".CSM", ".sdi", ".MYD", ".MYI"))}
    assert {name for name in made if not name.endswith(".pem") and "relay-bin" not in name} <= {
        "auto.cnf",
        "mysql_upgrade_history",
    }
    assert not (target / JOURNAL_NAME).exists()
    assert taken.donor.query("SELECT @@server_uuid AS u")[0]["u"] not in (target / "auto.cnf").read_text()


def test_a_backup_is_proven_once_it_was_restored(taken: Taken, tmp_path: Path) -> None:
    result = taken.restore(tmp_path / "data", check="sample")
    catalog = Catalog(taken.repository)
    assert [summary.proven for summary in catalog.backups("s1")] == [True]
    proof = catalog.proofs("s1", taken.manifest.label)[-1]
    assert proof.proven
    assert proof.gtid_executed == result.gtid_executed
    assert {"fetch", "recover", "check"} <= proof.seconds.keys()
    assert [check.name for check in proof.checks] == [
        "gtid set",
        "recovery note",
        "sources forgotten",
        "tables",
    ]


def test_a_backup_taken_under_load_recovers_to_one_exact_gtid_set(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> None:
    folder = scratch_directory / "under-load"
    folder.mkdir()
    donor = start_scratch_server(folder, mysql_distribution, owner=scratch_directory)
    stop = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with closing(donor.connect()) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                giver, taker = chance.sample(range(1, 201), 2)
                cursor.execute("BEGIN")
                cursor.execute("UPDATE bank.accounts SET balance = balance - 5 WHERE id = %s", (giver,))
                cursor.execute("UPDATE bank.accounts SET balance = balance + 5 WHERE id = %s", (taker,))
                cursor.execute("INSERT INTO bank.moves (pad) VALUES (REPEAT('m', 500))")
                cursor.execute("COMMIT")

    try:
        donor.query("CREATE DATABASE bank")
        donor.query("CREATE TABLE bank.accounts (id INT PRIMARY KEY, balance INT NOT NULL)")
        donor.query("CREATE TABLE bank.moves (id INT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(600))")
        donor.query(
            "INSERT INTO bank.accounts WITH RECURSIVE n (i) AS"
            " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT i, 1000 FROM n"
        )
        fleet = fleet_of(donor, folder=folder, restore={"mysqld": str(mysql_distribution.mysqld)})
        repository = repository_of(fleet)
        writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
        for writer in writers:
            writer.start()
        try:
            time.sleep(0.5)
            take_full_backup(fleet, "s1", repository=repository)
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        result = restore_backup(
            fleet, "s1", tmp_path / "data", repository=repository, leave=Leave.RUNNING, check="all"
        )
        manifest = Catalog(repository).manifest("s1")
        exact = GtidSet.parse(result.gtid_executed)
        assert GtidSet.parse(manifest.gtid.low) <= exact <= GtidSet.parse(manifest.gtid.high)
        with opened(result) as connection:
            assert rows(connection, "SELECT SUM(balance) FROM bank.accounts") == [(200_000,)]
            (moves,) = rows(connection, "SELECT COUNT(*) FROM bank.moves")[0]
            # Every transaction since the table was filled made one row: so the rows agree with the GTID set.
            before = donor.query("SELECT COUNT(*) AS n FROM bank.moves")[0]["n"]
            all_of_them = GtidSet.parse(donor.query("SELECT @@global.gtid_executed AS g")[0]["g"])
            assert before - moves == (all_of_them - exact).count()
    finally:
        stop.set()
        donor.remove()


def test_a_copy_that_was_a_replica_knows_of_no_source_any_more(
    mysql_distribution: MysqlDistribution, taken: Taken, scratch_directory: Path, tmp_path: Path
) -> None:
    target = tmp_path / "data"
    taken.restore(target, check="none")
    writable = ("--super-read-only=OFF", "--read-only=OFF", "--relay-log=elsewhere")
    with private(taken, target, *writable) as server:
        for channel in ("", "second"):
            server.query(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1, SOURCE_USER='r',"
                f" SOURCE_PASSWORD='s' FOR CHANNEL '{channel}'"
            )
        server.stop()
    # A clone brings no relay logs, and the copy has other names for them.
    for relay_log in target.glob("elsewhere*"):
        relay_log.unlink()
    with private(taken, target) as server:
        assert remembered_sources(server) == ("127.0.0.1", "127.0.0.1")
        proof = prove(server, target, taken.manifest, check="none", clock=SystemClock())
        assert proof.proven
        server.stop()
    with private(taken, target, *writable) as server:
        assert remembered_sources(server) == ()
        assert server.query("SHOW REPLICA STATUS") == []
        server.stop()


def test_a_server_outside_of_the_bracket_proves_nothing(taken: Taken, tmp_path: Path) -> None:
    target = tmp_path / "data"
    taken.restore(target, check="none")
    uuid = taken.manifest.donor.server_uuid
    count = GtidSet.parse(taken.manifest.gtid.low).count()
    low = f"{uuid}:1-{count + 7}"
    wrong = {
        "lacks": GtidBracket(low=low, high=low),
        "it has": GtidBracket(low="", high=f"{uuid}:1-{count - 2}"),
    }
    with private(taken, target) as server:
        for fault, bracket in wrong.items():
            manifest = taken.manifest.model_copy(update={"gtid": bracket})
            proof = prove(server, target, manifest, check="none", clock=SystemClock())
            assert not proof.proven
            with pytest.raises(ProofFailed, match=fault) as failed:
                require_proven(proof)
            numbers = f"{count + 1}-{count + 7}" if fault == "lacks" else f"{count - 1}-{count}"
            assert f"{uuid}:{numbers}" in failed.value.message
        server.stop()


def test_a_damaged_table_is_named_and_the_backup_is_not_proven(taken: Taken, tmp_path: Path) -> None:
    target = tmp_path / "data"
    taken.restore(target, check="none")
    with (target / "bulk" / "sbtest2.ibd").open("r+b") as table:
        # An index page's records, but not its checksum: as a bad disk would do it.
        table.seek(5 * 16384 + 8000)
        table.write(os.urandom(64))
    with private(taken, target) as server:
        proof = prove(server, target, taken.manifest, check="all", clock=SystemClock())
    assert not proof.proven
    with pytest.raises(ProofFailed, match=r"table bulk\.sbtest2"):
        require_proven(proof)
    assert proof.checks[-1].detail.endswith("1 unsound")


def test_delta_brings_a_used_directory_back_and_fetches_little(taken: Taken, tmp_path: Path) -> None:
    target = tmp_path / "data"
    whole = taken.restore(target, check="none")
    with private(taken, target, "--super-read-only=OFF", "--read-only=OFF") as server:
        server.query("UPDATE shop.users SET name = 'changed' WHERE id % 7 = 0")
        server.query("DROP TABLE media.images")
        server.query("CREATE TABLE shop.later (id INT PRIMARY KEY)")
        server.query("ALTER TABLE bulk.sbtest1 RENAME TO bulk.renamed")
        server.stop()
    with pytest.raises(TargetRefused, match="is not empty"):
        taken.restore(target)
    plan = plan_full_restore(taken.fleet, "s1", target, repository=taken.repository, delta=True)
    assert plan.mode is Mode.DELTA
    assert {"shop/later.ibd", "bulk/renamed.ibd", "auto.cnf"} <= set(plan.remove_files)
    result = taken.restore(target, delta=True, leave=Leave.RUNNING, check="all")
    assert result.mode == "delta"
    assert result.equal_bytes > result.data_bytes // 2
    assert result.read_bytes < whole.read_bytes
    with opened(result) as connection:
        assert checksums(connection) == taken.checksums


def test_the_directory_of_a_running_server_is_refused(taken: Taken) -> None:
    for delta in (False, True):
        with pytest.raises(TargetRefused, match="is the data directory of a running server"):
            taken.restore(taken.donor.datadir, delta=delta)
    with pytest.raises(TargetRefused, match="lies inside the data directory"):
        taken.restore(taken.donor.datadir / "shop" / "new")


def test_a_mysqld_that_is_too_old_or_of_another_series_is_refused_before_anything_is_touched(
    taken: Taken, tmp_path: Path
) -> None:
    version = taken.manifest.donor.version.split("-")[0]
    major, minor, patch = map(int, version.split("."))
    for other in (f"{major}.{minor}.{patch - 1}", f"{major}.{minor + 1}.{patch}", "5.7.44"):
        fake = tmp_path / "mysqld"
        fake.write_text(f'#!/bin/sh\necho "$0  Ver {other} for Linux on x86_64"\n')
        fake.chmod(0o755)
        fleet = taken.fleet.model_copy(
            update={"restore": taken.fleet.restore.model_copy(update={"mysqld": fake})}
        )
        with pytest.raises(VersionMismatch, match=version):
            restore_backup(fleet, "s1", tmp_path / "data", repository=taken.repository)
    assert not (tmp_path / "data").exists()


def test_a_backup_that_is_not_there_is_named_with_the_nearest(taken: Taken, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        taken.restore(tmp_path / "data", label="20200101T000000Z-full")
    with pytest.raises(NotFound):
        restore_backup(taken.fleet, "s9", tmp_path / "data", repository=taken.repository)


def test_a_repository_that_takes_no_proof_does_not_cost_the_restore(
    taken: Taken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreDenied("the store is read-only")

    class Noted(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    monkeypatch.setattr(taken.repository.store, "put", refuse)
    result = taken.restore(tmp_path / "data", check="none", progress=Noted())
    assert (result.proof, result.unrecorded) == (None, "the store is read-only")
    assert notes == ["without a lease, so pruning does not know of this restore: the store is read-only"]


def test_a_restore_cancelled_in_recovery_goes_on_without_fetching(taken: Taken, tmp_path: Path) -> None:
    target = tmp_path / "data"
    cancelled = threading.Event()

    class StopAtRecovery:
        def stage(self, name: str, total_bytes: int | None = None) -> None:
            if name == "recover":
                cancelled.set()

        def advance(self, count_bytes: int) -> None:
            pass

        def note(self, text: str) -> None:
            pass

    with pytest.raises(Cancelled):
        taken.restore(target, progress=StopAtRecovery(), cancelled=cancelled)
    plan = plan_full_restore(taken.fleet, "s1", target, repository=taken.repository)
    assert plan.mode is Mode.PROVE
    result = taken.restore(target, leave=Leave.RUNNING)
    assert result.read_bytes == 0
    with opened(result) as connection:
        assert checksums(connection) == taken.checksums


@pytest.mark.slow
def test_a_restore_killed_at_any_moment_goes_on_and_ends_equal_to_the_donor(
    taken: Taken, tmp_path: Path, scratch_directory: Path
) -> None:
    """SIGKILL while fetching, while mysqld recovers and while tables are checked."""
    target = tmp_path / "data"
    key, mysqld = taken.fleet.keys[0].file, taken.fleet.restore.mysqld
    program = """
import sys
from pathlib import Path
from fleet.model import Fleet
from restore.full import restore_backup
from tests.scenario.fleets import repository_of
fleet = Fleet.model_validate_json(Path(sys.argv[1]).read_text())
restore_backup(fleet, "s1", Path(sys.argv[2]), repository=repository_of(fleet), check="all")
"""
    config = tmp_path / "fleet.json"
    assert key is not None
    assert mysqld is not None
    config.write_text(
        Fleet.model_validate(
            {
                "name": "test",
                "regions": ["here"],
                "shards": [{"name": "s1", "servers": [{"name": "a", "host": "localhost", "region": "here"}]}],
                "accounts": {"backup": {"user": "u", "password": {"env": "NONE"}}},
                "repository": {"url": taken.fleet.repository.url},
                "keys": [{"id": "k1", "provider": "file", "file": str(key)}],
                "restore": {"mysqld": str(mysqld)},
            }
        ).model_dump_json(exclude_unset=True)
    )
    command = [sys.executable, "-c", program, str(config), str(target)]
    environment = {**os.environ, "TMPDIR": str(scratch_directory)}
    chance = random.Random(2)
    for delay in (0.6, 0.8, 1.0, 1.3, 2.0, 3.0):
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            time.sleep(delay + chance.uniform(0, 0.3))
            process.kill()
            _, told = process.communicate()
            assert process.returncode in {0, -signal.SIGKILL}, told.decode()
        deadline = time.monotonic() + 20
        while look_at(target).locked_by is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if look_at(target).journal is None and look_at(target).files:
            break
    else:
        subprocess.run(command, env=environment, check=True)
    with private(taken, target) as server:
        connection = pymysql.connect(unix_socket=str(server.socket), user="root")
        with closing(connection):
            assert checksums(connection) == taken.checksums
        server.stop()
