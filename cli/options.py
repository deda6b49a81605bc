"""The options that every command takes, at either end of the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

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


def _remember_mirror(context: typer.Context, value: str | None) -> None:
    if value is not None:
        invocation_of(context).at_mirror = True


def _reading(
    place: Annotated[
        Literal["mirror"] | None,
        typer.Option(
            "--from",
            metavar="mirror",
            help="Read the mirror; the repository itself is not asked.",
            callback=_remember_mirror,
            expose_value=False,
        ),
    ] = None,
) -> None:
    """As ``_shared``, for commands that read."""


def _ruling(
    place: Annotated[
        Literal["mirror"] | None,
        typer.Option(
            "--on",
            metavar="mirror",
            help="Do it in the mirror, by its retention; the repository itself is not asked.",
            callback=_remember_mirror,
            expose_value=False,
        ),
    ] = None,
) -> None:
    """As ``_shared``, for commands that change what is kept."""


_OF_PLACE: dict[str, Callable[..., None]] = {"--from": _reading, "--on": _ruling}


def shared_options() -> list[Any]:
    """New options, for one command. Their values go to the ``Invocation``, not to the command."""
    return _made(_shared)


def place_options(option: str | None) -> list[Any]:
    """``--from mirror`` or ``--on mirror``, for a command that can work on the mirror."""
    return _made(_OF_PLACE[option]) if option else []


def _made(declarations: Callable[..., None]) -> list[Any]:
    carrier = typer.Typer(add_completion=False)
    carrier.command()(declarations)
    return typer.main.get_command(carrier).params
