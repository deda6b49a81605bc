"""How the values of a column are asked for, so that nothing is lost, and what they are: as values, as SQL, as
something that sorts as the server sorts it.

The server answers in texts, and character sets as they are stored (``character_set_results = NULL``). A
FLOAT is asked for as the DOUBLE that it is, since its text has six digits; an ENUM that holds what is no
member answers a zero byte. A JSON document is its text: a date or a decimal within comes back as a string or
a double.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from fleet.errors import ServerUnsupported
from wire.binlog.charsets import decoder_named
from wire.binlog.json_values import Json
from wire.binlog.sql_literals import identifier, is_awkward, literal, text_literal
from wire.binlog.values import Geometry, Value, Vector, single
from wire.row_stream import Cell
from wire.table_definition import ColumnDefinition, IndexPart

_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint", "year"}
_BINARIES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
_TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}
_TIMES = {"date", "time", "datetime", "timestamp"}
_GEOMETRIES = {
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geomcollection",
    "geometrycollection",
}

_FAITHFUL = {"ascii", "latin1", "ucs2", "utf16", "utf16le", "utf32", "utf8", "utf8mb3", "utf8mb4"}
"""Character sets of which each text has one form in bytes: what is read may be written as Unicode."""

_NO_MEMBER = b"\0"

Domain: TypeAlias = Literal["number", "text", "bytes", "time", "other"]


@dataclass(frozen=True, slots=True)
class Form:
    """``select`` asks for a value; ``value`` and ``sql`` say what bytes of an answer are, and how to write
    them. ``domain`` tells which columns can be compared, though their types differ.
    """

    select: str
    domain: Domain
    value: Callable[[bytes], Value]
    sql: Callable[[bytes], str]

    def read(self, cell: Cell) -> Value:
        return None if cell is None else self.value(cell)

    def write(self, cell: Cell) -> str:
        return "NULL" if cell is None else self.sql(cell)


@dataclass(frozen=True, slots=True)
class Sorting:
    """A part of a key: ``select`` answers bytes that ``rank`` makes comparable, in the order of ``order``."""

    select: str
    order: str
    rank: Callable[[bytes], Any]


def form_of(column: ColumnDefinition) -> Form:
    """Raises ServerUnsupported for a type that is not known."""
    name, kind = identifier(column.name), column.kind
    if kind in _TEXTS:
        return _text(name, column.charset or "binary")
    if kind in {"enum", "set"}:
        return _member(name, kind, column.charset or "binary")
    if kind == "json":
        return Form(name, "text", lambda raw: Json(json.loads(raw)), lambda raw: literal(raw.decode()))
    if kind in _OTHERS:
        domain, value = _OTHERS[kind]
        select = f"CAST({name} AS DOUBLE)" if kind in {"float", "double"} else name
        return Form(select, domain, value, lambda raw: literal(value(raw)))
    raise ServerUnsupported(
        f"column {column.name} has the type {column.type}, which is not known",
        hint="Is there a newer Backstay?",
    )


def sorting_of(column: ColumnDefinition, part: IndexPart, *, exact: bool = False) -> Sorting:
    """How rows are put in the order of this part of an index, smallest first.

    Of its own accord a server sorts by the index itself. ``exact`` makes it sort by the very bytes that are
    compared here: slower, and the same on any two servers.
    """
    name, kind = identifier(column.name), column.kind
    if kind in _TEXTS:
        select = _weights(name, column, part) if not exact else _bytes(name, part)
        order = select if exact or part.prefix else name
        return Sorting(select, order, lambda raw: raw)
    if kind in {"enum", "set"}:
        return Sorting(f"({name} + 0)", f"({name} + 0)" if exact else name, int)
    if part.prefix:
        return Sorting(f"LEFT({name}, {part.prefix})", f"LEFT({name}, {part.prefix})", lambda raw: raw)
    form = form_of(column)
    return Sorting(form.select, name, _micro if kind == "time" else _RANKS.get(form.domain, form.value))


def _weights(name: str, column: ColumnDefinition, part: IndexPart) -> str:
    """What a collation compares. Padded, as those collations do that take no notice of spaces at the end.

    Of the 285 collations of MySQL 9.7 six keep their index in another order: big5_chinese_ci,
    cp1250_czech_cs, gb18030_chinese_ci, latin7_estonian_cs, latin7_general_ci and latin7_general_cs.
    """
    length = part.prefix or column.characters or 0
    shown = f"LEFT({name}, {part.prefix})" if part.prefix else name
    if "_0900_" in (column.collation or "") or column.collation == "binary":
        return f"WEIGHT_STRING({shown})"
    return f"WEIGHT_STRING({shown} AS CHAR({length}))"


def _bytes(name: str, part: IndexPart) -> str:
    shown = f"LEFT({name}, {part.prefix})" if part.prefix else name
    return f"CAST(CONVERT({shown} USING utf8mb4) AS BINARY)"


def _text(name: str, charset: str) -> Form:
    decode = decoder_named(charset)
    if decode is None:
        return Form(name, "text", bytes, lambda raw: text_literal(raw, charset))

    def value(raw: bytes) -> str | bytes:
        try:
            return decode(raw)
        except UnicodeDecodeError:
            return raw

    def sql(raw: bytes) -> str:
        text = value(raw)
        if isinstance(text, bytes):
            return literal(text)
        if charset in _FAITHFUL or (raw.isascii() and text.isascii() and not is_awkward(text)):
            return literal(text)
        return text_literal(raw, charset)

    return Form(name, "text", value, sql)


def _member(name: str, kind: str, charset: str) -> Form:
    text = _text(name, charset)
    if kind == "set":
        return text
    # Number 0 is what MySQL keeps for a value that is no member; as text it is like a member ''.
    return Form(
        f"IF({name} + 0 = 0, X'00', {name})",
        "text",
        lambda raw: 0 if raw == _NO_MEMBER else text.value(raw),
        lambda raw: "0" if raw == _NO_MEMBER else text.sql(raw),
    )


def is_no_member(column: ColumnDefinition, cell: Cell) -> bool:
    """Whether an ENUM holds what is no member; only a lenient sql_mode writes that again."""
    return column.kind == "enum" and cell == _NO_MEMBER


def _float(raw: bytes) -> float:
    return single(struct.pack("<f", float(raw)))


def _vector(raw: bytes) -> Vector:
    return Vector(single(raw[at : at + 4]) for at in range(0, len(raw), 4))


def _micro(raw: bytes) -> int:
    """A TIME in microseconds."""
    hours, minutes, seconds = raw.decode().lstrip("-").split(":")
    whole, _, fraction = seconds.partition(".")
    micro = ((int(hours) * 60 + int(minutes)) * 60 + int(whole)) * 1_000_000 + int(f"{fraction:0<6}")
    return -micro if raw.startswith(b"-") else micro


def _geometry(raw: bytes) -> Geometry:
    return Geometry(int.from_bytes(raw[:4], "little"), raw[4:])


_OTHERS: dict[str, tuple[Domain, Callable[[bytes], Value]]] = {
    **dict.fromkeys(_INTEGERS, ("number", int)),
    **dict.fromkeys(_GEOMETRIES, ("other", _geometry)),
    "float": ("number", _float),
    "double": ("number", float),
    "decimal": ("number", lambda raw: Decimal(raw.decode())),
    "bit": ("number", lambda raw: int.from_bytes(raw, "big")),
    "vector": ("other", _vector),
    **dict.fromkeys(_TIMES, ("time", lambda raw: raw.decode())),
    **dict.fromkeys(_BINARIES, ("bytes", bytes)),
}
# Times with their zeros before them sort as texts do.
_RANKS: dict[Domain, Callable[[bytes], Any]] = {"bytes": lambda raw: raw, "time": lambda raw: raw}
