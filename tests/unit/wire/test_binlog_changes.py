"""Transactions told and exported, from binlog files of a real server; see tests/golden/binlogs."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import BinlogUnreadable
from fleet.transaction import Kind, Transaction
from wire.binlog.changes import Statement, changes, count_rows
from wire.binlog.describe import MOST_PARTS, RowsChange, TransactionDetail, describe_transaction
from wire.binlog.events import ChecksumAlgorithm
from wire.binlog.json_values import Json, JsonEdit, JsonEdits, Operation
from wire.binlog.search import holds_text
from wire.binlog.sql_export import export_sql
from wire.binlog.sql_literals import identifier, literal
from wire.binlog.transactions import TransactionReader
from wire.binlog.values import Geometry, Vector
from wire.binlog.walk import walk

FOLDER = Path(__file__).parents[2] / "golden" / "binlogs"
FILES = sorted(path.stem for path in FOLDER.glob("*.mysqlbinlog"))


def transactions(name: str) -> Iterator[tuple[Transaction, bytes]]:
    log = (FOLDER / f"{name}.binlog").read_bytes()
    for each in TransactionReader().feed(log, 0):
        yield each, log[each.start : each.start + each.length]


def details(name: str, most_rows: int = 100) -> list[TransactionDetail]:
    return [describe_transaction([events], most_rows=most_rows) for _, events in transactions(name)]


@pytest.mark.parametrize("name", FILES)
def test_rows_are_counted_as_mysqlbinlog_counts_them(name: str) -> None:
    printed = (FOLDER / f"{name}.mysqlbinlog").read_text()
    verbs = re.findall(r"^### (INSERT|UPDATE|DELETE)(?: INTO| FROM)? `(.+)`\.`(.+)`$", printed, re.MULTILINE)
    counted = Counter[tuple[str, str, str]]()
    for detail in details(name):
        for one in detail.counts:
            counted[str(one.kind.name), one.schema, one.table] += one.rows
    assert counted == Counter(verbs)


@pytest.mark.parametrize("name", FILES)
def test_a_transaction_is_told_alike_whole_and_in_pieces(name: str) -> None:
    for transaction, events in transactions(name):
        pieces = [events[at : at + length] for at, _, length in walk(events)]
        whole = describe_transaction([events])
        assert whole == describe_transaction(pieces)
        assert (whole.gtid, whole.committed_at_us) == (transaction.gtid, transaction.committed_at_us)
        assert whole.length == transaction.length
        assert (
            whole.rows
            == count_rows(pieces)
            == sum(len(p.rows) for p in whole.parts if isinstance(p, RowsChange))
        )


@pytest.mark.parametrize("most_rows", [0, 1, 3])
def test_no_more_rows_are_kept_than_asked_for_and_all_are_counted(most_rows: int) -> None:
    for few, all_of_them in zip(details("plain", most_rows), details("plain"), strict=True):
        assert few.counts == all_of_them.counts
        assert [part.count for part in few.parts if isinstance(part, RowsChange)] == [
            part.count for part in all_of_them.parts if isinstance(part, RowsChange)
        ]
        kept = [row for part in few.parts if isinstance(part, RowsChange) for row in part.rows]
        everything = [row for part in all_of_them.parts if isinstance(part, RowsChange) for row in part.rows]
        assert kept == everything[:most_rows]


def test_a_transaction_of_very_many_statements_is_told_by_its_first_ones() -> None:
    (events,) = [events for transaction, events in transactions("ddl")][:1]
    gtid, query = [events[at : at + length] for at, _, length in walk(events)]
    detail = describe_transaction([gtid, *[query] * (MOST_PARTS + 7)])
    assert (len(detail.parts), detail.parts_left_out) == (MOST_PARTS, 7)


def test_statements_come_with_their_schema_and_connection() -> None:
    statements = [part for detail in details("ddl") for part in detail.parts if isinstance(part, Statement)]
    assert any(one.text.startswith("CREATE TABLE") for one in statements)
    assert all(one.thread_id for one in statements)


def test_a_second_transaction_and_rows_without_a_map_are_refused() -> None:
    (_, first), (_, second) = list(transactions("plain"))[-2:]
    with pytest.raises(BinlogUnreadable, match="a second transaction follows"):
        describe_transaction([first, second])
    with pytest.raises(BinlogUnreadable, match="should begin here"):
        describe_transaction([])
    events = next(events for each, events in transactions("plain") if each.kinds & Kind.INSERT)
    maps_left_out = [events[at : at + length] for at, kind, length in walk(events) if kind != 19]
    with pytest.raises(BinlogUnreadable, match="which no table map describes"):
        describe_transaction(maps_left_out)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_transaction_is_read_or_refused_but_never_breaks_the_reader(name: str) -> None:
    chance = random.Random(name)
    checksum = ChecksumAlgorithm.NONE if name == "unchecked" else ChecksumAlgorithm.CRC32
    for _, events in transactions(name):
        for _ in range(40):
            damaged = bytearray(events)
            for _ in range(chance.randrange(1, 4)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            try:
                describe_transaction([bytes(damaged)], checksum)
                list(export_sql(changes([bytes(damaged)], checksum)))
            except BinlogUnreadable:
                continue


def test_text_is_found_in_rows_and_statements_compressed_or_not() -> None:
    assert any(holds_text([events], "CREATE TABLE") for _, events in transactions("ddl"))
    for name in ("plain", "compressed"):
        texts = {
            value
            for detail in details(name)
            for part in detail.parts
            if isinstance(part, RowsChange)
            for row in part.rows
            for value in (row.after or row.before or {}).values()
            if isinstance(value, str) and len(value) > 3
        }
        for text in texts:
            assert any(holds_text([events], text) for _, events in transactions(name)), text
    assert not any(holds_text([events], "nowhere to be found") for _, events in transactions("compressed"))


def test_the_bytes_of_headers_are_no_text() -> None:
    for _, events in transactions("plain"):
        timestamp = events[:4]
        if all(32 <= byte < 127 for byte in timestamp):
            assert not holds_text([events], timestamp.decode())


@pytest.mark.parametrize("name", FILES)
def test_the_export_is_one_statement_a_row_between_begin_and_commit(name: str) -> None:
    for _, events in transactions(name):
        lines = list(export_sql(changes([events])))
        assert lines[0].startswith("-- ")
        rows = [line for line in lines if re.match("INSERT|UPDATE|DELETE|-- a row", line)]
        assert len(rows) == count_rows([events]) or any(line.startswith("SET TIMESTAMP") for line in lines)
        is_xa = any(line.startswith("XA START ") for line in lines)
        assert ("BEGIN;" in lines) == ("COMMIT;" in lines) == (bool(count_rows([events])) and not is_xa)


def test_the_halves_of_an_xa_transaction_are_exported_apart() -> None:
    told = [list(export_sql(changes([events])))[1:] for _, events in transactions("xa")]
    verbs = [[" ".join(line.split()[:2]) for line in lines if line.startswith("XA ")] for lines in told]
    assert ["XA START", "XA END", "XA PREPARE"] in verbs
    assert ["XA COMMIT"] in verbs
    assert ["XA ROLLBACK"] in verbs
    assert ["XA START", "XA END", "XA COMMIT"] in verbs  # in one phase


def test_without_names_of_columns_the_export_says_so() -> None:
    told = [line for _, events in transactions("minimal") for line in export_sql(changes([events]))]
    assert any("the log has no names of columns" in line for line in told)
    assert "DELETE FROM `minimal`.`item` WHERE `@1` = 1 LIMIT 1;" in told


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "NULL"),
        (-5, "-5"),
        (0.1, "0.1"),
        ("it's", "'it''s'"),
        ("back\\slash", "_utf8mb4 X'6261636b5c736c617368'"),
        ("two\nlines", "'two\nlines'"),
        (b"\x00\xff", "X'00ff'"),
        (Json({"a": "x"}), '\'{"a": "x"}\''),
        (Geometry(4326, b"\x01"), "X'e610000001'"),
        (Vector([1.0]), "X'0000803f'"),
        (
            JsonEdits(
                [
                    JsonEdit(Operation.REPLACE, "$.a", Json(1)),
                    JsonEdit(Operation.INSERT, "$.b[0]", Json("x")),
                    JsonEdit(Operation.INSERT, "$.c", Json(None)),
                    JsonEdit(Operation.REMOVE, "$.d", None),
                ]
            ),
            "JSON_REMOVE(JSON_SET(JSON_ARRAY_INSERT(JSON_REPLACE(`doc`, '$.a', CAST('1' AS JSON)),"
            " '$.b[0]', CAST('\"x\"' AS JSON)), '$.c', CAST('null' AS JSON)), '$.d')",
        ),
    ],
)
def test_a_value_is_a_literal_whatever_the_sql_mode(value: object, said: str) -> None:
    assert literal(value, column="doc") == said  # type: ignore[arg-type]


def test_a_name_is_quoted() -> None:
    assert identifier("a`b") == "`a``b`"
