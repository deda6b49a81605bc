"""Rows decoded from a real server's binlog are what SELECT shows, for every type that MySQL has."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from infra.sandbox.scratch import ScratchServer
from wire.binlog.changes import Statement, changes
from wire.binlog.charsets import charset_of, decoder_for
from wire.binlog.describe import RowsChange, describe_transaction
from wire.binlog.events import ChecksumAlgorithm, EventType, parse_header
from wire.binlog.json_values import Json
from wire.binlog.rows import Row, RowReader
from wire.binlog.sql_export import PREAMBLE, export_sql
from wire.binlog.tablemap import parse_rows, parse_table_map
from wire.binlog.transactions import TransactionReader
from wire.binlog.values import Geometry, Value

pytestmark = pytest.mark.mysql

TWO_BYTES = {"big5", "cp932", "eucjpms", "euckr", "gb18030", "gb2312", "gbk", "sjis", "ujis"}
# A failure is told as it is found: shrinking it would take minutes of a real server.
PHASES = (Phase.explicit, Phase.generate)
CRC32 = ChecksumAlgorithm.CRC32
ROWS = {EventType.WRITE_ROWS, EventType.UPDATE_ROWS, EventType.DELETE_ROWS, EventType.PARTIAL_UPDATE_ROWS}

# Column: its type, how SELECT shows it exactly.
TEXT, NUMBER, HEX = "CAST({} AS CHAR)", "{}", "HEX({})"
GEOMETRY = "CONCAT(ST_SRID({0}), ':', HEX(ST_AsWKB({0}, 'axis-order=long-lat')))"
COLUMNS: dict[str, tuple[str, str]] = {
    "tiny": ("TINYINT", NUMBER),
    "tiny_u": ("TINYINT UNSIGNED", NUMBER),
    "small": ("SMALLINT", NUMBER),
    "small_u": ("SMALLINT UNSIGNED", NUMBER),
    "medium": ("MEDIUMINT", NUMBER),
    "medium_u": ("MEDIUMINT UNSIGNED", NUMBER),
    "whole": ("INT", NUMBER),
    "whole_u": ("INT UNSIGNED", NUMBER),
    "big": ("BIGINT", NUMBER),
    "big_u": ("BIGINT UNSIGNED", NUMBER),
    "flag": ("BOOLEAN", NUMBER),
    "price": ("DECIMAL(14,4)", NUMBER),
    "huge": ("DECIMAL(65,30)", NUMBER),
    "digit": ("DECIMAL(1,0) UNSIGNED", NUMBER),
    "single": ("FLOAT", "CAST({} AS DOUBLE)"),
    "twofold": ("DOUBLE", NUMBER),
    "bit_1": ("BIT(1)", "{}+0"),
    "bit_13": ("BIT(13)", "{}+0"),
    "bit_64": ("BIT(64)", "{}+0"),
    "mood": ("ENUM('glad','größer','it''s, so') CHARACTER SET latin1", TEXT),
    "tags": ("SET('a','b','ç','d','e','f','g','h','i')", TEXT),
    "fixed": ("CHAR(20)", TEXT),
    "fixed_long": ("CHAR(255)", TEXT),
    "short_text": ("VARCHAR(60)", TEXT),
    "long_text": ("VARCHAR(2000)", TEXT),
    "western": ("VARCHAR(60) CHARACTER SET latin1", TEXT),
    "wide": ("VARCHAR(60) CHARACTER SET utf16", TEXT),
    "chinese": ("VARCHAR(60) CHARACTER SET gb18030", TEXT),
    "note_tiny": ("TINYTEXT", TEXT),
    "note": ("TEXT", TEXT),
    "note_long": ("LONGTEXT", TEXT),
    "raw_fixed": ("BINARY(12)", HEX),
    "raw": ("VARBINARY(300)", HEX),
    "blob_tiny": ("TINYBLOB", HEX),
    "blob_medium": ("MEDIUMBLOB", HEX),
    "doc": ("JSON", TEXT),
    "born": ("DATE", TEXT),
    "lasted": ("TIME", TEXT),
    "lasted_2": ("TIME(2)", TEXT),
    "lasted_6": ("TIME(6)", TEXT),
    "made": ("DATETIME", TEXT),
    "made_1": ("DATETIME(1)", TEXT),
    "made_6": ("DATETIME(6)", TEXT),
    "stamped": ("TIMESTAMP NULL", TEXT),
    "stamped_3": ("TIMESTAMP(3) NULL", TEXT),
    "vintage": ("YEAR", NUMBER),
    "place": ("GEOMETRY", GEOMETRY),
    "spot": ("POINT SRID 4326", GEOMETRY),
    "embedding": ("VECTOR(3)", HEX),
    "last": ("VARCHAR(60) CHARACTER SET latin2", TEXT),
}

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15)
MICROSECONDS = st.integers(0, 999_999)
JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, width=32).map(float)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


def decimals(whole: int, fraction: int) -> st.SearchStrategy[Decimal]:
    limit = 10 ** (whole + fraction) - 1
    return st.integers(-limit, limit).map(
        lambda number: Decimal((number < 0, tuple(map(int, str(abs(number)))), -fraction))
    )


def spans(digits: int) -> st.SearchStrategy[str]:
    parts = st.tuples(
        st.sampled_from(("", "-")), st.integers(0, 837), st.integers(0, 59), st.integers(0, 59), MICROSECONDS
    )
    return parts.map(
        lambda p: f"{p[0]}{p[1]:02}:{p[2]:02}:{p[3]:02}" + (f".{p[4]:06}"[: digits + 1] if digits else "")
    )


def days() -> st.SearchStrategy[str]:
    odd = st.sampled_from(("0000-00-00", "2026-00-00", "2026-03-00", "9999-12-31", "0001-01-01"))
    return odd | st.dates().map(str)


def moments(digits: int) -> st.SearchStrategy[str]:
    clock = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), MICROSECONDS)
    text = clock.map(
        lambda c: f"{c[0]:02}:{c[1]:02}:{c[2]:02}" + (f".{c[3]:06}"[: digits + 1] if digits else "")
    )
    return st.tuples(days(), text).map(" ".join)


def stamps(digits: int) -> st.SearchStrategy[str]:
    from datetime import datetime

    inside = st.datetimes(datetime(1970, 1, 2), datetime(2038, 1, 18))  # noqa: DTZ001
    return st.just("0000-00-00 00:00:00") | inside.map(
        lambda at: f"{at:%Y-%m-%d %H:%M:%S}" + (f".{at.microsecond:06}"[: digits + 1] if digits else "")
    )


def points(longest: int, highest: int) -> st.SearchStrategy[bytes]:
    pair = st.tuples(st.integers(-longest + 1, longest), st.integers(-highest, highest))
    srid = 4326 if longest == 180 else 0
    return pair.map(lambda p: struct.pack("<IBIdd", srid, 1, 1, *map(float, p)))


SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "tiny": signed(8),
    "tiny_u": unsigned(8),
    "small": signed(16),
    "small_u": unsigned(16),
    "medium": signed(24),
    "medium_u": unsigned(24),
    "whole": signed(32),
    "whole_u": unsigned(32),
    "big": signed(64),
    "big_u": unsigned(64),
    "flag": st.booleans(),
    "price": decimals(10, 4),
    "huge": decimals(35, 30),
    "digit": st.integers(0, 9),
    "single": SINGLES,
    "twofold": st.floats(allow_nan=False, allow_infinity=False),
    "bit_1": unsigned(1),
    "bit_13": unsigned(13),
    "bit_64": unsigned(64),
    "mood": st.sampled_from(("glad", "größer", "it's, so")),
    "tags": st.sets(st.sampled_from("abçdefghi")).map(",".join),
    "fixed": TEXTS,
    "fixed_long": TEXTS,
    "short_text": TEXTS,
    "long_text": TEXTS,
    "western": st.text("aé€ß~ÿ", max_size=15),
    "wide": TEXTS,
    "chinese": st.text("中文😀aé", max_size=15),
    "note_tiny": TEXTS,
    "note": TEXTS,
    "note_long": TEXTS,
    "raw_fixed": st.binary(max_size=12),
    "raw": st.binary(max_size=300),
    "blob_tiny": st.binary(max_size=255),
    "blob_medium": st.binary(max_size=300),
    "doc": JSONS.map(json.dumps),
    "born": days(),
    "lasted": spans(0),
    "lasted_2": spans(2),
    "lasted_6": spans(6),
    "made": moments(0),
    "made_1": moments(1),
    "made_6": moments(6),
    "stamped": stamps(0),
    "stamped_3": stamps(3),
    "vintage": st.just(0) | st.integers(1901, 2155),
    "place": points(1_000_000, 1_000_000),
    "spot": points(180, 90),
    "embedding": st.tuples(SINGLES, SINGLES, SINGLES).map(lambda three: struct.pack("<3f", *three)),
    "last": st.text("aąŁ", max_size=15),
}
RECORDS = st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()})


class Table:
    """The table of all types on a real server, and the rows of its binlog."""

    def __init__(self, server: ScratchServer) -> None:
        self.server = server
        self.connection = server.connect()
        self.run("SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'")
        self.run("CREATE DATABASE app")

    def create(self) -> None:
        columns = ", ".join(f"`{name}` {kind} DEFAULT NULL" for name, (kind, _) in COLUMNS.items())
        self.run("DROP TABLE IF EXISTS app.every")
        self.run(f"CREATE TABLE app.every (id INT PRIMARY KEY, {columns}) ROW_FORMAT=DYNAMIC")
        self.start_log()

    def run(self, sql: str, args: Any = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, args)
            return list(cursor.fetchall())

    def start_log(self) -> None:
        self.run("FLUSH BINARY LOGS")

    def write(self, verb: str, number: int, record: dict[str, Any]) -> None:
        names = ", ".join(f"`{name}`" for name in ("id", *record))
        marks = ", ".join(["%s"] * (len(record) + 1))
        self.run(f"{verb} INTO app.every ({names}) VALUES ({marks})", (number, *record.values()))

    def selected(self) -> dict[int, dict[str, Any]]:
        shown = ", ".join(shape.format(f"`{name}`") for name, (_, shape) in COLUMNS.items())
        rows = self.run(f"SELECT id, {shown} FROM app.every ORDER BY id")
        return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows}

    def logged(self) -> list[Row]:
        """The rows of the newest binlog file; each event's count agrees with what was decoded."""
        return list(rows_of(self.log()))

    def log(self) -> bytes:
        """The newest binlog file."""
        return self.log_path().read_bytes()

    def log_path(self) -> Path:
        (newest, *_) = self.run("SHOW BINARY LOG STATUS")[0]
        return self.server.datadir / newest


def rows_of(log: bytes) -> Iterator[Row]:
    at, reader = 4, None
    while at < len(log):
        header = parse_header(log, at)
        event = memoryview(log)[at : at + header.length]
        at += header.length
        if header.type == EventType.TABLE_MAP:
            reader = RowReader(parse_table_map(event, CRC32))
        elif header.type in ROWS:
            assert reader is not None
            parsed = parse_rows(event, CRC32)
            rows = list(reader.rows(parsed))
            assert reader.count(parsed) == len(rows)
            yield from rows


def as_selected(name: str, value: Value) -> Any:
    """A decoded value in the form in which the SELECT of its column shows it."""
    kind, shape = COLUMNS[name]
    if value is None:
        return None
    if shape == GEOMETRY:
        assert isinstance(value, Geometry)
        return f"{value.srid}:{value.wkb.hex().upper()}"
    if kind.startswith("VECTOR"):
        return struct.pack("<3f", *value).hex().upper()  # type: ignore[misc]
    if shape == HEX:
        assert isinstance(value, bytes)
        return value.hex().upper()
    if kind == "FLOAT":
        return struct.unpack("<f", struct.pack("<f", value))[0]
    if kind == "JSON":
        assert isinstance(value, Json)
        return json.loads(str(value))
    return value


def same(image: Any, selected: dict[str, Any]) -> None:
    for name, expected in selected.items():
        shown = json.loads(expected) if COLUMNS[name][0] == "JSON" and expected is not None else expected
        assert as_selected(name, image[name]) == shown, name


@pytest.fixture(scope="module")
def table(mysql_distribution: Any, scratch_directory: Any) -> Iterator[Table]:
    import tempfile

    from infra.sandbox.scratch import start_scratch_server

    folder = Path(tempfile.mkdtemp(prefix="r", dir=scratch_directory))
    server = start_scratch_server(folder, mysql_distribution, owner=scratch_directory)
    yield Table(server)
    server.remove()


@settings(
    max_examples=8, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=list(HealthCheck)
)
@given(records=st.lists(RECORDS, min_size=6, max_size=12))
def test_every_value_is_what_select_shows(table: Table, records: list[dict[str, Any]]) -> None:
    table.create()
    for number, record in enumerate(records):
        table.write("INSERT", number, record)
    inserted = table.selected()
    # Each row takes the values of its neighbour: before and after are both known.
    for number, record in enumerate([*records[1:], records[0]]):
        settings_of = ", ".join(f"`{name}` = %s" for name in record)
        table.run(f"UPDATE app.every SET {settings_of} WHERE id = %s", (*record.values(), number))
    updated = table.selected()
    table.run("DELETE FROM app.every")

    rows = table.logged()
    writes = [row for row in rows if row.before is None]
    deletes = [row for row in rows if row.after is None]
    updates = [row for row in rows if row.before is not None and row.after is not None]
    assert len(writes) == len(deletes) == len(records)
    for row in writes:
        same(row.after, inserted[row.after["id"]])  # type: ignore[index]
    for row in updates:
        same(row.before, inserted[row.before["id"]])  # type: ignore[index]
        same(row.after, updated[row.after["id"]])  # type: ignore[index]
    for row in deletes:
        same(row.before, updated[row.before["id"]])  # type: ignore[index]


@settings(
    max_examples=4, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=list(HealthCheck)
)
@given(records=st.lists(RECORDS, min_size=4, max_size=8), keyless=st.booleans())
def test_the_exported_sql_makes_the_same_rows_again(
    table: Table, records: list[dict[str, Any]], keyless: bool
) -> None:
    table.create()
    if keyless:
        table.run("ALTER TABLE app.every DROP PRIMARY KEY")
    table.start_log()
    for number, record in enumerate(records):
        table.write("INSERT", number, record)
    doc, note = json.dumps([1, 'a"b']), "back\\slash 'quoted'"
    table.run("UPDATE app.every SET tiny = 7, note = %s, doc = %s WHERE id = 1", (note, doc))
    table.run("UPDATE app.every SET single = NULL, big = NULL WHERE id = 2")
    table.run("DELETE FROM app.every WHERE id = 0")
    expected = table.selected()
    log = table.log()
    statements = [
        statement
        for transaction in TransactionReader().feed(log, 0)
        for statement in export_sql(
            changes([log[transaction.start : transaction.start + transaction.length]])
        )
    ]
    table.run("DELETE FROM app.every")
    with table.server.connect() as connection, connection.cursor() as cursor:
        for statement in [*PREAMBLE, *statements]:
            if not statement.startswith("--"):
                cursor.execute(statement)
    assert table.selected() == expected


DEEDS = """
CREATE TABLE app.plain (x INT, t VARCHAR(20))
INSERT INTO app.plain VALUES (1,'a'),(2,'b'),(3,NULL)
UPDATE app.plain SET t = 'c' WHERE x < 3
SET binlog_row_image = MINIMAL
CREATE TABLE app.docs (id INT PRIMARY KEY, doc JSON, other JSON, n INT)
INSERT INTO app.docs VALUES (1, JSON_OBJECT('a', JSON_ARRAY(1, 2), 'p', REPEAT('x', 60)), '{"k": 1}', 1)
SET binlog_row_value_options = PARTIAL_JSON
UPDATE app.docs SET doc = JSON_SET(doc, '$.a[1]', 7), n = 2
SET binlog_row_image = FULL
UPDATE app.docs SET doc=JSON_REMOVE(JSON_ARRAY_INSERT(doc,'$.a[0]',TRUE),'$.p'), other=JSON_SET(other,'$.z',9)
SET binlog_transaction_compression = ON
INSERT INTO app.plain SELECT a.x, b.t FROM app.plain a, app.plain b, app.plain c, app.plain d
SET binlog_transaction_compression = OFF, binlog_rows_query_log_events = ON
DELETE FROM app.plain WHERE x = 3
SET binlog_rows_query_log_events = OFF
XA START 'shop', 'b1'
INSERT INTO app.plain VALUES (9, 'xa')
XA END 'shop', 'b1'
XA PREPARE 'shop', 'b1'
XA COMMIT 'shop', 'b1'
SET @who = 'é', @many = 3, binlog_format = STATEMENT
INSERT INTO app.plain VALUES (@many, @who)
SET binlog_format = ROW
DROP TABLE app.plain
"""


def test_a_transaction_is_described_with_the_counts_that_mysqlbinlog_shows(table: Table) -> None:
    table.create()
    for deed in DEEDS.strip().splitlines():
        table.run(deed)
    log = table.log()
    described = [
        describe_transaction([log[each.start : each.start + each.length]], most_rows=5)
        for each in TransactionReader().feed(log, 0)
    ]
    counts = Counter[str]()
    for detail in described:
        assert sum(len(part.rows) for part in detail.parts if isinstance(part, RowsChange)) == min(
            detail.rows, 5
        )
        for each in detail.counts:
            counts[f"{each.kind.name} {each.schema}.{each.table}"] += each.rows
    assert counts == shown_by_mysqlbinlog(table)

    partial, edited, compressed, deleted = described[5:9]
    (update,) = partial.parts
    assert isinstance(update, RowsChange)
    assert str(update.rows[0].after["doc"][0].path) == "$.a[1]"  # type: ignore[index,union-attr]
    (update,) = edited.parts
    assert isinstance(update, RowsChange)
    assert str(update.rows[0].after["doc"]) == '{"a": [true, 1, 7]}'  # type: ignore[index]
    assert str(update.rows[0].after["other"]) == '{"k": 1, "z": 9}'  # type: ignore[index]
    assert 0 < compressed.packed_bytes < compressed.plain_bytes
    assert compressed.counts[0].rows == 81
    (delete,) = deleted.parts
    assert isinstance(delete, RowsChange)
    assert (delete.query, delete.columns) == ("DELETE FROM app.plain WHERE x = 3", ("x", "t"))
    written = described[-2].parts[0]
    assert isinstance(written, Statement)
    assert written.settings == ("SET @`many` := 3", "SET @`who` := _utf8mb4 X'c3a9'")
    dropped = described[-1].parts[0]
    assert isinstance(dropped, Statement)
    assert dropped.text.startswith("DROP TABLE `app`.`plain`")


def shown_by_mysqlbinlog(table: Table) -> Counter[str]:
    tool = table.server.distribution.tool("mysqlbinlog")
    told = subprocess.run([tool, "-v", table.log_path()], check=True, capture_output=True, text=True)
    verbs = re.findall(
        r"^### (INSERT|UPDATE|DELETE)(?: INTO| FROM)? `(\w+)`\.`(\w+)`$", told.stdout, re.MULTILINE
    )
    return Counter(f"{verb} {schema}.{name}" for verb, schema, name in verbs)


def test_every_character_means_what_it_means_to_the_server(table: Table) -> None:
    """One and two bytes of each character set that is read; what Python cannot read stays bytes."""
    collations = {
        name: number
        for number, name in table.run("SELECT id, character_set_name FROM information_schema.collations")
    }
    for name, number in sorted(collations.items()):
        assert charset_of(number) in {name, None}
        if charset_of(number) is None or name.startswith(("utf", "ucs")):
            continue
        decode = decoder_for(number)
        assert decode is not None
        pairs = (
            [bytes((a, b)) for a in range(0x81, 0xFF) for b in range(0x40, 0xFF)] if name in TWO_BYTES else []
        )
        candidates = [*(bytes((one,)) for one in range(256)), *pairs]
        for at in range(0, len(candidates), 400):
            batch = candidates[at : at + 400]
            shown = ",".join(
                f"HEX(CONVERT(CONVERT(0x{raw.hex()} USING {name}) USING utf8mb4))" for raw in batch
            )
            for raw, answer in zip(batch, table.run(f"SELECT {shown}")[0], strict=True):
                meant = bytes.fromhex(answer or "").decode()
                # A question mark stands for what is no character, U+FFFD for one that Unicode lacks; and
                # what follows on a broken character is left out.
                if meant not in {"", "?", "\ufffd"}:
                    with suppress(UnicodeDecodeError):
                        read = decode(raw)
                        assert read == meant or len(read) > len(meant), (name, raw)


def test_all_collations_of_the_server_are_known(table: Table) -> None:
    collations = table.run("SELECT id, character_set_name FROM information_schema.collations")
    unread = {name for number, name in collations if charset_of(number) != name}
    assert unread == {"armscii8", "binary", "dec8", "geostd8", "keybcs2", "swe7"}


def test_edits_of_a_document_are_exported_as_edits(table: Table) -> None:
    """With minimal images the log has neither the old document nor the new one."""
    edited = "JSON_SET(doc, '$.a[1]', JSON_ARRAY(7), '$.x.n', 'it''s', '$.a[3]', TRUE)"
    with table.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS app.edited")
        cursor.execute("CREATE TABLE app.edited (id INT PRIMARY KEY, doc JSON)")
        old = json.dumps({"a": [1, 2, 3], "p": "z" * 80, "x": {"y": 1}})
        cursor.execute("INSERT INTO app.edited VALUES (1, %s)", (old,))
        table.start_log()
        cursor.execute("SET binlog_row_image = MINIMAL, binlog_row_value_options = PARTIAL_JSON")
        cursor.execute(f"UPDATE app.edited SET doc = JSON_REMOVE({edited}, '$.x.y')")
        new = table.run("SELECT doc FROM app.edited")
        log = table.log()
        (made,) = TransactionReader().feed(log, 0)
        statements = list(export_sql(changes([log[made.start : made.start + made.length]])))
        assert "JSON_ARRAY_INSERT(" in statements[2]
        cursor.execute("UPDATE app.edited SET doc = %s", (old,))
        for statement in [*PREAMBLE, *statements[1:]]:
            cursor.execute(statement)
    assert table.run("SELECT doc FROM app.edited") == new


def test_xa_transactions_are_exported_as_xa_transactions(table: Table) -> None:
    table.run("DROP TABLE IF EXISTS app.far")
    table.run("CREATE TABLE app.far (id INT PRIMARY KEY)")
    table.start_log()
    with table.server.connect() as connection, connection.cursor() as cursor:
        for number, end in enumerate(("COMMIT", "ROLLBACK"), start=1):
            cursor.execute(f"XA START 'x{number}', 'b', 5")
            cursor.execute("INSERT INTO app.far VALUES (%s)", (number,))
            cursor.execute(f"XA END 'x{number}', 'b', 5")
            cursor.execute(f"XA PREPARE 'x{number}', 'b', 5")
            cursor.execute("INSERT INTO app.far VALUES (%s)", (10 * number,))
            cursor.execute(f"XA {end} 'x{number}', 'b', 5")
        expected = table.run("SELECT id FROM app.far ORDER BY id")
        assert [number for (number,) in expected] == [1, 10, 20]
        log = table.log()
        found = TransactionReader().feed(log, 0)
        statements = [
            statement
            for each in found
            for statement in export_sql(changes([log[each.start : each.start + each.length]]))
        ]
        cursor.execute("DELETE FROM app.far")
        for statement in [*PREAMBLE, *statements]:
            if not statement.startswith("--"):
                cursor.execute(statement)
    assert table.run("SELECT id FROM app.far ORDER BY id") == expected


def test_a_table_made_by_select_is_exported_with_its_rows(table: Table) -> None:
    table.run("DROP TABLE IF EXISTS app.made, app.from_it")
    table.run("CREATE TABLE app.made (id INT PRIMARY KEY, name VARCHAR(9))")
    table.run("INSERT INTO app.made VALUES (1, 'a'), (2, 'b')")
    table.start_log()
    table.run("CREATE TABLE app.from_it AS SELECT id, name FROM app.made")
    log = table.log()
    (found,) = TransactionReader().feed(log, 0)
    statements = list(export_sql(changes([log[found.start : found.start + found.length]])))
    table.run("DROP TABLE app.from_it")
    with table.server.connect() as connection, connection.cursor() as cursor:
        for statement in [*PREAMBLE, *statements[1:]]:
            cursor.execute(statement)
    assert table.run("SELECT * FROM app.from_it ORDER BY id") == [(1, "a"), (2, "b")]
