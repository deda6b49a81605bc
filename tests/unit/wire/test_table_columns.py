"""How values of columns are asked for, read, written again and sorted. A real server is asked elsewhere."""

from __future__ import annotations

import struct
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ServerUnsupported
from wire.binlog.json_values import Json
from wire.binlog.values import Geometry, Value, Vector
from wire.table_columns import form_of, is_no_member, sorting_of
from wire.table_definition import ColumnDefinition, IndexPart


def column(kind: str, **facts: object) -> ColumnDefinition:
    plain = ColumnDefinition(
        name="c",
        kind=kind,
        type=kind,
        charset=None,
        collation=None,
        characters=None,
        nullable=True,
        default=None,
        extra="",
        generated=False,
    )
    return replace(plain, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "raw", "value", "sql"),
    [
        ("bigint", b"-9223372036854775808", -(2**63), "-9223372036854775808"),
        ("int", b"000042", 42, "42"),
        ("year", b"0000", 0, "0"),
        ("decimal", b"-0.10", Decimal("-0.10"), "-0.10"),
        ("float", b"0.10000000149011612", 0.1, "0.1"),
        ("float", b"3.4028234663852886e38", 3.4028234663852886e38, "3.4028234663852886e+38"),
        ("double", b"-0", -0.0, "-0e0"),
        ("bit", b"\x10\x01", 4097, "4097"),
        ("blob", b"", b"", "X''"),
        ("varbinary", b"\xff'", b"\xff'", "X'ff27'"),
        ("date", b"0000-00-00", "0000-00-00", "'0000-00-00'"),
        ("time", b"-838:59:59.000001", "-838:59:59.000001", "'-838:59:59.000001'"),
        ("json", b'{"a": [1]}', Json({"a": [1]}), "'{\"a\": [1]}'"),
        ("point", b"\xe6\x10\0\0\1", Geometry(4326, b"\1"), "X'e610000001'"),
        ("vector", struct.pack("<2f", 1.5, -3.0), Vector((1.5, -3.0)), "X'0000c03f000040c0'"),
    ],
)
def test_a_value_is_read_and_written_exactly(kind: str, raw: bytes, value: Value, sql: str) -> None:
    form = form_of(column(kind))
    assert form.read(raw) == value
    assert form.write(raw) == sql
    assert (form.read(None), form.write(None)) == (None, "NULL")


@pytest.mark.parametrize(
    ("charset", "raw", "sql"),
    [
        ("utf8mb4", "it's 😀".encode(), "'it''s 😀'"),
        ("utf8mb4", b"a\\b", "_utf8mb4 X'615c62'"),
        ("utf8", "é".encode(), "'é'"),
        ("latin1", b"\xe9\x80", "'é€'"),
        ("utf16", "é".encode("utf-16-be"), "'é'"),
        ("cp932", b"abc", "'abc'"),
        ("cp932", b"\x95\x5c", "_cp932 X'955c'"),
        ("sjis", b"\x81\x5f", "_sjis X'815f'"),
        ("latin2", b"\xa3", "_latin2 X'a3'"),
        ("swe7", b"abc", "_swe7 X'616263'"),
        ("utf8mb4", b"\xff", "X'ff'"),
        ("binary", b"abc", "_binary X'616263'"),
    ],
)
def test_text_is_readable_where_that_is_exact_and_bytes_of_its_charset_elsewhere(
    charset: str, raw: bytes, sql: str
) -> None:
    assert form_of(column("varchar", charset=charset)).write(raw) == sql


def test_an_enum_without_a_member_is_zero_and_no_empty_text() -> None:
    choice = column("enum", charset="utf8mb4")
    form = form_of(choice)
    assert form.select == "IF(`c` + 0 = 0, X'00', `c`)"
    assert (form.read(b"\0"), form.write(b"\0")) == (0, "0")
    assert (form.read(b""), form.write(b"")) == ("", "''")
    assert is_no_member(choice, b"\0")
    assert not is_no_member(choice, b"")
    assert not is_no_member(column("varchar"), b"\0")


def test_a_type_that_is_not_known_is_refused() -> None:
    with pytest.raises(ServerUnsupported, match="column c has the type inet6"):
        form_of(column("inet6"))


@given(st.lists(st.integers(-3_020_399_000_000, 3_020_399_000_000), min_size=2, max_size=2, unique=True))
def test_times_are_ranked_as_the_spans_that_they_are(spans: list[int]) -> None:
    rank = sorting_of(column("time"), IndexPart("c", None)).rank
    texts = []
    for span in spans:
        seconds, micro = divmod(abs(span), 1_000_000)
        sign = "-" if span < 0 else ""
        texts.append(f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micro:06}")
    assert [rank(text.encode()) for text in texts] == spans


@pytest.mark.parametrize(
    ("collation", "exact", "select", "order"),
    [
        ("utf8mb4_0900_ai_ci", False, "WEIGHT_STRING(`c`)", "`c`"),
        ("latin1_swedish_ci", False, "WEIGHT_STRING(`c` AS CHAR(9))", "`c`"),
        ("latin1_swedish_ci", True, *["CAST(CONVERT(`c` USING utf8mb4) AS BINARY)"] * 2),
    ],
)
def test_text_is_sorted_by_what_its_collation_weighs(
    collation: str, exact: bool, select: str, order: str
) -> None:
    text = column("varchar", charset="latin1", collation=collation, characters=9)
    sorting = sorting_of(text, IndexPart("c", None), exact=exact)
    assert (sorting.select, sorting.order) == (select, order)


def test_the_beginning_of_a_column_is_sorted_by_that() -> None:
    text = column("text", charset="latin1", collation="latin1_bin", characters=65535)
    assert sorting_of(text, IndexPart("c", 3)).order == "WEIGHT_STRING(LEFT(`c`, 3) AS CHAR(3))"
    assert sorting_of(column("blob"), IndexPart("c", 3)).order == "LEFT(`c`, 3)"
