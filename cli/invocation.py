"""What the options that every command takes have said."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import typer

from cli.interruption import Interruption


@dataclass(slots=True)
class Invocation:
    """One run of the command line. Filled by the options as they are read, from left to right."""

    config: Path | None = None
    as_json: bool = False
    debug: bool = False
    at_mirror: bool = False
    has_mirror: bool = False
    interruption: Interruption = field(default_factory=Interruption)


def invocation_of(context: typer.Context) -> Invocation:
    """The run that ``context`` belongs to."""
    invocation = context.find_root().obj
    assert isinstance(invocation, Invocation)
    return invocation
