"""Values of row events. The bytes are those of MySQL's own sources and of a real server's binlog."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import BinlogUnreadable
from wire.binlog.charsets import BINARY, charset_of, decoder_for
from wire.binlog.packed import decimal_width, decode_decimal
from wire.binlog.tablemap import Column, ColumnType
from wire.binlog.values import Geometry, Vector, layout_of, single


def decoded(kind: int, metadata: int, raw: str, **facts: Any) -> object:
    layout = layout_of(Column(kind, metadata, **facts))
    data = bytes.fromhex(raw)
    assert layout.fixed in {0, len(data)}
    return layout.decode(data)


@pytest.mark.parametrize(
    ("raw", "precision", "scale", "value"),
    [
        ("810dfb38d204d2", 14, 4, "1234567890.1234"),
        ("7ef204c72dfb2d", 14, 4, "-1234567890.1234"),
        ("80", 1, 0, "0"),
        ("7f", 1, 1, "-0.0"),
    ],
)
def test_a_decimal_is_exact(raw: str, precision: int, scale: int, value: str) -> None:
    assert str(decode_decimal(bytes.fromhex(raw), precision, scale)) == str(Decimal(value))
    assert decimal_width(precision, scale) == len(raw) // 2


def test_the_widths_of_decimals_are_those_of_the_server() -> None:
    assert [decimal_width(p, s) for p, s in [(65, 30), (65, 0), (9, 9), (10, 1), (18, 9), (4, 2)]] == [
        30, 29, 4, 5, 8, 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "width", "signed", "unsigned"),
    [
        (ColumnType.TINY, 1, -1, 0xFF),
        (ColumnType.SHORT, 2, -1, 0xFFFF),
        (ColumnType.INT24, 3, -1, 0xFFFFFF),
        (ColumnType.LONG, 4, -1, 0xFFFFFFFF),
        (ColumnType.LONGLONG, 8, -1, 0xFFFFFFFFFFFFFFFF),
    ],
)
def test_the_metadata_tells_signed_from_unsigned(kind: int, width: int, signed: int, unsigned: int) -> None:
    assert decoded(kind, 0, "ff" * width) == signed
    assert decoded(kind, 0, "ff" * width, unsigned=True) == unsigned


@pytest.mark.parametrize(
    ("kind", "metadata", "raw", "text"),
    [
        (ColumnType.DATE, 0, "61d40f", "2026-03-01"),
        (ColumnType.DATE, 0, "000000", "0000-00-00"),
        (ColumnType.YEAR, 0, "7e", 2026),
        (ColumnType.YEAR, 0, "00", 0),
        (ColumnType.TIME2, 0, "800000", "00:00:00"),
        (ColumnType.TIME2, 0, "7fffff", "-00:00:01"),
        (ColumnType.TIME2, 2, "7ffffff6", "-00:00:00.10"),
        (ColumnType.TIME2, 6, "7fffffffffff", "-00:00:00.000001"),
        (ColumnType.TIME2, 0, "b46efb", "838:59:59"),
        (ColumnType.DATETIME2, 0, "8000000000", "0000-00-00 00:00:00"),
        (ColumnType.DATETIME2, 3, "99b94223c004ce", "2026-03-01 02:15:00.123"),
        (ColumnType.TIMESTAMP2, 0, "00000000", "0000-00-00 00:00:00"),
        (ColumnType.TIMESTAMP2, 6, "0000000100000a", "1970-01-01 00:00:01.000010"),
        (ColumnType.TIMESTAMP2, 1, "7fffffff5a", "2038-01-19 03:14:07.9"),
    ],
)
def test_a_time_is_the_text_that_mysql_shows(kind: int, metadata: int, raw: str, text: object) -> None:
    assert decoded(kind, metadata, raw) == text


def test_an_enum_is_its_label_and_a_number_where_the_log_has_no_labels() -> None:
    sizes = (b"s", b"m", "größer".encode())
    assert decoded(ColumnType.ENUM, 1, "03", texts=sizes, charset=255) == "größer"
    assert decoded(ColumnType.ENUM, 1, "00", texts=sizes) == ""
    assert decoded(ColumnType.ENUM, 1, "09", texts=sizes) == 9
    assert decoded(ColumnType.ENUM, 1, "02") == 2
    assert decoded(ColumnType.SET, 2, "0500", texts=(b"a", b"b", b"\xe9"), charset=8) == "a,é"
    assert decoded(ColumnType.SET, 2, "0500") == 5


def test_text_that_is_no_text_of_its_character_set_stays_bytes() -> None:
    assert decoded(ColumnType.VARCHAR, 255, "c3a9", charset=255) == "é"
    assert decoded(ColumnType.VARCHAR, 255, "c3", charset=255) == b"\xc3"
    assert decoded(ColumnType.VARCHAR, 255, "8081e9", charset=8) == "€\x81é"
    assert decoded(ColumnType.VARCHAR, 255, "c3a9", charset=BINARY) == b"\xc3\xa9"


def test_a_long_char_has_two_bytes_of_length_and_a_binary_its_zeros_back() -> None:
    long = layout_of(Column(ColumnType.STRING, 1020, charset=255))
    assert (long.fixed, long.prefix) == (0, 2)
    assert decoded(ColumnType.STRING, 4, "0a", charset=BINARY) == b"\n\0\0\0"


def test_bits_geometries_and_vectors() -> None:
    assert decoded(ColumnType.BIT, 0x0102, "02ff") == 0x2FF
    assert decoded(ColumnType.GEOMETRY, 4, "e6100000" + "0101") == Geometry(4326, b"\x01\x01")
    assert decoded(ColumnType.VECTOR, 4, struct.pack("<2f", 0.1, -3).hex()) == Vector([0.1, -3.0])


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_is_the_shortest_text_that_means_it(number: float) -> None:
    raw = struct.pack("<f", number)
    assert struct.pack("<f", single(raw)) == raw
    assert len(repr(single(raw))) <= len(repr(struct.unpack("<f", raw)[0]))


@pytest.mark.parametrize("kind", [7, 11, 12, 20, 243, 999])
def test_a_type_that_is_not_known_is_refused_by_its_number(kind: int) -> None:
    with pytest.raises(BinlogUnreadable, match=f"a column of type {kind} with metadata 6 is not known"):
        layout_of(Column(kind, 6))


def test_the_collations_that_people_use_have_their_character_sets() -> None:
    assert [charset_of(number) for number in (255, 45, 33, 8, 63, 46, 323, 3)] == [
        "utf8mb4", "utf8mb4", "utf8mb3", "latin1", None, "utf8mb4", "utf8mb4", None,
    ]  # fmt: skip
    assert all(decoder_for(number) for number in range(512) if charset_of(number))


@given(
    st.sampled_from(
        [kind for kind in ColumnType if kind not in {0, 6, 7, 11, 12, 14, 20, 244, 249, 250, 251}]
    ),
    st.integers(0, 0xFFFF),
    st.sampled_from([None, 8, 63, 255, 3]),
    st.binary(max_size=40),
)
def test_no_bytes_break_a_value(kind: int, metadata: int, charset: int | None, noise: bytes) -> None:
    try:
        layout = layout_of(Column(kind, metadata, charset=charset, texts=(b"a", b"\xff")))
        layout.decode(noise[: layout.fixed].ljust(layout.fixed, b"\x7f") if layout.fixed else noise)
    except BinlogUnreadable:
        pass


@pytest.mark.parametrize(("kind", "metadata"), [(ColumnType.NEWDECIMAL, 0x0501), (ColumnType.TIME2, 6)])
def test_metadata_that_no_server_writes_is_refused(kind: int, metadata: int) -> None:
    layout_of(Column(kind, metadata))
    with pytest.raises(BinlogUnreadable):
        layout_of(Column(kind, metadata + 9))
