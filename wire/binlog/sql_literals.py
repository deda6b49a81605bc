"""Names and values as SQL. No literal depends on sql_mode, and only ``SET NAMES utf8mb4`` is assumed."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from wire.binlog.json_values import Json, JsonEdits, Operation
from wire.binlog.values import Geometry, Value, Vector

_AWKWARD = re.compile(r"[\\\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""A backslash means two things, by sql_mode; control characters (but tab and newline) get lost on the way."""

_EDITS = {Operation.REPLACE: "JSON_REPLACE", Operation.INSERT: "JSON_SET", Operation.REMOVE: "JSON_REMOVE"}


def identifier(name: str) -> str:
    """`name` in backticks."""
    return "`" + name.replace("`", "``") + "`"


def literal(value: Value, *, column: str = "") -> str:
    """The value as an expression. ``column`` is what edits of a JSON document are carried out on."""
    return _edited(value, column) if isinstance(value, JsonEdits) else _FORMS[type(value)](value)


def vector_bytes(value: Vector) -> bytes:
    """The server's own form of a VECTOR."""
    return struct.pack(f"<{len(value)}f", *value)


def _geometry(value: Geometry) -> str:
    # The server's own form: reference system, then WKB. No function with an opinion on axes is in between.
    return f"X'{value.srid.to_bytes(4, 'little').hex()}{value.wkb.hex()}'"


def json_literal(value: Json) -> str:
    """The document as an expression of type JSON, to compare with or to put into another."""
    return f"CAST({_quoted(str(value))} AS JSON)"


def text_literal(raw: bytes, charset: str) -> str:
    """Text in a character set, by its bytes."""
    return f"_{charset} X'{raw.hex()}'"


def is_awkward(text: str) -> bool:
    """Whether a text holds what can only be written by its bytes."""
    return _AWKWARD.search(text) is not None


def _quoted(text: str) -> str:
    if is_awkward(text):
        return text_literal(text.encode("utf-8", "surrogatepass"), "utf8mb4")
    return "'" + text.replace("'", "''") + "'"


def _number(value: float) -> str:
    # Without an exponent it is a DECIMAL, which knows no zero below zero.
    return "-0e0" if value == 0 and math.copysign(1, value) < 0 else repr(value)


_FORMS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "NULL",
    int: str,
    float: _number,
    Decimal: "{:f}".format,
    str: _quoted,
    bytes: lambda value: f"X'{value.hex()}'",
    Json: lambda value: _quoted(str(value)),
    Geometry: _geometry,
    Vector: lambda value: f"X'{vector_bytes(value).hex()}'",
}


def _edited(edits: JsonEdits, column: str) -> str:
    document = identifier(column)
    for edit in edits:
        cell = edit.operation is Operation.INSERT and edit.path.endswith("]")
        function = "JSON_ARRAY_INSERT" if cell else _EDITS[edit.operation]
        value = f", {json_literal(edit.value)}" if edit.value is not None else ""
        document = f"{function}({document}, {_quoted(edit.path)}{value})"
    return document
