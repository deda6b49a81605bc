"""The options that every command takes, at either end of the line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from cli.invocation import invocation_of

_CONFIG_HELP = "The configuration. [default: $BACKSTAY_CONFIG, ./backstay.toml, /etc/backstay/backstay.toml]"


def _remember_config(context: typer.Context, value: Path | None) -> None:
    if value is not None:
        invocation_of(context).config = value


def _remember_json(context: typer.Context, value: bool) -> None:
    if value:
        invocation_of(context).as_json = True


def _remember_debug(context: typer.Context, value: bool) -> None:
    if value:
        invocation_of(context).debug = True


def _shared(
    config: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", metavar="FILE", help=_CONFIG_HELP, callback=_remember_config, expose_value=False
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object.", callback=_remember_json, expose_value=False),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Print the traceback of an error.", callback=_remember_debug, expose_value=False
        ),
    ] = False,
) -> None:
    """Carry the declarations; the callbacks keep the values."""


def shared_options() -> list[Any]:
    """New options, for one command. Their values go to the ``Invocation``, not to the command."""
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_shared)
    return typer.main.get_command(carrier).params
