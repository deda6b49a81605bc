"""Writes plain values as TOML, so that ``config show`` prints what ``backstay.toml`` could hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def to_toml(values: Mapping[str, Any]) -> str:
    """TOML text of ``values``: scalars first, then tables. ``None`` has no form and is left out."""
    return "\n".join(_table(values, ())).strip()


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    present = {name: value for name, value in values.items() if value is not None}
    for name, value in present.items():
        if not _is_table(value) and not _is_list_of_tables(value):
            yield f"{_key(name)} = {_value(value)}"
    for name, value in present.items():
        inner = (*path, _key(name))
        if _is_table(value):
            yield f"\n[{'.'.join(inner)}]"
            yield from _table(value, inner)
        elif _is_list_of_tables(value):
            for item in value:
                yield f"\n[[{'.'.join(inner)}]]"
                yield from _table(item, inner)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and bool(value) and _is_table(value[0])


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_value(item) for item in value)}]"
    return _text(str(value))


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for surrogate pairs and for DEL, which must be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
