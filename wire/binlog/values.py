"""The values of row events: bytes of one column to a Python value.

A value is fixed in width, or has its length before it (1 to 4 bytes); so a row can be stepped over without
reading its values. NULL is a bit of the row and never reaches this module.

Source: ``Field_*::pack`` in sql/field.cc and ``calc_field_size`` of libs/mysql/binlog/event, MySQL 9.7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from fleet.errors import BinlogUnreadable
from wire.binlog.charsets import BINARY, UTF8MB4, Decoder, decoder_for
from wire.binlog.json_values import Json, JsonEdits, decode_json
from wire.binlog.packed import decimal_width, decode_decimal, fraction_text, packed_datetime, packed_time
from wire.binlog.tablemap import Column, ColumnType


class Geometry(NamedTuple):
    """A geometry: its reference system, and its well-known binary with x (longitude) before y."""

    srid: int
    wkb: bytes


class Vector(tuple[float, ...]):
    """The single-precision components of a VECTOR."""

    __slots__ = ()


Value: TypeAlias = int | float | Decimal | str | bytes | Json | JsonEdits | Geometry | Vector | None
"""What a column holds. Times are texts as MySQL writes them (it has times that no calendar knows), TIMESTAMP
in UTC. Text in a character set that cannot be read, and binary strings, are bytes. ENUM and SET are text, or
numbers where the log does not name their members. A Json is a document, a JsonEdits what changed in one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a column's values lie in a row: ``fixed`` bytes, or a length of ``prefix`` bytes before each."""

    fixed: int
    prefix: int
    decode: Callable[[bytes], Value]


def layout_of(column: Column) -> Layout:
    """The layout of a column of a table map. Raises BinlogUnreadable for a type that is not known."""
    # The arrays of a multi-valued index are never logged; one that says it is one has no known form.
    kind, metadata = ColumnType.TYPED_ARRAY if column.is_array else column.type, column.metadata
    if kind in _INTEGERS:
        return _integer(_INTEGERS[kind], column.unsigned)
    if kind in _TEXTS:
        return _text(kind, metadata, BINARY if column.charset is None else column.charset)
    if kind in {ColumnType.ENUM, ColumnType.SET}:
        return _labelled(kind, metadata, _labels(column))
    if kind in _OTHERS and _is_possible(kind, metadata):
        return _OTHERS[kind](metadata)
    raise BinlogUnreadable(
        f"a column of type {kind} with metadata {metadata} is not known",
        hint="Tables made before MySQL 5.6.4 have such times; ALTER TABLE ... FORCE renews them.",
    )


_TIMES = {ColumnType.TIME2, ColumnType.DATETIME2, ColumnType.TIMESTAMP2}
_MOST_FRACTION = 6
_MOST_DIGITS = 65


def _is_possible(kind: int, metadata: int) -> bool:
    """What no server writes would be decoded into nonsense."""
    if kind == ColumnType.NEWDECIMAL:
        precision, scale = metadata >> 8, metadata & 0xFF
        return 0 < precision <= _MOST_DIGITS and scale <= precision
    return kind not in _TIMES or metadata <= _MOST_FRACTION


_INTEGERS: dict[int, int] = {
    ColumnType.TINY: 1,
    ColumnType.SHORT: 2,
    ColumnType.INT24: 3,
    ColumnType.LONG: 4,
    ColumnType.LONGLONG: 8,
}
_TEXTS = {ColumnType.VARCHAR, ColumnType.VAR_STRING, ColumnType.STRING, ColumnType.BLOB}


def _integer(width: int, unsigned: bool) -> Layout:
    def decode(raw: bytes) -> int:
        return int.from_bytes(raw, "little", signed=not unsigned)

    return Layout(width, 0, decode)


def _text(kind: int, metadata: int, collation: int) -> Layout:
    """VARCHAR, CHAR, TEXT and their binary kin, which differ by collation alone."""
    if kind == ColumnType.BLOB:
        return Layout(0, metadata, _text_decoder(collation))
    prefix = 1 if metadata <= 0xFF else 2
    if kind == ColumnType.STRING and collation == BINARY:
        # The log leaves out the zero bytes at the end of a BINARY(n).
        return Layout(0, prefix, lambda raw: raw.ljust(metadata, b"\0"))
    return Layout(0, prefix, _text_decoder(collation))


def _text_decoder(collation: int) -> Callable[[bytes], Value]:
    found = decoder_for(collation)
    if found is None:
        return bytes
    decode: Decoder = found

    def text(raw: bytes) -> str | bytes:
        try:
            return decode(raw)
        except UnicodeDecodeError:
            return raw

    return text


def _labels(column: Column) -> tuple[str, ...] | None:
    """The members of an ENUM or SET, which are logged in their own character set; None without them."""
    if column.texts is None:
        return None
    decode = decoder_for(UTF8MB4 if column.charset is None else column.charset)
    return tuple(_label(text, decode) for text in column.texts)


def _label(text: bytes, decode: Decoder | None) -> str:
    try:
        return text.decode("latin-1") if decode is None else decode(text)
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _labelled(kind: int, width: int, labels: tuple[str, ...] | None) -> Layout:
    def number(raw: bytes) -> int:
        return int.from_bytes(raw, "little")

    def member(raw: bytes) -> str | int:
        # Number 0 is what MySQL stores for a value that is no member.
        chosen = number(raw)
        return ("", *names)[chosen] if chosen <= len(names) else chosen

    def members(raw: bytes) -> str:
        bits = number(raw)
        return ",".join(name for at, name in enumerate(names) if bits >> at & 1)

    if labels is None:
        return Layout(width, 0, number)
    names = labels
    return Layout(width, 0, member if kind == ColumnType.ENUM else members)


_LARGEST_SINGLE = (2 - 2**-23) * 2.0**127


def single(raw: bytes) -> float:
    """A FLOAT as the shortest decimal that means it: 0.1 and not 0.10000000149011612."""
    (exact,) = struct.unpack("<f", raw)
    for digits in range(6, 10):
        short = float(f"{exact:.{digits}g}")
        # Rounded up, the largest one is out of range for the server.
        if abs(short) <= _LARGEST_SINGLE and struct.pack("<f", short) == raw:
            return short
    return exact


def _double(raw: bytes) -> float:
    return struct.unpack("<d", raw)[0]


def _bit(metadata: int) -> Layout:
    return Layout((metadata >> 8) + (metadata & 0xFF > 0), 0, lambda raw: int.from_bytes(raw, "big"))


def _geometry(raw: bytes) -> Geometry:
    return Geometry(int.from_bytes(raw[:4], "little"), raw[4:])


def _vector(raw: bytes) -> Vector:
    if len(raw) % 4:
        raise BinlogUnreadable(f"a VECTOR has {len(raw)} bytes, and should have four a component")
    return Vector(single(raw[at : at + 4]) for at in range(0, len(raw), 4))


def _decimal(metadata: int) -> Layout:
    precision, scale = metadata >> 8, metadata & 0xFF
    return Layout(decimal_width(precision, scale), 0, lambda raw: decode_decimal(raw, precision, scale))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _year(raw: bytes) -> int:
    return raw[0] + 1900 if raw[0] else 0


def _date(raw: bytes) -> str:
    packed = int.from_bytes(raw, "little")
    return f"{packed >> 9:04}-{packed >> 5 & 15:02}-{packed & 31:02}"


def _timed(width: int, text: Callable[[bytes, int], str]) -> Callable[[int], Layout]:
    """A time of ``width`` bytes, with its fraction of a second (metadata: 0 to 6 digits) behind it."""

    def layout(digits: int) -> Layout:
        return Layout(width + (digits + 1) // 2, 0, lambda raw: text(raw, digits))

    return layout


def _timestamp(raw: bytes, digits: int) -> str:
    seconds, micro = int.from_bytes(raw[:4], "big"), _micro(raw[4:])
    if not seconds and not micro:
        return f"0000-00-00 00:00:00{fraction_text(0, digits)}"
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}{fraction_text(micro, digits)}"


def _datetime(raw: bytes, digits: int) -> str:
    packed = int.from_bytes(raw[:5], "big") - (1 << 39)
    return packed_datetime((packed << 24) + _micro(raw[5:]), digits)


def _time(raw: bytes, digits: int) -> str:
    # The whole is one number around the middle of its range, so a negative time borrows from its seconds.
    width = len(raw)
    number = int.from_bytes(raw, "big") - (1 << (8 * width - 1))
    sign, number = ("-", -number) if number < 0 else ("", number)
    seconds, fraction = divmod(number, 1 << (8 * (width - 3)))
    micro = fraction * 10 ** (6 - 2 * (width - 3))
    return sign + packed_time((seconds << 24) + micro, digits)


def _micro(raw: bytes) -> int:
    """Microseconds of a fraction that is kept in 0 to 3 bytes: each holds two decimal digits more."""
    return int.from_bytes(raw, "big") * 10 ** (6 - 2 * len(raw))


_OTHERS: dict[int, Callable[[int], Layout]] = {
    ColumnType.FLOAT: lambda _: Layout(4, 0, single),
    ColumnType.DOUBLE: lambda _: Layout(8, 0, _double),
    ColumnType.NEWDECIMAL: _decimal,
    ColumnType.BIT: _bit,
    ColumnType.YEAR: lambda _: Layout(1, 0, _year),
    ColumnType.DATE: lambda _: Layout(3, 0, _date),
    ColumnType.TIME2: _timed(3, _time),
    ColumnType.DATETIME2: _timed(5, _datetime),
    ColumnType.TIMESTAMP2: _timed(4, _timestamp),
    ColumnType.JSON: lambda metadata: Layout(0, metadata, decode_json),
    ColumnType.GEOMETRY: lambda metadata: Layout(0, metadata, _geometry),
    ColumnType.VECTOR: lambda metadata: Layout(0, metadata, _vector),
}
