"""Single tables of a real shard brought back to a point, with a small part of the shard's bytes."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.errors import NotFound, TargetRefused, TargetUnreachable, UsageError
from fleet.gtid import GtidSet
from fleet.table_name import TableName
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.server import MysqlServer
from restore.mysqld import open_private_session
from restore.point import RecoveryTarget
from restore.table_delivery import TablesResult, Wanted, plan_table_restore, restore_tables
from restore.table_restore import bring_tables
from restore.table_sql import write_table_sql
from tests.archives import executed
from tests.scenario.archived_shards import ArchivedShard, archived_shard, create_tables, write

pytestmark = pytest.mark.mysql

FILLING = 40
"""Tables that nobody asks for, with enough rows to tell their bytes from the others'."""


def checksum(server: MysqlServer, table: str) -> int:
    return int(server.query(f"CHECKSUM TABLE {TableName.parse(table).quoted}")[0]["Checksum"])


@dataclass
class Story:
    """A shard with tables of all kinds; ``checksums`` at the point, at which it stood still."""

    shard: ArchivedShard
    point: GtidSet
    checksums: dict[str, int]


ASKED = (
    "app.plain",
    "app.`Odd-name ä`",
    "app.parts",
    "app.texts",
    "app.child",
    "app.late",
    "app.swapped",
    "app.shared",
    "app.packed",
)


@pytest.fixture(scope="module")
def story(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Story]:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        primary = shard.primary
        _create(primary)
        _change(primary, 1)
        shard.back_up()
        _change(primary, 1000)
        _alter(primary)
        _change(primary, 2000)
        point = executed(primary)
        primary.query("DELETE FROM app.grandchild")
        sums = {table: checksum(primary, table) for table in (*ASKED, "app.line")}
        for table in ASKED:
            primary.query(f"DELETE FROM {TableName.parse(table).quoted} LIMIT 3")
        primary.query("DROP TABLE app.parts")
        shard.archiver.piece_bytes = 16 * 1024
        shard.archiver.run()
        yield Story(shard, point, sums)


def _create(primary: MysqlServer) -> None:
    create_tables(primary, ["filling", "items"], rows=5)
    primary.query("INSERT INTO app.filling (pad) SELECT REPEAT('x', 200) FROM mysql.help_topic LIMIT 600")
    for _ in range(4):
        primary.query("INSERT INTO app.filling (pad) SELECT pad FROM app.filling")
    columns = "(id INT PRIMARY KEY, v TEXT"
    primary.query(f"CREATE TABLE app.plain {columns})")
    primary.query(f"CREATE TABLE app.`Odd-name ä` {columns})")
    primary.query(
        "CREATE TABLE app.parts (id INT, k INT, v TEXT, PRIMARY KEY (id, k)) PARTITION BY RANGE (id)"
        " SUBPARTITION BY HASH (k) SUBPARTITIONS 2"
        " (PARTITION p0 VALUES LESS THAN (1000), PARTITION `P-1` VALUES LESS THAN MAXVALUE)"
    )
    primary.query(f"CREATE TABLE app.texts {columns}, FULLTEXT KEY (v))")
    primary.query(f"CREATE TABLE app.parent {columns})")
    primary.query(f"CREATE TABLE app.child {columns}, p INT, FOREIGN KEY (p) REFERENCES app.parent (id))")
    primary.query(
        "CREATE TABLE app.grandchild (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES app.child (id))"
    )
    primary.query("CREATE TABLE app.head (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES app.parent (id))")
    primary.query(
        "CREATE TABLE app.line"
        " (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES app.head (id) ON DELETE CASCADE)"
    )
    primary.query(f"CREATE TABLE app.swapped {columns})")
    primary.query(f"CREATE TABLE app.gone {columns})")
    primary.query("DROP TABLE app.gone")
    primary.query("CREATE TABLESPACE several ADD DATAFILE 'several.ibd'")
    primary.query(f"CREATE TABLE app.shared {columns}) TABLESPACE several")
    primary.query(f"CREATE TABLE app.shared_too {columns}) TABLESPACE several")
    primary.query(f"CREATE TABLE app.in_system {columns}) TABLESPACE innodb_system")
    primary.query(f"CREATE TABLE app.packed {columns}) ROW_FORMAT=COMPRESSED")
    primary.query(
        "CREATE TRIGGER app.also AFTER INSERT ON app.plain FOR EACH ROW"
        " INSERT INTO app.packed VALUES (NEW.id, 'by the trigger')"
    )


def _change(primary: MysqlServer, first: int) -> None:
    """Rows from ``first`` on, in transactions over many tables, some of them compressed."""
    with closing(primary.connect()) as connection, connection.cursor() as cursor:
        for compressed in (0, 1):
            cursor.execute(f"SET SESSION binlog_transaction_compression = {compressed}")
            for number in range(first + 50 * compressed, first + 50 * compressed + 10):
                text = f"row {number} of some length"
                cursor.execute("BEGIN")
                for table in (
                    "plain",
                    "`Odd-name ä`",
                    "texts",
                    "swapped",
                    "shared",
                    "shared_too",
                    "in_system",
                ):
                    cursor.execute(f"INSERT INTO app.{table} (id, v) VALUES (%s, %s)", (number, text))
                cursor.execute("INSERT INTO app.parts VALUES (%s, %s, %s)", (number, number % 7, text))
                cursor.execute("INSERT INTO app.parent VALUES (%s, %s)", (number, text))
                cursor.execute("INSERT INTO app.child (id, v, p) VALUES (%s, %s, %s)", (number, text, number))
                for table in ("grandchild", "head", "line"):
                    cursor.execute(f"INSERT INTO app.{table} VALUES (%s)", (number,))
                cursor.execute("COMMIT")
    write(primary, "items", 20)


def _alter(primary: MysqlServer) -> None:
    """DDL in the range, of tables that are asked for and of others."""
    primary.query("CREATE TABLE app.late (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES app.parent (id))")
    primary.query("INSERT INTO app.late SELECT id FROM app.parent")
    primary.query("ALTER TABLE app.child ADD COLUMN more INT DEFAULT 7, ALGORITHM=COPY")
    primary.query("CREATE TABLE app._swapped_new LIKE app.swapped")
    primary.query("ALTER TABLE app._swapped_new ADD COLUMN more VARCHAR(10) DEFAULT 'new'")
    primary.query("INSERT INTO app._swapped_new (id, v) SELECT id, v FROM app.swapped")
    primary.query("RENAME TABLE app.swapped TO app._swapped_old, app._swapped_new TO app.swapped")
    primary.query("DROP TABLE app._swapped_old, app.filling")
    primary.query("CREATE TABLE app.single (id INT, k INT, v TEXT, PRIMARY KEY (id, k))")
    primary.query("INSERT INTO app.single VALUES (5, 1, 'swapped in')")
    primary.query("ALTER TABLE app.items ADD COLUMN more INT")
    primary.query("ALTER TABLESPACE several RENAME TO many")
    primary.query("CREATE USER nobody@localhost")
    primary.query("DELETE FROM app.head WHERE id < 1005")
    with closing(primary.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("XA START 'one'")
        cursor.execute("INSERT INTO app.plain VALUES (9999, 'prepared, and committed by another session')")
        cursor.execute("XA END 'one'")
        cursor.execute("XA PREPARE 'one'")
    primary.query("XA COMMIT 'one'")


def names(tables: Sequence[str]) -> list[TableName]:
    return [TableName.parse(table) for table in tables]


def test_tables_of_every_kind_are_back_at_the_point(story: Story, tmp_path: Path) -> None:
    shard = story.shard
    with bring_tables(
        shard.fleet,
        "s1",
        names(ASKED),
        RecoveryTarget.exactly(story.point),
        tmp_path / "there",
        repository=shard.repository,
    ) as brought:
        for table in ASKED:
            quoted = TableName.parse(table).quoted
            (row,) = brought.server.query(f"CHECKSUM TABLE {quoted}")
            assert row["Checksum"] == story.checksums[table], table
        assert GtidSet.parse(brought.gtid_executed) == story.point
        with closing(open_private_session(brought.server.socket)) as session:
            write_table_sql(session, "app", "shared", tmp_path / "shared.sql")
    assert not (tmp_path / "there").exists()
    # Its tablespace was renamed on the way, and is not there under the name that the table was made with.
    text = (tmp_path / "shared.sql").read_text()
    assert "-- the table was declared in TABLESPACE `several`, which is left out here\n" in text
    (create,) = [each for each in text.split(";\n") if each.startswith("CREATE TABLE")]
    with closing(shard.primary.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_log_bin = 0")
        cursor.execute("CREATE DATABASE elsewhere")
        cursor.execute("USE elsewhere")
        cursor.execute(create)
        cursor.execute("DROP DATABASE elsewhere")


def restore(story: Story, tables: Sequence[str], into: Path, wanted: Wanted) -> TablesResult:
    return restore_tables(
        story.shard.fleet,
        "s1",
        names(tables),
        RecoveryTarget.exactly(story.point),
        into,
        wanted=wanted,
        repository=story.shard.repository,
    )


def test_tablespaces_are_imported_into_a_live_server_under_another_name(story: Story, tmp_path: Path) -> None:
    exported = ("app.child", "app.parts")
    sql = tmp_path / "it's sql"
    result = restore(story, exported, tmp_path / "work", Wanted(export=tmp_path / "out", sql=sql))
    assert shlex.split(result.next_steps[0])[-1] == str(sql / "app.child.sql")
    assert not (tmp_path / "work").exists()
    assert result.unchecked == ("app.parent",)
    assert result.table_bytes < result.shard_bytes / 20
    assert {check.name for check in result.checks} >= {"gtid set", "replay", "tables", "table app.child"}
    primary = story.shard.primary
    datadir = Path(str(primary.query("SELECT @@datadir AS d")[0]["d"]))
    primary.query("CREATE DATABASE recovered")
    with closing(primary.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("USE recovered")
        cursor.execute("SET SESSION sql_log_bin = 0, foreign_key_checks = 0")
        for table in result.tables:
            assert table.directory is not None and table.rows == 60
            name = TableName.parse(table.table).name
            guide = (table.directory / "README.txt").read_text().splitlines()
            create = (table.directory / "create.sql").read_text().split(";\n")[1]
            for line in guide:
                if line.endswith("IMPORT TABLESPACE;"):
                    for file in table.files:
                        (datadir / "recovered" / file).write_bytes((table.directory / file).read_bytes())
                if line == "source create.sql":
                    cursor.execute(create)
                if line.startswith("ALTER"):
                    cursor.execute(line.removesuffix(";"))
            cursor.execute(f"CHECKSUM TABLE {name}")
            assert cursor.fetchone() == (f"recovered.{name}", story.checksums[table.table])
        cursor.execute("DROP DATABASE recovered")
    (parts,) = [each for each in result.tables if each.table == "app.parts"]
    assert len(parts.files) == 8
    assert (sql / "app.child.sql").read_text().count("INSERT") >= 1


def plan(story: Story, table: str, target: RecoveryTarget, into: Path, wanted: Wanted) -> None:
    plan_table_restore(
        story.shard.fleet,
        "s1",
        names([table]),
        target,
        into,
        wanted=wanted,
        repository=story.shard.repository,
    )


def test_what_cannot_be_is_refused_before_a_byte_is_fetched(story: Story, tmp_path: Path) -> None:
    into, sql = tmp_path / "there", Wanted(sql=tmp_path / "t.sql")
    drop = story.shard.statement("DROP TABLE `app`.`parts`").gtid
    with pytest.raises(TargetUnreachable, match="took it away: DROP TABLE") as caught:
        plan(story, "app.parts", RecoveryTarget.latest(), into, sql)
    assert caught.value.hint == f"The last point that has it is --before-gtid {drop}."
    plan(story, "app.parts", RecoveryTarget.before(drop), into, sql)
    # It was dropped before the backup was taken: only the archive knows that it ever was.
    drop = story.shard.statement("DROP TABLE `app`.`gone`").gtid
    with pytest.raises(
        TargetUnreachable, match=r"app\.gone is not there at the point: .* DROP TABLE"
    ) as caught:
        plan(story, "app.gone", RecoveryTarget.latest(), into, sql)
    assert caught.value.hint == f"The last point that has it is --before-gtid {drop}."
    with pytest.raises(UsageError, match="how the tables are to be handed over"):
        plan(story, "app.plain", RecoveryTarget.latest(), into, Wanted())
    with pytest.raises(UsageError, match=r"no file of app\.shared to export: it lies in a tablespace with"):
        plan(story, "app.shared", RecoveryTarget.latest(), into, Wanted(export=tmp_path / "out"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(TargetRefused, match="holds mine"):
        plan(story, "app.plain", RecoveryTarget.latest(), tmp_path / "full", sql)
    assert not into.exists()


def test_what_only_the_dictionary_knows_is_refused_once_it_is_there(story: Story, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no table app\.plian") as caught:
        restore(story, ["app.plian"], tmp_path / "a", Wanted(sql=tmp_path / "t.sql"))
    assert "app.plain" in (caught.value.hint or "")
    assert not (tmp_path / "a").exists()
    # What a run leaves that was killed is no obstacle.
    (tmp_path / "a" / "data" / "app").mkdir(parents=True)
    (tmp_path / "a" / "backstay-tables.txt").touch()
    (tmp_path / "a" / "data" / "ibdata1").touch()
    with pytest.raises(UsageError, match="full-text index"):
        restore(story, ["app.texts"], tmp_path / "a", Wanted(export=tmp_path / "out"))
    assert not (tmp_path / "a").exists()


def test_a_key_that_cascades_brings_what_it_comes_down_from(story: Story, tmp_path: Path) -> None:
    shard = story.shard
    target = RecoveryTarget.exactly(story.point)
    with bring_tables(
        shard.fleet, "s1", names(["app.line"]), target, tmp_path / "there", repository=shard.repository
    ) as brought:
        (row,) = brought.server.query("CHECKSUM TABLE app.line")
        assert row["Checksum"] == story.checksums["app.line"]
        assert set(map(str, brought.followed)) == {"app.line", "app.head", "app.parent"}
        assert brought.unchecked == ()
        left = brought.leave()
    try:
        with closing(open_private_session(left.socket)) as session:
            (found,) = session.query(
                "SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_schema='app'"
                " AND table_name IN ('line', 'head', 'parent')"
            )
            assert found["n"] == 1
    finally:
        os.kill(left.pid, signal.SIGKILL)
        shutil.rmtree(left.log.parent)
