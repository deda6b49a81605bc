"""The door: reads the command line, runs one command, and is the only place that ends the process."""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cli.ending import end
from cli.groups import build_group, help_if_alone
from cli.interruption import SIGNALS
from cli.invocation import Invocation, invocation_of
from cli.tree import Root

PROGRAM = "backstay"

_GARBAGE_EVERY = 10_000
"""Objects, where Python's own figure is 700: a manifest is thousands, and a fifth of planning was spent on
looking through them again and again.
"""


def _root_options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        number = version_of(PROGRAM)
        typer.echo(f'{{"version": "{number}"}}' if invocation_of(context).as_json else f"{PROGRAM} {number}")
        raise typer.Exit
    help_if_alone(context)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; never raises."""
    invocation = Invocation(as_json="--json" in arguments)
    try:
        code = _carry_out(arguments, invocation)
        # Here and not when the process ends: an output that cannot be written is a failure like others.
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 (whatever it is, it ends here, with a line and a code)
        return end(error, invocation)
    return code


def _carry_out(arguments: list[str], invocation: Invocation) -> int:
    root = build_group(Root, PROGRAM, callback=_root_options, completion=True)
    try:
        with (
            invocation.interruption.listening(),
            root.make_context(PROGRAM, arguments, obj=invocation) as context,
        ):
            root.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def main() -> NoReturn:
    """The ``backstay`` command."""
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        build_group(Root, PROGRAM, completion=True).main(prog_name=PROGRAM, obj=Invocation())
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - closed by the caller: `>&-`
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    gc.set_threshold(_GARBAGE_EVERY)
    code = run(sys.argv[1:])
    # The work is done and told: a signal that comes now must not make a success look like a death.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
