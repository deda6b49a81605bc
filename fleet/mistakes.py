"""What pydantic found wrong with a config file, in the words of the person who wrote it.

Values are shown only where they cannot be secrets: never below a ``Secret``, never of an unknown key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fleet.model import Fleet
from fleet.nearest import nearest
from fleet.secrets import Secret
from fleet.section import NAME_PATTERN, Section

_TEXTS = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a text",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}

_LONGEST_VALUE_SHOWN = 60


def explain(error: ValidationError) -> list[str]:
    """One line a mistake: key path, colon, what is wrong."""
    errors = [details for details in error.errors() if not _only_follows(details, error.errors())]
    return [f"{path}: {text}" if path else text for details in errors for path, text in _lines(details)]


def _only_follows(details: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """A list whose every item is wrong counts as empty too; that it is not."""
    place = details["loc"]
    return details["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
    )


def _lines(details: ErrorDetails) -> Iterator[tuple[str, str]]:
    place, kind, context = details["loc"], details["type"], details.get("ctx", {})
    path = key_path(place)
    if kind == "mistakes":
        yield from cast(list[tuple[str, str]], context["mistakes"])
    elif kind == "mistake":
        yield path, context["text"]
    elif kind == "extra_forbidden":
        yield path, _unknown_key(place)
    elif kind == "string_pattern_mismatch" and context.get("pattern") == NAME_PATTERN:
        shown = _value(details) or "it"
        yield (
            path,
            f"{shown} is no name: letters, digits, '.', '_' and '-', at most 63, a letter or digit first",
        )
    else:
        text = _TEXTS.get(kind) or re.sub(r"^(Input|String|Value) should", "must", details["msg"])
        text = text.replace("greater than or equal to", "at least").replace(
            "less than or equal to", "at most"
        )
        shown = _value(details)
        yield path, f"{text}, is {shown}" if shown else text


def key_path(place: tuple[int | str, ...]) -> str:
    """``("shards", 0, "name")`` as ``shards[0].name``."""
    path = ""
    for part in place:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)
            path += f".{key}" if path else key
    return path


def _unknown_key(place: tuple[int | str, ...]) -> str:
    key, known = str(place[-1]), _sections_along(place)[-1].model_fields
    found = nearest(key, known, likeness=0.75)
    # A key below a [header] belongs to that table, however far above it was meant to stand.
    if not found and key in Fleet.model_fields:
        return "unknown key; it belongs to the top of the file, above the first [header]"
    found = found or nearest(key, known)
    return (
        f"unknown key, the nearest known is {found!r}"
        if found
        else f"unknown key, known are {', '.join(known)}"
    )


def _value(details: ErrorDetails) -> str | None:
    """The wrong value, if it is short and cannot be a secret."""
    value: Any = details["input"]
    if Secret in _sections_along(details["loc"]) or not isinstance(value, str | int | float):
        return None
    shown = json.dumps(value) if isinstance(value, bool) else repr(value)
    return shown if len(shown) <= _LONGEST_VALUE_SHOWN and value != "" else None


def _sections_along(place: tuple[int | str, ...]) -> list[type[Section]]:
    """The models that a key path leads through, beginning with Fleet."""
    sections: list[type[Section]] = [Fleet]
    for part in place:
        field = sections[-1].model_fields.get(str(part))
        if field and (inner := _section_in(field.annotation)):
            sections.append(inner)
    return sections


def _section_in(annotation: Any) -> type[Section] | None:
    """The model in ``Server``, ``Server | None`` or ``tuple[Server, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_in(inner))), None)
