"""Table maps with every kind of metadata, made by hand."""

from __future__ import annotations

import pytest

from fleet.errors import BinlogUnreadable
from wire.binlog.events import (
    ChecksumAlgorithm,
    Column,
    ColumnType,
    EventType,
    TableMap,
    make_event,
    parse_table_map,
)
from wire.binlog.fields import packed

NONE = ChecksumAlgorithm.NONE


def table(
    columns: list[tuple[int, bytes]], *optional: tuple[int, bytes], null: bytes | None = None
) -> TableMap:
    """``columns``: types and metadata as they stand in the event; ``optional``: number and value."""
    return parse_table_map(event(columns, *optional, null=null), NONE)


def event(columns: list[tuple[int, bytes]], *optional: tuple[int, bytes], null: bytes | None = None) -> bytes:
    metadata = b"".join(data for _, data in columns)
    body = (5).to_bytes(6, "little") + b"\1\0" + b"\3app\0" + b"\1t\0" + packed(len(columns))
    body += bytes(kind for kind, _ in columns) + packed(len(metadata)) + metadata
    body += bytes((len(columns) + 7) // 8) if null is None else null
    for number, value in optional:
        body += bytes((number,)) + packed(len(value)) + value
    return make_event(EventType.TABLE_MAP, body, checksum=NONE, log_pos=500)


LONG, TINY = (ColumnType.LONG, b""), (ColumnType.TINY, b"")
VARCHAR = (ColumnType.VARCHAR, b"\x40\1")
TEXT = (ColumnType.BLOB, b"\2")
ENUM, SET = (ColumnType.STRING, b"\xf7\1"), (ColumnType.STRING, b"\xf8\2")
POINT = (ColumnType.GEOMETRY, b"\4")
VECTOR = (ColumnType.VECTOR, b"\4")


def test_columns_have_their_real_types_and_metadata() -> None:
    found = table(
        [
            *(LONG, VARCHAR, TEXT, ENUM, SET),
            (ColumnType.NEWDECIMAL, b"\x0a\2"),
            (ColumnType.BIT, b"\3\1"),
            (ColumnType.DATETIME2, b"\6"),
            (ColumnType.DOUBLE, b"\x08"),
            (ColumnType.YEAR, b""),
            (ColumnType.STRING, b"\xfe\xff"),
            (ColumnType.STRING, b"\xee\x2c"),
            (ColumnType.JSON, b"\4"),
            (ColumnType.TYPED_ARRAY, bytes((ColumnType.VARCHAR,)) + b"\x10\0"),
            (ColumnType.TYPED_ARRAY, bytes((ColumnType.LONGLONG,))),
        ]
    )
    assert [(column.type, column.metadata) for column in found.columns] == [
        *((ColumnType.LONG, 0), (ColumnType.VARCHAR, 320), (ColumnType.BLOB, 2)),
        *((ColumnType.ENUM, 1), (ColumnType.SET, 2), (ColumnType.NEWDECIMAL, 10 << 8 | 2)),
        *(
            (ColumnType.BIT, 1 << 8 | 3),
            (ColumnType.DATETIME2, 6),
            (ColumnType.DOUBLE, 8),
            (ColumnType.YEAR, 0),
        ),
        *((ColumnType.STRING, 255), (ColumnType.STRING, 300), (ColumnType.JSON, 4)),
        *((ColumnType.VARCHAR, 16), (ColumnType.LONGLONG, 0)),
    ]
    assert [column.is_array for column in found.columns] == [False] * 13 + [True] * 2
    assert (found.table_id, found.schema, found.table, found.flags) == (5, "app", "t", 1)
    assert (found.names, found.primary_key) == (None, None)


def test_nullable_columns_are_the_low_bits_first() -> None:
    found = table([LONG] * 10, null=b"\x05\x02")
    assert [index for index, column in enumerate(found.columns) if column.nullable] == [0, 2, 9]


def test_signedness_counts_numeric_columns_alone_high_bits_first() -> None:
    found = table([LONG, VARCHAR, TINY, (ColumnType.YEAR, b""), LONG], (1, b"\xa0"))
    assert [column.unsigned for column in found.columns] == [True, False, False, False, True]


def test_character_sets_are_given_for_each_or_by_default() -> None:
    columns = [VARCHAR, LONG, TEXT, ENUM, SET, VARCHAR]
    each = table(columns, (3, packed(255) + b"\x3f\x21"), (11, b"\x08\x2d"))
    assert [column.charset for column in each.columns] == [255, None, 63, 8, 45, 33]
    default = table(columns, (2, b"\x2d" + b"\1\x3f"), (10, b"\x08\1\x2d"))
    assert [column.charset for column in default.columns] == [45, None, 63, 8, 45, 45]


def test_full_metadata_names_everything() -> None:
    found = table(
        [LONG, ENUM, SET, POINT, VECTOR],
        (4, b"\2id\1e\1s\1p\1v"),
        (6, b"\2\1a\2bc"),
        (5, b"\1\1x"),
        (7, b"\1"),
        (13, packed(2048)),
        (8, b"\0"),
        (12, b"\xf0"),
    )
    assert found.names == ("id", "e", "s", "p", "v")
    assert found.columns[1].texts == (b"a", b"bc")
    assert found.columns[2].texts == (b"x",)
    assert (found.columns[3].geometry, found.columns[4].dimensions) == (1, 2048)
    assert found.primary_key == ((0, 0),)
    assert [column.visible for column in found.columns] == [True, True, True, True, False]
    assert table([LONG, TEXT], (9, b"\1\x0a\0\0")).primary_key == ((1, 10), (0, 0))


def test_metadata_that_a_newer_server_invents_is_passed_over() -> None:
    assert table([LONG], (99, b"what ever"), (1, b"\x80")).columns == (
        Column(ColumnType.LONG, nullable=False, unsigned=True),
    )


@pytest.mark.parametrize(
    ("columns", "optional", "match"),
    [
        ([LONG], (1, b""), "optional metadata 1 of a TABLE_MAP event at .* is truncated"),
        ([LONG], (1, b"\x80\0"), "optional metadata 1 .* has 1 bytes too many"),
        ([LONG], (4, b"\5id"), "optional metadata 4 .* is truncated"),
        ([LONG], (8, b"\1"), "names column 1 of 1"),
        ([VARCHAR], (2, b"\x2d\1\x2d"), "names character column 1 of 1"),
        ([ENUM], (6, b"\xfd\xff\xff\xff"), "says that 16777215 texts follow"),
        (
            [(ColumnType.VARCHAR, b"\1")],
            (99, b""),
            "the column metadata of a TABLE_MAP event at .* is truncated",
        ),
        ([(ColumnType.LONG, b"\1")], (99, b""), "the column metadata .* has 1 bytes too many"),
        ([(ColumnType.STRING, b"\x01\1")], (99, b""), "hides a column of unknown type 1"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(
    columns: list[tuple[int, bytes]], optional: tuple[int, bytes], match: str
) -> None:
    with pytest.raises(BinlogUnreadable, match=match):
        table(columns, optional)


def test_a_map_that_lies_about_its_columns_or_names_is_refused() -> None:
    good = event([LONG, VARCHAR])
    body = good[19:]
    for changed, match in (
        (body[:16] + b"\xfc\xff\xff" + body[17:], "65535 columns"),
        (body[:16] + b"\xff" + body[17:], "255 where a packed integer"),
        (body[:8] + b"\x09" + body[9:], "truncated|no zero byte"),
        (body[:12] + b"x" + body[13:], "no zero byte after the name b'app'"),
        (body[:-1], "truncated"),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            parse_table_map(make_event(EventType.TABLE_MAP, changed, checksum=NONE), NONE)
