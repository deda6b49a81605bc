"""What changes files between two backups, on one server: every link of the chain restores what it saw.

Two incrementals on a full, and between them everything that DDL, tablespaces, encryption and redo logging can
do to files. Each link is restored by a server with a keyring of its own, and compared with the donor then.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pymysql
import pytest

from backup.consolidate import consolidate
from backup.full import take_full_backup
from backup.incremental import take_incremental_backup
from backup.result import BackupResult
from fleet.model import Fleet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.catalog import Catalog
from repository.repository import Repository
from repository.verify import verify_backup
from restore.full import Leave, restore_backup
from restore.target import look_at
from tests.scenario.fleets import fleet_of, repository_of
from tests.scenario.incrementals import flush
from tests.scenario.test_restore_encrypted import with_keyring
from wire.admin import log_status
from wire.page_tracking import COMPONENT
from wire.session import open_session

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

ROWS = 1500
FORMS = {
    "plain": "",
    "dropped": "",
    "renamed": "",
    "moved": "",
    "truncated": "",
    "rebuilt_by_copy": "",
    "rebuilt_in_place": "",
    "indexed": "",
    "zipped": "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8",
    "zipped_then": "",
    "squeezed": "COMPRESSION='zlib'",
    "imported": "",
    "sealed_then": "",
    "sealed": "ENCRYPTION='Y'",
    "in_space": "TABLESPACE space_kept",
    "in_dropped": "TABLESPACE space_dropped",
    "in_sealed_then": "TABLESPACE space_sealed_then",
    "parted": "PARTITION BY HASH (id) PARTITIONS 3",
    "altering": "",
    "unlogged": "",
}
SPACES = ("space_kept", "space_dropped", "space_sealed_then")

Checksums = dict[str, int | None]


@pytest.fixture
def donor(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> Iterator[ScratchServer]:
    folder = scratch_directory / "through-ddl"
    folder.mkdir()
    server = start_scratch_server(
        folder, with_keyring(mysql_distribution, tmp_path / "donor"), owner=scratch_directory
    )
    try:
        yield server
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def test_every_link_of_a_chain_through_ddl_restores_what_the_donor_had(
    donor: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    theirs = with_keyring(mysql_distribution, tmp_path / "theirs")
    fleet = fleet_of(donor, folder=tmp_path, restore={"mysqld": str(theirs.mysqld)})
    repository = repository_of(fleet)
    since = let_track_pages(donor)
    make_tables(donor)
    # The list begins where tracking does, so a base must not begin before.
    flush(donor, lambda: checkpoint(donor) > since)
    full = take_full_backup(fleet, "s1", repository=repository)

    change(donor)
    first = take_incremental_backup(fleet, "s1", repository=repository)
    assert_continues(first, full)
    after_first = state_of(donor)

    change_again(donor)
    with altering(donor, "shop.altering"):
        second = take_incremental_backup(fleet, "s1", repository=repository)
    assert_continues(second, first)
    after_second = state_of(donor)

    policy = {"donor": "primary", "retries": 0, "donor_saving": "off"}
    asks_for_all = fleet_of(donor, folder=tmp_path, backup=policy)
    refers = take_full_backup(asks_for_all, "s1", repository=repository, full="referring")
    assert refers.skipped_bytes == 0
    assert (refers.kind, refers.built_on) == ("full", second.label), refers.became_full_because
    made = consolidate(repository, "s1", second.label)
    assert made.found == "chain"
    catalog = Catalog(repository)
    for label in (full.label, first.label, second.label, refers.label, made.label):
        report = verify_backup(repository, catalog.manifest("s1", label))
        assert report.damages == (), label
    donor.stop()
    for label, expected in (
        (first.label, after_first),
        (second.label, after_second),
        (refers.label, after_second),
    ):
        assert_restores(fleet, repository, label, expected, tmp_path / "data")


def assert_continues(result: BackupResult, base: BackupResult) -> None:
    assert (result.kind, result.base) == ("incremental", base.label), result.became_full_because
    assert result.damaged_pages == ()
    # The donor's own list of changed pages was read, and believed: DDL must not slip past it.
    assert "without a change" in result.saving, result.saving


def let_track_pages(donor: ScratchServer) -> int:
    """Page tracking on, and the grants to read what it notes; the LSN at which it begins."""
    donor.query(f"GRANT FILE, SYSTEM_VARIABLES_ADMIN ON *.* TO '{donor.backup_account.user}'@'%'")
    donor.query(f"INSTALL COMPONENT '{COMPONENT}'")
    return int(donor.query("SELECT mysqlbackup_page_track_set(true) AS lsn")[0]["lsn"])


def checkpoint(donor: ScratchServer) -> int:
    """The LSN up to which every change is in its file."""
    with closing(
        open_session(donor.server, donor.backup_account, connect_timeout=10, read_timeout=60)
    ) as session:
        return log_status(session).lsn_checkpoint


def make_tables(donor: ScratchServer) -> None:
    """A table of every form, tablespaces to come and go, and two undo tablespaces more."""
    donor.query("CREATE DATABASE shop")
    donor.query("CREATE DATABASE attic")
    for space in SPACES:
        donor.query(f"CREATE TABLESPACE {space} ADD DATAFILE '{space}.ibd'")
    for undo in ("undo_truncated", "undo_dropped"):
        donor.query(f"CREATE UNDO TABLESPACE {undo} ADD DATAFILE '{undo}.ibu'")
    donor.query("CREATE TABLE shop.seed (id INT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(250)) ENGINE=InnoDB")
    donor.query(
        "INSERT INTO shop.seed (pad) SELECT REPEAT(SHA2(RAND(), 256), 3)"
        f" FROM information_schema.columns LIMIT {ROWS}"
    )
    for table, form in FORMS.items():
        make_table(donor, f"shop.{table}", form)


def make_table(donor: ScratchServer, table: str, form: str = "") -> None:
    donor.query(
        f"CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL DEFAULT 0,"
        f" pad VARCHAR(250)) {form}"
    )
    donor.query(f"INSERT INTO {table} (pad) SELECT REVERSE(pad) FROM shop.seed")


def change(donor: ScratchServer) -> None:
    """Everything that happens to files once."""
    for statement in (
        "UPDATE shop.plain SET n = n + 1 WHERE id % 100 = 0",
        "DROP TABLE shop.dropped",
        "RENAME TABLE shop.renamed TO shop.named_anew, shop.moved TO attic.moved",
        "TRUNCATE shop.truncated",
        "INSERT INTO shop.truncated (pad) SELECT pad FROM shop.seed WHERE id < 100",
        "ALTER TABLE shop.rebuilt_by_copy ADD COLUMN more INT NOT NULL DEFAULT 7, ALGORITHM=COPY",
        "ALTER TABLE shop.rebuilt_in_place ENGINE=InnoDB, ALGORITHM=INPLACE",
        # Built by sorting, without redo: the pages alone tell that they are new.
        "ALTER TABLE shop.indexed ADD INDEX by_pad (pad), ALGORITHM=INPLACE",
        "UPDATE shop.zipped SET pad = REVERSE(pad) WHERE id % 3 = 0",
        "ALTER TABLE shop.zipped_then ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
        "UPDATE shop.squeezed SET pad = CONCAT(pad, 'x') WHERE id % 5 = 0",
        "ALTER TABLE shop.sealed_then ENCRYPTION='Y'",
        "ALTER TABLESPACE space_sealed_then ENCRYPTION='Y'",
        "ALTER INSTANCE ROTATE INNODB MASTER KEY",
        "UPDATE shop.sealed SET n = 3 WHERE id < 50",
        "DROP TABLE shop.in_dropped",
        "DROP TABLESPACE space_dropped",
        "CREATE TABLESPACE space_new ADD DATAFILE 'space_new.ibd'",
        "CREATE UNDO TABLESPACE undo_new ADD DATAFILE 'undo_new.ibu'",
        "ALTER TABLE shop.parted TRUNCATE PARTITION p1",
        "ALTER TABLE shop.parted ADD PARTITION PARTITIONS 1",
    ):
        donor.query(statement)
    make_table(donor, "shop.in_new", "TABLESPACE space_new")
    make_table(donor, "shop.unheard", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8")
    renew_undo(donor, "undo_truncated")
    drop_undo(donor, "undo_dropped")
    import_tablespace(donor, "shop.imported", "shop.seed_copy")
    load_without_redo(donor)


def change_again(donor: ScratchServer) -> None:
    """What was changed is changed once more: names, ids and keys that a chain must not mix up."""
    for statement in (
        "SET GLOBAL innodb_undo_log_encrypt = ON",
        "SET GLOBAL innodb_redo_log_encrypt = ON",
        "RENAME TABLE shop.named_anew TO shop.renamed, attic.moved TO shop.dropped",
        "TRUNCATE shop.truncated",
        "DROP TABLE shop.in_new",
        "DROP TABLESPACE space_new",
        "CREATE TABLESPACE space_new ADD DATAFILE 'space_new.ibd'",
        "ALTER TABLE shop.indexed DROP INDEX by_pad, ADD INDEX by_n (n, pad)",
        "ALTER TABLE shop.zipped ROW_FORMAT=DYNAMIC KEY_BLOCK_SIZE=0",
        "UPDATE shop.zipped_then SET pad = REVERSE(pad) WHERE id < 300",
        "DELETE FROM shop.squeezed WHERE id % 2 = 0",
        "ALTER TABLE shop.sealed ENCRYPTION='N'",
        "ALTER TABLESPACE space_sealed_then ENCRYPTION='N'",
        "ALTER INSTANCE ROTATE INNODB MASTER KEY",
        "UPDATE shop.sealed_then SET n = 5 WHERE id % 7 = 0",
        "INSERT INTO shop.unlogged (pad) SELECT pad FROM shop.seed",
        "ALTER TABLE shop.rebuilt_in_place ADD COLUMN more INT, ALGORITHM=INSTANT",
        "UPDATE shop.rebuilt_in_place SET more = id",
    ):
        donor.query(statement)
    make_table(donor, "shop.in_new", "TABLESPACE space_new")
    make_table(donor, "attic.late", "ENCRYPTION='Y'")
    renew_undo(donor, "undo_truncated")
    import_tablespace(donor, "shop.imported", "attic.late_copy")


def renew_undo(donor: ScratchServer, name: str) -> None:
    """Let the server truncate an undo tablespace, which gives it another space id."""
    donor.query(f"ALTER UNDO TABLESPACE {name} SET INACTIVE")
    wait_state(donor, name, "empty")
    donor.query(f"ALTER UNDO TABLESPACE {name} SET ACTIVE")


def drop_undo(donor: ScratchServer, name: str) -> None:
    donor.query(f"ALTER UNDO TABLESPACE {name} SET INACTIVE")
    wait_state(donor, name, "empty")
    donor.query(f"DROP UNDO TABLESPACE {name}")


def wait_state(donor: ScratchServer, name: str, state: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        (row,) = donor.query(
            "SELECT state FROM information_schema.innodb_tablespaces WHERE name = %s", (name,)
        )
        if next(iter(row.values())) == state:
            return
        assert time.monotonic() < deadline, f"{name} is {row}"
        time.sleep(0.05)


def import_tablespace(donor: ScratchServer, table: str, source: str) -> None:
    """Put the tablespace of a new table ``source`` in place of that of ``table``."""
    donor.query(f"CREATE TABLE {source} LIKE {table}")
    donor.query(f"INSERT INTO {source} (pad) SELECT CONCAT('imported ', LEFT(pad, 200)) FROM shop.seed")
    old, new = (donor.datadir / name.replace(".", "/") for name in (table, source))
    donor.query(f"ALTER TABLE {table} DISCARD TABLESPACE")
    with closing(donor.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"FLUSH TABLES {source} FOR EXPORT")
        for suffix in (".ibd", ".cfg"):
            shutil.copy(new.with_suffix(suffix), old.with_suffix(suffix))
        cursor.execute("UNLOCK TABLES")
    donor.query(f"ALTER TABLE {table} IMPORT TABLESPACE")


def load_without_redo(donor: ScratchServer) -> None:
    """A bulk load as the manual describes it: the LSN stands still meanwhile."""
    donor.query("ALTER INSTANCE DISABLE INNODB REDO_LOG")
    donor.query("INSERT INTO shop.unlogged (pad) SELECT pad FROM shop.seed")
    donor.query("UPDATE shop.plain SET n = n + 1 WHERE id % 50 = 1")
    donor.query("ALTER INSTANCE ENABLE INNODB REDO_LOG")


@contextmanager
def altering(donor: ScratchServer, table: str) -> Iterator[None]:
    """Rebuild ``table`` again and again, in both ways; its rows stay what they are."""
    ended = threading.Event()
    failures: list[Exception] = []

    def alter() -> None:
        try:
            while not ended.is_set():
                donor.query(f"ALTER TABLE {table} ENGINE=InnoDB, ALGORITHM=COPY")
                donor.query(f"ALTER TABLE {table} ENGINE=InnoDB, ALGORITHM=INPLACE")
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=alter)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert failures == []


def state_of(donor: ScratchServer) -> Checksums:
    with closing(donor.connect()) as connection:
        return checksums(connection)


def assert_restores(
    fleet: Fleet, repository: Repository, label: str, expected: Checksums, target: Path
) -> None:
    """The restored server has the tables that the donor had, and finds all of them sound."""
    result = restore_backup(
        fleet, "s1", target, label=label, repository=repository, leave=Leave.RUNNING, check="all"
    )
    assert result.left is not None
    try:
        with closing(pymysql.connect(unix_socket=str(result.left.socket), user="root")) as restored:
            assert checksums(restored) == expected, label
    finally:
        os.kill(result.left.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while look_at(target).locked_by is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shutil.rmtree(result.left.socket.parent)
        shutil.rmtree(target)
