"""An error as people and programs are told of it: two lines, or one JSON object."""

from __future__ import annotations

import shutil
import sys
import textwrap
from dataclasses import dataclass, replace

import typer

from cli.invocation import Invocation
from fleet.errors import Cancelled, RepositoryMissing, ToolError, UsageError


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


def failure_of(error: BaseException, invocation: Invocation) -> Failure:
    """What ``error`` is for people and programs; an error that nobody expected is a bug."""
    if isinstance(error, Cancelled):
        return replace(Failure.of(error), exit_code=invocation.interruption.exit_code(error))
    if isinstance(error, RepositoryMissing) and error.hint == RepositoryMissing.way_out:
        return replace(Failure.of(error), hint=_where_nothing_is(invocation))
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


def tell(failure: Failure) -> None:
    """Print ``failure`` on stderr, for people."""
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    sys.stderr.write(failure.lines(width) + "\n")


def _wrapped(mark: str, text: str, width: int | None) -> str:
    if width is None:
        return mark + text
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent=" " * len(mark), break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapper.fill(line) for line in (mark + text).splitlines())


def _where_nothing_is(invocation: Invocation) -> str:
    """The way out where there is no repository: an empty folder in place of a lost one would be believed."""
    if invocation.at_mirror:
        return "Is the URL right, and the folder mounted? `backstay mirror run` fills a mirror."
    if invocation.has_mirror:
        return (
            "Is the URL right, and the folder mounted? With --from mirror the mirror is read in its place. "
            "`backstay init` makes a new, empty repository."
        )
    return RepositoryMissing.way_out


def _usage_error(error: typer.TyperException) -> UsageError:
    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "backstay"
    return UsageError(message[:1].lower() + message[1:], hint=f"Try: {path} --help")
