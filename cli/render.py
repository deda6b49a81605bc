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
from pydantic import BaseModel
from rich.console import Console, RenderableType

from cli.failure import failure_of, tell
from cli.invocation import invocation_of
from fleet.errors import ToolError
from fleet.transaction import Gtid

WIDEST = 100
"""Text on a very wide terminal stays together. A pipe gets long lines, so that ``grep`` sees whole ones."""

_PIPE_WIDTH = 400


def show(context: typer.Context, result: object, failure: ToolError | None = None) -> None:
    """Print ``result`` on stdout; with a ``failure``, tell that too and end with its exit code.

    JSON is one object either way: a failure is its key ``error``.
    """
    invocation = invocation_of(context)
    failed = None if failure is None else failure_of(failure, invocation)
    if invocation.as_json:
        show_json(result if failed is None else render_json(result) | {"error": render_json(failed)})
    else:
        show_text(result)
    if failed is not None:
        tell(failed)
        raise typer.Exit(failed.exit_code)


def show_json(result: object) -> None:
    """Print one JSON object."""
    sys.stdout.write(json.dumps(render_json(result), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def show_text(result: object, *, apart: bool = False) -> None:
    """Print what people read, ``apart`` from what was printed before. A plain text is never wrapped."""
    text = render_text(result)
    if not isinstance(text, str):
        with (screen := console()).capture() as captured:
            screen.print(text, crop=False)
        text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    sys.stdout.write(f"\n{text}\n" if apart else f"{text}\n")
    sys.stdout.flush()


@functools.singledispatch
def render_text(result: object) -> RenderableType:
    """The text of a result; each command registers its own."""
    raise NotImplementedError(type(result).__name__)


def console(*, stderr: bool = False) -> Console:
    """A console for one of our two streams; colours only on a terminal, and never against ``NO_COLOR``."""
    stream = sys.stderr if stderr else sys.stdout
    made = Console(stderr=stderr, highlight=False, soft_wrap=False, emoji=False, markup=False)
    if not stream.isatty() and "COLUMNS" not in os.environ:
        made.width = _PIPE_WIDTH
    made.width = min(made.width, WIDEST) if stream.isatty() else made.width
    return made


@functools.singledispatch
def render_json(value: Any) -> Any:
    """What programs read, as plain values: bytes, seconds, RFC 3339 times in UTC; keys are field names."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: render_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if named_fields := getattr(value, "_asdict", None):
        value = named_fields()
    if isinstance(value, Mapping):
        return {str(key): render_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render_json(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


@render_json.register
def _(value: float) -> float:
    return round(value, 3)


@render_json.register
def _(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


@render_json.register
def _(value: Gtid) -> str:
    return str(value)


@render_json.register
def _(value: Path) -> str:
    return str(value)
