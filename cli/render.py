"""The only printer: a frozen result becomes text for people or one JSON object for programs.

``cli/README.md`` lists the keys of every JSON object; they are the names of the result's fields.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, RenderableType

from cli.ending import Failure
from fleet.errors import ToolError

WIDEST = 100
"""Text on a very wide terminal stays together. A pipe gets long lines, so that ``grep`` sees whole ones."""

_PIPE_WIDTH = 400


def show(result: object, *, as_json: bool, failure: ToolError | None = None) -> None:
    """Print ``result`` on stdout; with a ``failure``, tell that too and end with its exit code.

    JSON is one object either way: a failure is its key ``error``.
    """
    if as_json:
        error = {} if failure is None else {"error": _plain(Failure.of(failure))}
        sys.stdout.write(json.dumps(_plain(result) | error, indent=2, ensure_ascii=False) + "\n")
    else:
        console().print(render_text(result))
    sys.stdout.flush()
    if failure is not None:
        sys.stderr.write(Failure.of(failure).lines() + "\n")
        raise typer.Exit(failure.exit_code)


@functools.singledispatch
def render_text(result: object) -> RenderableType:
    """What people read. Each command registers the text of its own result."""
    raise NotImplementedError(type(result).__name__)


def console(*, stderr: bool = False) -> Console:
    """A console for one of our two streams; colours only on a terminal, and never against ``NO_COLOR``."""
    stream = sys.stderr if stderr else sys.stdout
    made = Console(stderr=stderr, highlight=False, soft_wrap=False, emoji=False, markup=False)
    if not stream.isatty() and "COLUMNS" not in os.environ:
        made.width = _PIPE_WIDTH
    made.width = min(made.width, WIDEST) if stream.isatty() else made.width
    return made


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")
