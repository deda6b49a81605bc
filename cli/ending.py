"""How a run ends: which exit code, and which two lines or which JSON object say why."""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import textwrap
import traceback
from dataclasses import asdict, dataclass, replace

import typer

from cli.invocation import Invocation
from fleet.errors import Cancelled, ToolError, UsageError

OUTPUT_GONE = 141
"""128 and SIGPIPE: what a shell reports for ``| head`` too."""

_OTHER_CODES = {
    0: "All went well.",
    1: "A bug in Backstay; please report it with the output of --debug.",
    OUTPUT_GONE: "Whoever read the output went away before its end.",
    143: "Stopped by SIGTERM; nothing half done stays behind.",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as programs see it: the ``error`` object of every JSON answer."""

    kind: str
    message: str
    hint: str | None
    exit_code: int
    retryable: bool

    @classmethod
    def of(cls, error: ToolError) -> Failure:
        """The failure that ``error`` is."""
        return cls(type(error).__name__, error.message, error.hint, error.exit_code, error.retryable)

    def lines(self, width: int | None = None) -> str:
        """What people read: the fact, and the way out if there is one; wrapped when there is a ``width``."""
        parts = [("error: ", self.message)] + ([("hint: ", self.hint)] if self.hint else [])
        return "\n".join(_wrapped(mark, text, width) for mark, text in parts)


def end(error: BaseException, invocation: Invocation) -> int:
    """Tell people, or programs, of ``error`` and return the exit code for it."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError) and _output_is_gone():
        return OUTPUT_GONE
    failure = failure_of(error, invocation)
    if isinstance(error, typer.Abort):
        sys.stderr.write("\n")  # the question's line is still open
    if invocation.debug:
        traceback.print_exception(error)
    if invocation.as_json:
        sys.stdout.write(json.dumps({"error": asdict(failure)}, indent=2) + "\n")
    tell(failure)
    return failure.exit_code


def tell(failure: Failure) -> None:
    """Print ``failure`` on stderr, for people."""
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    sys.stderr.write(failure.lines(width) + "\n")


def exit_codes() -> list[tuple[int, str]]:
    """Every exit code with its meaning: the first sentence of the error's own description."""
    meanings = dict(_OTHER_CODES)
    for kind in ToolError.__subclasses__():
        description = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        meanings[kind.exit_code] = description.partition(". ")[0].rstrip(".").replace("``", "`") + "."
    return sorted(meanings.items())


def failure_of(error: BaseException, invocation: Invocation) -> Failure:
    """What ``error`` is for people and programs; an error that nobody expected is a bug."""
    if isinstance(error, Cancelled):
        return replace(Failure.of(error), exit_code=invocation.interruption.exit_code(error))
    if isinstance(error, ToolError):
        return Failure.of(error)
    if isinstance(error, typer.TyperException):
        return Failure.of(_usage_error(error))
    if isinstance(error, typer.Abort):
        return Failure.of(Cancelled("no answer was given", hint="Use --yes to run without a question."))
    return Failure(
        kind=type(error).__name__,
        message=f"{type(error).__name__}: {error}: this is a bug, please report it with --debug",
        hint=None,
        exit_code=1,
        retryable=False,
    )


def _wrapped(mark: str, text: str, width: int | None) -> str:
    if width is None:
        return mark + text
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent=" " * len(mark), break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapper.fill(line) for line in (mark + text).splitlines())


def _usage_error(error: typer.TyperException) -> UsageError:
    message = error.format_message().strip().rstrip(".").replace("\n", " ").replace("\t", "")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "backstay"
    return UsageError(message[:1].lower() + message[1:], hint=f"Try: {path} --help")


def _output_is_gone() -> bool:
    """True when nobody reads our stdout any more; it is turned away, so that the last flush is quiet."""
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)
    if not poller.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
