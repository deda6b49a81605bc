"""Table maps and rows events: what the rows that follow look like, and where in the event they lie.

A table map says the columns' types, signedness and character sets; with ``binlog_row_metadata=FULL`` their
names, ENUM texts, primary key and visibility too. Rows events name the table by the number of its map; the
values themselves are decoded in ``rows``. Source: libs/mysql/binlog/event/rows_event.h and the fields'
``do_save_field_metadata`` in sql/field.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from wire.binlog.fields import Buffer, Fields
from wire.binlog.header import ChecksumAlgorithm, EventType, fields_of

DUMMY_TABLE_ID = 0xFFFFFF
"""A rows event with this table number and flag END_OF_STATEMENT has no rows: it ends a statement."""

END_OF_STATEMENT = 0x01
"""Rows flag: the maps of this statement are forgotten after this event."""

_ROWS_V1 = (EventType.WRITE_ROWS_V1, EventType.UPDATE_ROWS_V1, EventType.DELETE_ROWS_V1)
_ROWS_V2 = (
    EventType.WRITE_ROWS,
    EventType.UPDATE_ROWS,
    EventType.DELETE_ROWS,
    EventType.PARTIAL_UPDATE_ROWS,
)
_UPDATES = (EventType.UPDATE_ROWS_V1, EventType.UPDATE_ROWS, EventType.PARTIAL_UPDATE_ROWS)
_MOST_COLUMNS = 4096


class ColumnType(IntEnum):
    """``enum_field_types``; in a map ENUM and SET hide in STRING, and all blobs and texts are BLOB."""

    DECIMAL = 0
    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    NULL = 6
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    TIME = 11
    DATETIME = 12
    YEAR = 13
    NEWDATE = 14
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    TYPED_ARRAY = 20
    VECTOR = 242
    BOOL = 244
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    TINY_BLOB = 249
    MEDIUM_BLOB = 250
    LONG_BLOB = 251
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


_NUMERIC = frozenset((1, 2, 3, 4, 5, 8, 9, 246))
_CHARACTER = frozenset(
    (ColumnType.STRING, ColumnType.VAR_STRING, ColumnType.VARCHAR, ColumnType.BLOB, ColumnType.VECTOR)
)
_ENUM_OR_SET = frozenset((ColumnType.ENUM, ColumnType.SET))

_ONE_BYTE = frozenset((4, 5, 17, 18, 19, 242, 245, 249, 250, 251, 252, 255))
_LOW_FIRST = frozenset((ColumnType.VARCHAR, ColumnType.BIT))
_HIGH_FIRST = frozenset((246, 247, 248, 253, 254))


class _Optional(IntEnum):
    SIGNEDNESS = 1
    DEFAULT_CHARSET = 2
    COLUMN_CHARSET = 3
    NAMES = 4
    SET_TEXTS = 5
    ENUM_TEXTS = 6
    GEOMETRY_TYPES = 7
    PRIMARY_KEY = 8
    PRIMARY_KEY_WITH_PREFIX = 9
    ENUM_SET_DEFAULT_CHARSET = 10
    ENUM_SET_COLUMN_CHARSET = 11
    VISIBILITY = 12
    DIMENSIONS = 13


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``type`` is the real one: ENUM and SET, never the STRING that hides them.

    ``metadata`` by type: VARCHAR: most bytes; BLOB, JSON, GEOMETRY, VECTOR: bytes of the length in front;
    FLOAT, DOUBLE: its own bytes; the times with a 2: digits of the fraction; BIT: ``bytes << 8 | odd bits``;
    NEWDECIMAL: ``precision << 8 | scale``; ENUM and SET: bytes of the value; STRING: most bytes. Else 0.
    ``is_array``: of a multi-valued index, whose ``type`` is the elements'.
    ``name`` and ``visible`` are known with FULL row metadata, as are ``texts`` (of ENUM or SET, raw bytes).
    ``charset`` is a collation number.
    """

    type: int
    metadata: int = 0
    nullable: bool = True
    unsigned: bool = False
    charset: int | None = None
    name: str | None = None
    texts: tuple[bytes, ...] | None = None
    visible: bool = True
    geometry: int | None = None
    dimensions: int | None = None
    is_array: bool = False


@dataclass(frozen=True, slots=True)
class TableMap:
    """``primary_key``: column indexes, each with the length of its prefix (0: all); None if not logged."""

    table_id: int
    schema: str
    table: str
    columns: tuple[Column, ...]
    primary_key: tuple[tuple[int, int], ...] | None = None
    flags: int = 0

    @property
    def names(self) -> tuple[str, ...] | None:
        """The columns' names, or None without FULL row metadata."""
        names = tuple(column.name for column in self.columns if column.name is not None)
        return names if names and len(names) == len(self.columns) else None


@dataclass(frozen=True, slots=True)
class RowsEvent:
    """``before`` and ``after``: bitmaps of the columns that stand in the two images (lowest bit first).

    A write has ``after`` alone, a delete ``before`` alone (the other is empty). ``rows`` are the values, not
    decoded; a view into the event. ``extra`` is what NDB and partitioned tables add.
    """

    type: EventType
    table_id: int
    flags: int
    width: int
    before: bytes
    after: bytes
    rows: memoryview
    extra: bytes


@dataclass(slots=True)
class _Found:
    """Optional metadata while it is read: by column index."""

    unsigned: set[int] = field(default_factory=set[int])
    charset: dict[int, int] = field(default_factory=dict[int, int])
    name: dict[int, str] = field(default_factory=dict[int, str])
    texts: dict[int, tuple[bytes, ...]] = field(default_factory=dict[int, tuple[bytes, ...]])
    geometry: dict[int, int] = field(default_factory=dict[int, int])
    dimensions: dict[int, int] = field(default_factory=dict[int, int])
    hidden: set[int] = field(default_factory=set[int])
    primary_key: tuple[tuple[int, int], ...] | None = None


def parse_table_map(event: Buffer, checksum: ChecksumAlgorithm) -> TableMap:
    """Optional metadata that a newer server invented is passed over; everything else must fit exactly."""
    _, fields = fields_of(event, checksum, EventType.TABLE_MAP)
    table_id, flags = fields.number(6), fields.number(2)
    schema, table = _name(fields), _name(fields)
    columns = _take_columns(fields)
    found = _Found()
    while fields.remaining:
        kind = fields.number(1)
        value = Fields(fields.take(fields.packed()), f"optional metadata {kind} of {fields.what}")
        _read_optional(kind, value, columns, found)
    return TableMap(
        table_id,
        schema,
        table,
        tuple(_complete(index, column, found) for index, column in enumerate(columns)),
        found.primary_key,
        flags,
    )


def _name(fields: Fields) -> str:
    raw = fields.take(fields.packed())
    if fields.number(1) != 0:
        raise fields.refused(f"has no zero byte after the name {raw[:80]!r}")
    return raw.decode("utf-8", "replace")


def _take_columns(fields: Fields) -> list[Column]:
    count = fields.packed()
    if count > _MOST_COLUMNS:
        raise fields.refused(f"says that its table has {count} columns")
    types = fields.take(count)
    metadata = Fields(fields.take(fields.packed()), f"the column metadata of {fields.what}")
    columns = [_take_column(kind, metadata) for kind in types]
    metadata.finish()
    nullable = int.from_bytes(fields.take((count + 7) // 8), "little")
    return [
        Column(kind, number, bool(nullable >> index & 1), is_array=is_array)
        for index, (kind, number, is_array) in enumerate(columns)
    ]


def _take_column(kind: int, metadata: Fields) -> tuple[int, int, bool]:
    is_array = kind == ColumnType.TYPED_ARRAY
    if is_array:
        kind = metadata.number(1)
    if kind in _ONE_BYTE:
        return kind, metadata.number(1), is_array
    if kind in _LOW_FIRST:
        return kind, metadata.number(2), is_array
    if kind in _HIGH_FIRST:
        high, low = metadata.number(1), metadata.number(1)
        if kind == ColumnType.STRING:
            return *_real_string(metadata, high, low), is_array
        return kind, high << 8 | low, is_array
    return kind, 0, is_array


def _real_string(metadata: Fields, high: int, low: int) -> tuple[int, int]:
    """The first byte is the real type; two bits of it, inverted, are the high ones of a CHAR's length."""
    if high in _ENUM_OR_SET:
        return high, low
    if high | 0x30 not in (ColumnType.STRING, ColumnType.VAR_STRING):
        raise metadata.refused(f"hides a column of unknown type {high}")
    return ColumnType.STRING, low | ((high & 0x30) ^ 0x30) << 4


def _read_optional(kind: int, value: Fields, columns: list[Column], found: _Found) -> None:
    """What a newer server adds is passed over, as a replica does."""
    reads: dict[int, Callable[[], None]] = {
        _Optional.SIGNEDNESS: lambda: found.unsigned.update(_bits(value, _of(columns, _NUMERIC))),
        _Optional.DEFAULT_CHARSET: lambda: _default_charset(value, _of(columns, _CHARACTER), found.charset),
        _Optional.COLUMN_CHARSET: lambda: _each(value, _of(columns, _CHARACTER), found.charset),
        _Optional.NAMES: lambda: _names(value, columns, found.name),
        _Optional.SET_TEXTS: lambda: _texts(value, _of(columns, {ColumnType.SET}), found.texts),
        _Optional.ENUM_TEXTS: lambda: _texts(value, _of(columns, {ColumnType.ENUM}), found.texts),
        _Optional.GEOMETRY_TYPES: lambda: _each(value, _of(columns, {ColumnType.GEOMETRY}), found.geometry),
        _Optional.PRIMARY_KEY: lambda: _primary_key(value, columns, found, prefixed=False),
        _Optional.PRIMARY_KEY_WITH_PREFIX: lambda: _primary_key(value, columns, found, prefixed=True),
        _Optional.ENUM_SET_DEFAULT_CHARSET: lambda: _default_charset(
            value, _of(columns, _ENUM_OR_SET), found.charset
        ),
        _Optional.ENUM_SET_COLUMN_CHARSET: lambda: _each(value, _of(columns, _ENUM_OR_SET), found.charset),
        _Optional.VISIBILITY: lambda: found.hidden.update(
            set(range(len(columns))) - set(_bits(value, range(len(columns))))
        ),
        _Optional.DIMENSIONS: lambda: _each(value, _of(columns, {ColumnType.VECTOR}), found.dimensions),
    }
    if kind in reads:
        reads[kind]()
        value.finish()


def _of(columns: list[Column], kinds: frozenset[int] | set[ColumnType] | frozenset[ColumnType]) -> list[int]:
    return [index for index, column in enumerate(columns) if column.type in kinds]


def _bits(value: Fields, indexes: list[int] | range) -> Iterator[int]:
    """The indexes whose bit is set; the highest bit comes first."""
    raw = value.take((len(indexes) + 7) // 8)
    return (index for place, index in enumerate(indexes) if raw[place >> 3] & 0x80 >> (place & 7))


def _each(value: Fields, indexes: list[int], into: dict[int, int]) -> None:
    for index in indexes:
        into[index] = value.packed()


def _default_charset(value: Fields, indexes: list[int], into: dict[int, int]) -> None:
    """One for all, then pairs of place and number for the columns that have another."""
    default = value.packed()
    into.update(dict.fromkeys(indexes, default))
    while value.remaining:
        place, number = value.packed(), value.packed()
        if place >= len(indexes):
            raise value.refused(f"names character column {place} of {len(indexes)}")
        into[indexes[place]] = number


def _names(value: Fields, columns: list[Column], into: dict[int, str]) -> None:
    for index in range(len(columns)):
        into[index] = value.take(value.packed()).decode("utf-8", "replace")


def _texts(value: Fields, indexes: list[int], into: dict[int, tuple[bytes, ...]]) -> None:
    for index in indexes:
        into[index] = tuple(value.take(value.packed()) for _ in range(_at_most(value, value.packed())))


def _at_most(value: Fields, count: int) -> int:
    """``count`` texts need as many bytes at least; a count that lies reserves nothing."""
    if count > value.remaining:
        raise value.refused(f"says that {count} texts follow")
    return count


def _primary_key(value: Fields, columns: list[Column], found: _Found, *, prefixed: bool) -> None:
    key: list[tuple[int, int]] = []
    while value.remaining:
        index, prefix = value.packed(), value.packed() if prefixed else 0
        if index >= len(columns):
            raise value.refused(f"names column {index} of {len(columns)}")
        key.append((index, prefix))
    found.primary_key = tuple(key)


def _complete(index: int, column: Column, found: _Found) -> Column:
    return Column(
        type=column.type,
        metadata=column.metadata,
        nullable=column.nullable,
        unsigned=index in found.unsigned,
        charset=found.charset.get(index),
        name=found.name.get(index),
        texts=found.texts.get(index),
        visible=index not in found.hidden,
        geometry=found.geometry.get(index),
        dimensions=found.dimensions.get(index),
        is_array=column.is_array,
    )


def parse_rows(event: Buffer, checksum: ChecksumAlgorithm) -> RowsEvent:
    """Any rows event, of version 1 (MySQL 5.5) or 2; partial updates too."""
    header, fields = fields_of(event, checksum, *_ROWS_V1, *_ROWS_V2, name="rows")
    kind = EventType(header.type)
    table_id, flags = fields.number(6), fields.number(2)
    extra = b""
    if kind in _ROWS_V2:
        length = fields.number(2)
        if length < 2:
            raise fields.refused(f"says that its extra part has {length} bytes, itself included")
        extra = fields.take(length - 2)
    width = fields.packed()
    if width > _MOST_COLUMNS:
        raise fields.refused(f"says that its table has {width} columns")
    bitmap = fields.take((width + 7) // 8)
    before, after = bitmap, bitmap
    if kind in _UPDATES:
        after = fields.take((width + 7) // 8)
    elif kind in (EventType.WRITE_ROWS, EventType.WRITE_ROWS_V1):
        before = b""
    else:
        after = b""
    return RowsEvent(kind, table_id, flags, width, before, after, fields.rest_view(), extra)
