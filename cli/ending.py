"""How a run ends: with which exit code, and what was told before."""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import traceback
from dataclasses import asdict

import typer

from cli.failure import failure_of, tell
from cli.invocation import Invocation
from fleet import errors
from fleet.errors import DiskFull, ToolError

OUTPUT_GONE = 141
"""128 and SIGPIPE: what a shell reports for ``| head`` too."""

_OTHER_CODES = {
    0: "All went well.",
    1: "A bug in Backstay; please report it with the output of --debug.",
    60: "`status` found something that needs attention, or that could not be asked.",
    61: "`status` found something critical.",
    OUTPUT_GONE: "Whoever read the output went away before its end.",
    143: "Stopped by SIGTERM; nothing half done stays behind.",
}


def end(error: BaseException, invocation: Invocation) -> int:
    """Tell people, or programs, of ``error`` and return the exit code for it."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError) and _output_is_gone():
        return OUTPUT_GONE
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        # The rooms map the disk's errors to their own, so this one is that of our output.
        _turn_output_away()
        error = DiskFull("the output could not be written: no space left on device")
        invocation.as_json = False
    failure = failure_of(error, invocation)
    if isinstance(error, typer.Abort):
        sys.stderr.write("\n")  # the question's line is still open
    if invocation.debug:
        traceback.print_exception(error)
    if invocation.as_json:
        sys.stdout.write(json.dumps({"error": asdict(failure)}, indent=2) + "\n")
    tell(failure)
    return failure.exit_code


def exit_codes() -> list[tuple[int, str]]:
    """Every exit code with its meaning: the first sentence of the error's own description."""
    meanings: dict[int, str] = {}
    for kind in error_kinds():
        description = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        meanings[kind.exit_code] = description.partition(". ")[0].rstrip(".").replace("``", "`") + "."
    return sorted((meanings | _OTHER_CODES).items())


def error_kinds() -> list[type[ToolError]]:
    """Every error that a user can meet."""
    known = vars(errors).values()
    return [kind for kind in known if isinstance(kind, type) and issubclass(kind, ToolError)]


def _output_is_gone() -> bool:
    """True when nobody reads our stdout any more; it is turned away then."""
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)
    if not poller.poll(0):
        return False
    _turn_output_away()
    return True


def _turn_output_away() -> None:
    """What is still buffered would fail once more when the process ends, with a code of Python's own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
