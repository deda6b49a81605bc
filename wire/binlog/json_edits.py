"""Edits of a partial JSON update, carried out on the document that the before-image holds."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from fleet.errors import BinlogUnreadable
from wire.binlog.json_values import Json, JsonEdits, JsonValue, Operation

Leg = str | int
"""A member's name or a cell's number."""

_LEG = re.compile(r'\.(?:("(?:[^"\\]|\\.)*")|([^.\[\]"\s]+))|\[(\d+)\]')


def apply_edits(document: Json, edits: JsonEdits) -> Json:
    """The document after the edits. Raises BinlogUnreadable where they do not fit to it."""
    root = [_thawed(document.value)]
    for edit in edits:
        try:
            holder, leg = _seek(root, [0, *path_legs(edit.path)])
            if edit.operation is Operation.REMOVE:
                del holder[leg]
            elif edit.operation is Operation.INSERT and isinstance(holder, list):
                holder.insert(leg, _value_of(edit.value))
            else:
                if edit.operation is Operation.REPLACE:
                    _ = holder[leg]  # must be there
                holder[leg] = _value_of(edit.value)
                _sort_members(holder)
        except (LookupError, TypeError) as error:
            verb = edit.operation.name.lower()
            raise BinlogUnreadable(
                f"a partial JSON update does not fit to its document: {verb} {edit.path}"
            ) from error
    return Json(root[0])


def path_legs(path: str) -> list[Leg]:
    """``$.a[1]."b c"`` as ``["a", 1, "b c"]``; raises BinlogUnreadable."""
    legs: list[Leg] = []
    at = 1
    while at < len(path):
        found = _LEG.match(path, at)
        if found is None:
            break
        quoted, name, cell = found.groups()
        legs.append(json.loads(quoted) if quoted else name or int(cell))
        at = found.end()
    if not path.startswith("$") or at < len(path):
        raise BinlogUnreadable(f"a partial JSON update has the path {path[:80]!r}")
    return legs


def _seek(root: list[Any], legs: Sequence[Leg]) -> tuple[Any, Any]:
    """The container and the place in it that the last leg names."""
    holder: Any = root
    for leg in legs[:-1]:
        holder = holder[leg]
    if isinstance(holder, list) != isinstance(legs[-1], int):
        raise TypeError(legs[-1])
    return holder, legs[-1]


def _sort_members(holder: Any) -> None:
    """Members stand as MySQL keeps them: shorter names first, then by their bytes."""
    if isinstance(holder, dict):
        members = cast("dict[str, Any]", holder)
        ordered = sorted(members.items(), key=lambda item: (len(name := item[0].encode()), name))
        members.clear()
        members.update(ordered)


def _value_of(value: Json | None) -> Any:
    return None if value is None else _thawed(value.value)


def _thawed(value: JsonValue) -> Any:
    """A copy that may be changed."""
    if isinstance(value, dict):
        return {key: _thawed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_thawed(one) for one in value]
    return value
