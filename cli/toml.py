"""Writes plain values as TOML, so that ``config show`` prints what ``backstay.toml`` could hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LARGEST_INLINE = 2


def to_toml(values: Mapping[str, Any]) -> str:
    """TOML text of ``values``: scalars first, then tables. ``None`` has no form and is left out."""
    return "\n".join(_table(_set(values), ())).strip()


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {name: value for name, value in values.items() if _has_own_heading(value, path)}
    for name, value in values.items():
        if name not in tables:
            yield f"{_key(name)} = {_value(value)}"
    for name, value in tables.items():
        inner = (*path, _key(name))
        if isinstance(value, Mapping):
            if not value or not all(_has_own_heading(item, inner) for item in value.values()):
                yield f"\n[{'.'.join(inner)}]"
            yield from _table(value, inner)
            continue
        for item in value:
            yield f"\n[[{'.'.join(inner)}]]"
            yield from _table(item, inner)


def _set(value: Any) -> Any:
    """``value`` without what is not set."""
    if isinstance(value, Mapping):
        return {name: _set(item) for name, item in value.items() if item is not None}
    return [_set(item) for item in value] if _is_list(value) else value


def _has_own_heading(value: Any, path: tuple[str, ...]) -> bool:
    if isinstance(value, Mapping):
        is_small = len(value) <= _LARGEST_INLINE and not any(map(_is_nested, value.values()))
        return not (path and is_small)
    return _is_list(value) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or _is_list(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if _is_list(value):
        return f"[{', '.join(map(_value, value))}]"
    return _text(str(value))


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for surrogate pairs and for DEL, which must be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
