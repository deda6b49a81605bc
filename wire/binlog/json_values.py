"""MySQL's binary JSON, whole documents and the edits of partial updates, to Python values and to text.

A document: ``type u8``, then the value. Objects and arrays: ``count | size | entries of keys (offset, u16
length) | entries of values (type u8, offset or the value itself) | keys | values``; their integers are u16 in
small ones and u32 in large ones, offsets count from the object's own beginning.
Source: sql-common/json_binary.h, json_diff.cc of MySQL 9.7.
"""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple, TypeAlias, cast

from fleet.errors import BinlogUnreadable
from wire.binlog.fields import Fields
from wire.binlog.packed import decode_decimal, packed_datetime, packed_time

JsonValue: TypeAlias = (
    "bool | int | float | str | Decimal | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)
"""Times and other opaque values are the texts that MySQL makes of them."""

DEEPEST = 100
"""MySQL refuses documents that are nested deeper."""


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON document; ``str`` gives its text with MySQL's spacing."""

    value: JsonValue

    def __str__(self) -> str:
        return json_text(self.value)


class Operation(IntEnum):
    """What an edit does at its path."""

    REPLACE = 0
    INSERT = 1
    REMOVE = 2


class JsonEdit(NamedTuple):
    """One change within a document; ``value`` is None for REMOVE."""

    operation: Operation
    path: str
    value: Json | None


class JsonEdits(tuple[JsonEdit, ...]):
    """What ``binlog_row_value_options=PARTIAL_JSON`` logs instead of the new document: edits, in order."""

    __slots__ = ()


def decode_json(raw: bytes) -> Json:
    """A document; raises BinlogUnreadable. Nothing at all is the JSON null, as for the server."""
    if not raw:
        return Json(None)
    try:
        return Json(_Document(raw).value(raw[0], 1, 0))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise BinlogUnreadable(f"a JSON document of {len(raw)} bytes is malformed: {error}") from error


def decode_json_edits(raw: bytes) -> JsonEdits:
    """The edits of one column; raises BinlogUnreadable."""
    fields = Fields(raw, "a partial JSON update")
    edits: list[JsonEdit] = []
    while fields.remaining:
        number = fields.number(1)
        if number > Operation.REMOVE:
            raise fields.refused(f"has the unknown operation {number}")
        operation = Operation(number)
        path = fields.take(fields.packed()).decode("utf-8", "replace")
        value = None if operation is Operation.REMOVE else decode_json(fields.take(fields.packed()))
        edits.append(JsonEdit(operation, path, value))
    return JsonEdits(edits)


class _Kind(IntEnum):
    SMALL_OBJECT = 0
    LARGE_OBJECT = 1
    SMALL_ARRAY = 2
    LARGE_ARRAY = 3
    LITERAL = 4
    INT16 = 5
    UINT16 = 6
    INT32 = 7
    UINT32 = 8
    INT64 = 9
    UINT64 = 10
    DOUBLE = 11
    STRING = 12
    OPAQUE = 15


_LITERALS = (None, True, False)
_NUMBERS = {
    _Kind.INT16: struct.Struct("<h"),
    _Kind.UINT16: struct.Struct("<H"),
    _Kind.INT32: struct.Struct("<i"),
    _Kind.UINT32: struct.Struct("<I"),
    _Kind.INT64: struct.Struct("<q"),
    _Kind.UINT64: struct.Struct("<Q"),
    _Kind.DOUBLE: struct.Struct("<d"),
}
_INLINE = {_Kind.LITERAL, _Kind.INT16, _Kind.UINT16}
_INLINE_LARGE = _INLINE | {_Kind.INT32, _Kind.UINT32}


class _Document:
    """Reads one document. ``_left`` bounds the work: a sound one has fewer values than bytes."""

    __slots__ = ("_data", "_left")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)

    def value(self, kind: int, at: int, depth: int) -> JsonValue:
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            raise BinlogUnreadable(f"a JSON document of {len(self._data)} bytes leads in circles")
        if kind in _NUMBERS:
            return cast("int | float", _NUMBERS[_Kind(kind)].unpack_from(self._data, at)[0])
        if kind == _Kind.LITERAL:
            return _LITERALS[self._data[at]]
        if kind == _Kind.STRING:
            return self._sized(at).decode()
        if kind == _Kind.OPAQUE:
            return opaque_value(self._data[at], self._sized(at + 1))
        if kind <= _Kind.LARGE_ARRAY:
            return self._container(kind, at, depth)
        raise BinlogUnreadable(f"a JSON document holds a value of the unknown type {kind}")

    def _container(self, kind: int, start: int, depth: int) -> JsonValue:
        width = 4 if kind & 1 else 2
        count = self._number(start, width)
        at = start + 2 * width
        keys: list[str] | None = None
        if kind <= _Kind.LARGE_OBJECT:
            keys = [self._key(start, at + index * (width + 2), width) for index in range(count)]
            at += count * (width + 2)
        values = [self._entry(start, at + index * (width + 1), width, depth + 1) for index in range(count)]
        return values if keys is None else dict(zip(keys, values, strict=True))

    def _key(self, start: int, at: int, width: int) -> str:
        offset = start + self._number(at, width)
        return self._take(offset, self._number(at + width, 2)).decode()

    def _entry(self, start: int, at: int, width: int, depth: int) -> JsonValue:
        kind = self._data[at]
        if kind in (_INLINE_LARGE if width == 4 else _INLINE):
            return self.value(kind, at + 1, depth)
        return self.value(kind, start + self._number(at + 1, width), depth)

    def _sized(self, at: int) -> bytes:
        """Bytes with their length before them: seven bits a byte, the top bit says that more follow."""
        length = shift = 0
        while True:
            byte = self._data[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return self._take(at, length)

    def _number(self, at: int, width: int) -> int:
        return int.from_bytes(self._take(at, width), "little")

    def _take(self, at: int, length: int) -> bytes:
        taken = self._data[at : at + length]
        if len(taken) < length:
            raise IndexError(f"{length} bytes wanted at {at}")
        return taken


_NEWDECIMAL = 246
_TIME = 11


def opaque_value(field_type: int, raw: bytes) -> Decimal | str:
    """A value that JSON itself does not have, from the type of the field it came from."""
    if field_type == _NEWDECIMAL:
        return decode_decimal(raw[2:], raw[0], raw[1])
    if field_type == _TIME:
        packed = int.from_bytes(raw, "little", signed=True)
        return ("-" if packed < 0 else "") + packed_time(abs(packed), 6)
    if field_type in _DATES:
        return _DATES[field_type](int.from_bytes(raw, "little", signed=True))
    return f"base64:type{field_type}:{b64encode(raw).decode()}"


_DATES: dict[int, Callable[[int], str]] = {
    7: lambda packed: packed_datetime(packed, 6),
    10: lambda packed: packed_datetime(packed, 0)[:10],
    12: lambda packed: packed_datetime(packed, 6),
}


def json_text(value: JsonValue) -> str:
    """The text of a document, as SELECT shows it (but for the digits of very large and small doubles)."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        return repr(value).replace("e+", "e")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(key)}: {json_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
