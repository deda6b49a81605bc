"""Tables of a real server written as SQL, damaged, compared with what they were, and put right again."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymysql.constants import CLIENT
from pymysql.cursors import DictCursor

from fleet.errors import Cancelled, NotFound, ServerUnsupported
from fleet.table_name import TableName
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from restore import diff_compare
from restore.diff_compare import Compared, Sides, compare_tables
from restore.diff_merge import Difference
from restore.table_sql import write_table_sql
from tests.scenario.archived_shards import QUICK
from tests.scenario.test_rows_of_every_type import COLUMNS
from wire.row_stream import cells
from wire.session import Session
from wire.table_reading import prepare_reading

pytestmark = pytest.mark.mysql

LENIENT = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+00:00'"
EVERY_TYPE = (
    "CREATE TABLE t (id INT PRIMARY KEY, "
    + ", ".join(f"`{name}` {kind}" for name, (kind, _) in COLUMNS.items())
    + ", follows INT AS (id * 2) STORED, appears INT AS (id + 1) VIRTUAL, hidden INT INVISIBLE"
    ", japanese VARCHAR(30) CHARACTER SET sjis, swedish VARCHAR(30) CHARACTER SET swe7, choice ENUM('', 'a')"
    ", wide_choice ENUM('ä', 'b') CHARACTER SET ucs2, rounded FLOAT(7,2), fixed_point DOUBLE(9,3)"
    ", padded INT(6) ZEROFILL, `odd ``name`` of\na column` INT)"
)
ROWS: list[dict[str, Any]] = [
    {"id": 0, "twofold": "5e-324", "vintage": 2155, "tags": "", "hidden": 1},
    {
        "id": 1,
        "tiny": -128,
        "big": -(2**63),
        "big_u": 2**64 - 1,
        "price": "-1234.5600",
        "huge": "12345678901234567890123456789012345.123456789012345678901234567890",
        "single": 0.1,
        "twofold": 0.1,
        "bit_1": 1,
        "bit_13": 4097,
        "bit_64": 2**64 - 1,
        "mood": "größer",
        "tags": "a,ç,i",
        "fixed": "it's \\ \n\t\0 x",
        "short_text": "😀é日本",
        "western": "é€\x81",
        "wide": "😀ab",
        "chinese": "日本語",
        "note": "x\x1b",
        "raw_fixed": b"\0\1",
        "raw": b"",
        "blob_tiny": b"\xff\0",
        "doc": '{"a": [1, 1.5, "x\\\\y\\n", null, 1e300, 18446744073709551615]}',
        "born": "0000-00-00",
        "lasted": "-838:59:59",
        "lasted_6": "-00:00:00.000001",
        "made": "2026-00-00 01:02:03",
        "made_6": "9999-12-31 23:59:59.999999",
        "stamped": "0000-00-00 00:00:00",
        "stamped_3": "2038-01-19 03:14:07.499",
        "vintage": 0,
        "hidden": 7,
        "japanese": "\\表",
        "swedish": "abc",
        "choice": "",
        "wide_choice": "ä",
        "rounded": 12.34,
        "fixed_point": 0.333,
        "padded": 42,
        "last": "Łódź",
        "odd `name` of\na column": 3,
    },
    {"id": 2, "mood": "none of them", "choice": "nor of these", "swedish": "å"},
]
AND_THEN = (
    "UPDATE t SET place = ST_GeomFromText('POINT(1 2)', 0), spot = ST_GeomFromText('POINT(10 20)', 4326),"
    " embedding = STRING_TO_VECTOR('[1.5, 0.1, -3e38]'), single = -0e0, twofold = -0e0,"
    " japanese = _sjis X'815F5C' WHERE id = 2",
    "UPDATE t SET place = ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1))', 3857),"
    " single = 3.4028234e38 WHERE id = 0",
)


@dataclass
class Tables:
    """Two schemas of one server: ``past`` and ``live``, each with a table ``t``."""

    server: ScratchServer
    directory: Path

    def both(self, *statements: str) -> None:
        for schema in ("past", "live"):
            self.run(schema, *statements)

    def run(self, schema: str, *statements: str) -> None:
        with closing(self.server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {schema}")
            cursor.execute(f"USE {schema}")
            cursor.execute(LENIENT)
            for statement in statements:
                cursor.execute(statement)

    def insert(self, schema: str, row: dict[str, Any]) -> None:
        with closing(self.server.connect(database=schema)) as connection, connection.cursor() as cursor:
            cursor.execute(LENIENT)
            names = ", ".join("`" + name.replace("`", "``") + "`" for name in row)
            marks = ", ".join(["%s"] * len(row))
            cursor.execute(f"INSERT INTO t ({names}) VALUES ({marks})", tuple(row.values()))

    def run_file(self, schema: str, file: Path) -> None:
        """What ``mysql schema < file`` does."""
        client = self.server.connect(database=schema, client_flag=CLIENT.MULTI_STATEMENTS)
        with closing(client), client.cursor() as cursor:
            cursor.execute(file.read_text())
            while cursor.nextset():
                pass

    def rows(self, schema: str, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.server.connect(database=schema)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def session(self) -> Session:
        return Session(self.server.connect(cursorclass=DictCursor), "scratch")

    def ready(self) -> Session:
        session = self.session()
        prepare_reading(session)
        return session

    def sides(self) -> Sides:
        return Sides(self.ready, self.ready, TableName("past", "t"), TableName("live", "t"))

    def compare(self, sql: Path | None = None, **more: Any) -> Compared:
        return compare_tables(self.sides(), sql=sql, **more)

    def undo(self, *damage: str, **more: Any) -> tuple[Compared, str]:
        """Damage the live table, compare, run what was written: no row differs any more."""
        self.run("live", *damage)
        file = Path(tempfile.mkdtemp(dir=self.directory)) / "undo.sql"
        found = self.compare(file, **more)
        self.run_file("live", file)
        assert not self.compare().rows_differ
        return found, file.read_text()


@pytest.fixture(scope="module")
def server(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[ScratchServer]:
    folder = Path(tempfile.mkdtemp(prefix="d", dir=scratch_directory))
    scratch = start_scratch_server(folder, mysql_distribution, owner=scratch_directory, options=QUICK)
    yield scratch
    scratch.remove()


@pytest.fixture
def tables(server: ScratchServer, tmp_path: Path) -> Iterator[Tables]:
    yield Tables(server, tmp_path)
    server.query("DROP DATABASE IF EXISTS past")
    server.query("DROP DATABASE IF EXISTS live")


def counts(found: Compared) -> tuple[int, int, int]:
    return found.missing, found.added, found.changed


def fill_with_every_type(tables: Tables) -> None:
    tables.run("past", EVERY_TYPE)
    for row in ROWS:
        tables.insert("past", row)
    tables.run("past", *AND_THEN)


def test_a_table_of_every_type_is_the_same_after_its_sql_was_run(tables: Tables) -> None:
    fill_with_every_type(tables)
    first, second = tables.directory / "first.sql", tables.directory / "second.sql"
    with closing(tables.session()) as session:
        written = write_table_sql(session, "past", "t", first, heading=["what it\nwas"])
    assert (written.rows, written.file_bytes) == (3, first.stat().st_size)
    text = first.read_text()
    assert text.startswith("-- past.t\n-- what it\\nwas\nSET NAMES utf8mb4;\n")
    assert text.endswith("-- end of past.t: 3 rows\n")
    tables.run("live")
    tables.run_file("live", first)
    differ = [f"SUM(NOT HEX(a.{name}) <=> HEX(b.{name}))" for name in COLUMNS]
    same = tables.rows("past", f"SELECT {', '.join(differ)} FROM past.t a JOIN live.t b USING (id)")
    assert same == [(0,) * len(COLUMNS)]
    with closing(tables.session()) as session:
        write_table_sql(session, "live", "t", second, heading=["what it\nwas"])
    assert second.read_text().replace("live.t", "past.t") == text
    assert {path.name for path in tables.directory.iterdir()} == {"first.sql", "second.sql"}
    assert tables.compare().is_equal


def test_a_table_of_many_rows_is_many_statements_and_nothing_if_it_is_stopped(tables: Tables) -> None:
    tables.run("past", "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(300))")
    tables.run("past", "INSERT INTO t (pad) VALUES (REPEAT('x', 300)), ('')")
    tables.run("past", *["INSERT INTO t (pad) SELECT pad FROM t"] * 11)
    file, stop = tables.directory / "past.sql", threading.Event()
    stop.set()
    with closing(tables.session()) as session, pytest.raises(Cancelled):
        write_table_sql(session, "past", "t", file, cancelled=stop)
    assert list(tables.directory.iterdir()) == []
    with closing(tables.session()) as session:
        assert write_table_sql(session, "past", "t", file).rows == 4096
    assert file.read_text().count("INSERT INTO `t`") == 3
    tables.run("live")
    tables.run_file("live", file)
    assert tables.compare().is_equal


def test_what_was_damaged_in_a_table_of_every_type_is_undone(tables: Tables) -> None:
    fill_with_every_type(tables)
    tables.run("live", EVERY_TYPE, "INSERT INTO live.t (id) VALUES (1), (2), (0)")
    found, text = tables.undo("DELETE FROM t WHERE id = 0", "INSERT INTO t (id, raw) VALUES (9, '--')")
    assert counts(found) == (1, 1, 2)
    assert found.key == ("id",)
    assert not found.definition
    assert found.moment.low == found.moment.high
    assert [row.kind.value for row in found.examples] == ["missing", "changed", "changed", "added"]
    assert text.index("DELETE") < text.index("UPDATE") < text.index("INSERT")
    assert "-- now: id = 9, raw = X'2d2d'\nDELETE FROM `live`.`t` WHERE `id` = 9;" in text
    assert text.endswith("COMMIT;\n-- end: 4 statements\n")


CASES: dict[str, tuple[str, Sequence[str], Sequence[str], tuple[int, int, int]]] = {
    "text that a collation takes for equal": (
        "CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, v INT)",
        ["INSERT INTO t VALUES ('a',1),('B',2),('ä2',4),('_',5),('Z',6),('ß',7),('ssa',8),('a b',9)"],
        [
            "UPDATE t SET k = 'A' WHERE k = 'a'",
            "UPDATE t SET v = 9 WHERE k = '_'",
            "DELETE FROM t WHERE k = 'Z'",
            "INSERT INTO t VALUES ('zz', 1), ('😀', 3)",
        ],
        (1, 2, 2),
    ),
    "text that is padded": (
        "CREATE TABLE t (k VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci PRIMARY KEY, v INT)",
        ["INSERT INTO t VALUES ('a',1),('B',2),('c ',3),('ä2',4),('ß',7),('sta',8),('a b',9),('a-b',10)"],
        [
            "DELETE FROM t WHERE k = 'ß'",
            "INSERT INTO t VALUES ('c\\t', 3)",
            "UPDATE t SET v = 0 WHERE k = 'c'",
        ],
        (1, 1, 1),
    ),
    # One of the six collations whose index is in another order than what WEIGHT_STRING says of them.
    "text whose weights do not tell its order": (
        "CREATE TABLE t (k VARCHAR(20) CHARACTER SET latin7 COLLATE latin7_general_ci PRIMARY KEY, v INT)",
        ["INSERT INTO t VALUES ('a', 1), ('ß??-', 2), ('ß??', 3), ('ß??.', 4), ('z', 5)"],
        ["DELETE FROM t WHERE k = 'ß??-'", "UPDATE t SET v = 0 WHERE k = 'ß??'"],
        (1, 0, 1),
    ),
    "several columns, some of them downwards": (
        "CREATE TABLE t (a INT, b ENUM('z','y','x'), c TIME(3), d DECIMAL(8,2), v INT,"
        " PRIMARY KEY (c DESC, b, a DESC, d))",
        [
            "INSERT INTO t VALUES (1,'z','-10:00:00.5',-3.5,1), (2,'x','-10:00:00.5',-3.5,1),"
            " (2,'y','10:00',-3.5,1), (2,'y','10:00',12.5,1), (3,'y','9:00',2.5,1), (-3,'y','9:00',2.5,1)"
        ],
        ["UPDATE t SET v = 2", "DELETE FROM t WHERE a = 1"],
        (1, 0, 5),
    ),
    "many kinds of numbers and times": (
        "CREATE TABLE t (f FLOAT, d DOUBLE, b BIT(9), y YEAR, m DATETIME(2), s TIMESTAMP, r VARBINARY(10),"
        " c SET('a','b','c'), v INT, PRIMARY KEY (f, d, b, y, m, s, r, c))",
        [
            "INSERT INTO t VALUES (0.1,0.1,3,2000,'2020-01-01 10:00','2020-01-01 10:00:00','x','a,c',1),"
            " (-0.1,0.1,3,2000,'2020-01-01 10:00','2020-01-01 10:00:00','x','b',1),"
            " (1e30,0.1,3,2000,'2020-01-01 10:00','0000-00-00','x','',1)"
        ],
        ["UPDATE t SET v = 2", "DELETE FROM t WHERE f > 1"],
        (1, 0, 2),
    ),
    "the beginning of a text": (
        "CREATE TABLE t (b TEXT, v INT, PRIMARY KEY (b(3)))",
        ["INSERT INTO t VALUES ('abcd', 1), ('abdd', 2), ('b', 3), ('', 4)"],
        ["UPDATE t SET v = 2 WHERE v = 1", "DELETE FROM t WHERE b = ''", "INSERT INTO t VALUES ('ccc', 1)"],
        (1, 1, 1),
    ),
    "a key that the server made": (
        "CREATE TABLE t (v INT)",
        ["INSERT INTO t (v) VALUES (1), (2)"],
        ["DELETE FROM t WHERE v = 2"],
        (1, 0, 0),
    ),
    "a unique column, in partitions": (
        "CREATE TABLE t (u INT NOT NULL, v INT, UNIQUE (u)) PARTITION BY HASH (u) PARTITIONS 4",
        ["INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (9, 9), (6, 6)"],
        ["DELETE FROM t WHERE u = 9", "UPDATE t SET v = 7 WHERE u = 2"],
        (1, 0, 1),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_are_told_apart_by_a_key_of(tables: Tables, case: str) -> None:
    ddl, rows, damage, expected = CASES[case]
    hidden = "SET SESSION sql_generate_invisible_primary_key = ON"
    tables.both(*([hidden] if "server made" in case else []), ddl, *rows)
    assert tables.compare().is_equal
    found, _ = tables.undo(*damage)
    assert counts(found) == expected
    assert found.key


def test_rows_without_a_key_are_compared_as_often_as_they_are_there(tables: Tables) -> None:
    row = "(1, 'x', '{\"a\": 1}', 0.1, POINT(1, 2), STRING_TO_VECTOR('[1,2]'), 'z', '表')"
    other = row.replace("'x'", "'X'")
    tables.both(
        "CREATE TABLE t (a INT, s VARCHAR(9), j JSON, f FLOAT, g POINT, v VECTOR(2), b BLOB,"
        " l VARCHAR(9) CHARACTER SET cp932)",
        f"INSERT INTO t VALUES {row}, {row}, {row}, (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    found, text = tables.undo("DELETE FROM t WHERE a = 1 LIMIT 1", f"INSERT INTO t VALUES {other}, {other}")
    assert counts(found) == (1, 2, 0)
    assert found.key == ()
    assert any("no key" in note for note in found.notes)
    assert text.count(" LIMIT 1;") == 2


def test_more_rows_without_a_key_than_memory_is_meant_for_are_refused(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge: Callable[..., Any] = diff_compare.merge_as_multiset
    monkeypatch.setattr(
        diff_compare, "merge_as_multiset", lambda *rows, **more: merge(*rows, **more, most_open_bytes=10)
    )
    tables.both("CREATE TABLE t (a VARCHAR(30))", "INSERT INTO t VALUES ('1234567890'), ('2')")
    tables.run("live", "UPDATE t SET a = '9876543210'")
    file = tables.directory / "undo.sql"
    with pytest.raises(ServerUnsupported, match="has no key"):
        tables.compare(file)
    assert list(tables.directory.iterdir()) == []


def test_values_that_rows_exchanged_are_set_back_and_nothing_else_moves(tables: Tables) -> None:
    tables.both(
        "CREATE TABLE t (id INT PRIMARY KEY, mail VARCHAR(9) UNIQUE, v INT, seen TIMESTAMP(2) NOT NULL"
        " DEFAULT CURRENT_TIMESTAMP(2) ON UPDATE CURRENT_TIMESTAMP(2))",
        "INSERT INTO t VALUES (1, 'a', 1, '2020-1-1'), (2, 'b', 2, '2020-1-1'), (3, 'c', 3, '2020-1-1')",
        "CREATE TABLE child (id INT, FOREIGN KEY (id) REFERENCES t (id) ON DELETE CASCADE)",
        "INSERT INTO child VALUES (1), (2)",
        "CREATE TRIGGER watch BEFORE DELETE ON t FOR EACH ROW SET @seen = 1",
    )
    found, text = tables.undo(
        "UPDATE t SET mail = 'x' WHERE id = 1",
        "UPDATE t SET mail = 'a' WHERE id = 2",
        "UPDATE t SET mail = 'b' WHERE id = 1",
        "UPDATE t SET v = 7, seen = seen WHERE id = 3",
    )
    assert counts(found) == (0, 0, 3)
    assert "UPDATE `live`.`t` SET `v` = 3, `seen` = `seen` WHERE `id` = 3;" in text
    assert sorted(tables.rows("live", "SELECT id FROM child")) == [(1,), (2,)]
    assert found.notes == (
        "triggers fire at every statement: watch",
        "foreign keys refer to it: a DELETE may fail on rows of live.child, or take them along",
    )


def test_rows_that_refer_to_each_other_come_back_in_any_order(tables: Tables) -> None:
    tables.both(
        "CREATE TABLE t (id INT PRIMARY KEY, parent INT,"
        " FOREIGN KEY (parent) REFERENCES t (id) ON DELETE CASCADE)",
        "INSERT INTO t VALUES (5, NULL), (1, 5), (2, 1)",
    )
    found, _ = tables.undo("DELETE FROM t WHERE id = 5")
    assert counts(found) == (3, 0, 0)


def test_a_changed_definition_is_told_and_the_common_columns_are_compared(tables: Tables) -> None:
    tables.both(
        "CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(20), n DECIMAL(8,2), m DATETIME, gone INT, x INT)",
        "INSERT INTO t VALUES (1,'a',1.5,'2020-01-01',5,1), (2,'é',2,'2020-01-01',5,2), (3,'c',3,NULL,5,3)",
    )
    found, text = tables.undo(
        "UPDATE t SET n = 9 WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO t VALUES (7, 'x', 1, NULL, 1, 1)",
        "ALTER TABLE t MODIFY id BIGINT UNSIGNED NOT NULL, MODIFY s VARCHAR(30) CHARACTER SET latin1,"
        " MODIFY n DECIMAL(12,4), MODIFY m DATETIME(3), DROP COLUMN gone, ADD fresh INT NOT NULL DEFAULT 5,"
        " MODIFY x VARBINARY(9), ADD INDEX (n)",
    )
    assert counts(found) == (1, 1, 1)
    assert found.columns == ("id", "s", "n", "m")
    told = {(change.what, change.name): change for change in found.definition}
    assert [name for _, name in told] == ["id", "s", "n", "m", "gone", "x", "fresh", "n"]
    assert told["column", "n"].past == "decimal(8,2)"
    assert told["column", "n"].live == "decimal(12,4)"
    assert told["column", "gone"].live is None
    assert told["column", "fresh"].past is None
    assert [name for (what, name), change in told.items() if not change.compared] == ["gone", "x", "fresh"]
    assert "-- now: id = 7, s = 'x', n = 1.0000, x = X'31', fresh = 5\n" in text
    assert found.notes == ("values of columns that are gone or of another kind now are not in it: gone, x",)


def test_a_key_whose_collation_changed_still_tells_rows_apart(tables: Tables) -> None:
    tables.both(
        "CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, v INT)",
        "INSERT INTO t VALUES ('a', 1), ('ä2', 2), ('b', 3), ('Z', 4), ('_', 5)",
    )
    found, _ = tables.undo(
        "UPDATE t SET v = 5 WHERE k = 'b'",
        "DELETE FROM t WHERE k = 'Z'",
        "ALTER TABLE t MODIFY k VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin",
    )
    assert counts(found) == (1, 0, 1)
    assert found.key == ("k",)


def test_rows_in_an_order_that_is_not_ours_are_sorted_by_their_bytes(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan: Callable[..., Any] = diff_compare.plan_comparison
    asked: list[bool] = []

    def backwards(past: Any, live: Any, *, exact: bool) -> Any:
        asked.append(exact)
        made = plan(past, live, exact=exact)
        if not exact:
            for side in (made.past, made.live):
                object.__setattr__(side, "sql", f"{side.sql} DESC")
        return made

    monkeypatch.setattr(diff_compare, "plan_comparison", backwards)
    tables.both("CREATE TABLE t (k VARCHAR(9) PRIMARY KEY)", "INSERT INTO t VALUES ('a'), ('b'), ('c')")
    tables.run("live", "DELETE FROM t WHERE k = 'b'")
    file = tables.directory / "undo.sql"
    found = tables.compare(file)
    assert (counts(found), asked) == ((1, 0, 0), [False, True])
    assert found.examples[0].past == {"k": "b"}
    assert "VALUES ('b');" in file.read_text()


def test_the_live_side_is_one_moment_whatever_is_written_meanwhile(tables: Tables) -> None:
    tables.both("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 2)")
    written = False

    def opened() -> Session:
        """The past is opened first; when its rows are read, the snapshot of the other one is taken."""
        session = tables.ready()
        stream = session.stream

        def late(sql: str) -> Any:
            nonlocal written
            if not written:
                written = True
                tables.run("live", "UPDATE t SET v = 9", "INSERT INTO t VALUES (3, 3)")
            return stream(sql)

        session.stream = late
        return session

    sides = tables.sides()
    found = compare_tables(Sides(opened, sides.live, sides.past_table, sides.live_table))
    assert written
    assert found.is_equal
    assert counts(tables.compare()) == (0, 1, 2)


def test_rows_are_streamed_however_long_they_are(tables: Tables) -> None:
    long = 17 * 1024 * 1024
    tables.run(
        "past",
        "CREATE TABLE t (id INT PRIMARY KEY, data LONGBLOB)",
        f"INSERT INTO t VALUES (1, REPEAT('x', {long})), (2, NULL), (3, '')",
    )
    with closing(tables.ready()) as session:
        rows = [cells(packet) for packet in session.stream("SELECT id, data FROM past.t ORDER BY id")]
        assert rows == [[b"1", b"x" * long], [b"2", None], [b"3", b""]]
        assert session.query("SELECT 1 AS one") == [{"one": 1}]


def test_a_reader_that_stops_early_leaves_no_rows_to_the_next_statement(tables: Tables) -> None:
    with closing(tables.ready()) as session:
        rows = session.stream("SELECT 1 UNION SELECT 2 UNION SELECT 3")
        assert cells(next(rows)) == [b"1"]
        rows.close()
        with pytest.raises(Exception, match="cannot run a statement on scratch"):
            session.query("SELECT 1")


def test_no_table_and_a_view_are_told_as_what_they_are(tables: Tables) -> None:
    tables.both("CREATE TABLE t (id INT PRIMARY KEY)")
    tables.run("live", "RENAME TABLE t TO was", "CREATE VIEW t AS SELECT id FROM was")
    with pytest.raises(ServerUnsupported, match=r"live\.t is a view"):
        tables.compare()
    tables.run("live", "DROP VIEW t")
    with pytest.raises(NotFound, match=r"there is no table live\.t"):
        tables.compare()


def test_a_comparison_that_is_stopped_leaves_nothing(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_compare, "LOOK_UP_ROWS", 2)
    tables.both("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2), (3), (4), (5)")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        tables.compare(tables.directory / "undo.sql", cancelled=stop)
    assert list(tables.directory.iterdir()) == []


def test_differences_are_counted_in_full_and_shown_in_part(tables: Tables) -> None:
    tables.both("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2), (3), (4), (5)")
    tables.run("live", "DELETE FROM t")
    found = tables.compare(examples=2)
    assert (found.missing, found.past_rows, found.live_rows) == (5, 5, 0)
    assert [(row.kind, row.past, row.live) for row in found.examples] == [
        (Difference.MISSING, {"id": 1}, None),
        (Difference.MISSING, {"id": 2}, None),
    ]
