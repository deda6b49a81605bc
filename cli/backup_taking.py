"""Backups of some shards, one after the other: what ``backup full`` and ``backup incremental`` share."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol, TypeAlias

import typer

from backup.result import BackupResult
from cli.configured import complete_servers, complete_shards
from cli.failure import failure_of
from cli.invocation import Invocation, invocation_of
from cli.progress import Display
from cli.render import show, show_text
from cli.text_backup_taken import BackupsTaken
from fleet.errors import Cancelled, ToolError, UsageError
from fleet.model import Fleet
from fleet.progress import Progress

Shards: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="SHARD", help="The shards; or take --all.", autocompletion=complete_shards),
]
Every: TypeAlias = Annotated[bool, typer.Option("--all", help="Back up every shard of the fleet.")]
Donor: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--donor",
        metavar="SERVER",
        help="Copy from this server, not from the one that the policy chooses.",
        autocompletion=complete_servers,
    ),
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Print plan and checks; copy nothing.")]


class Take(Protocol):
    """Take a backup of one shard. Raises ``ToolError``."""

    def __call__(self, shard: str, *, progress: Progress, cancelled: threading.Event) -> BackupResult: ...


def chosen(fleet: Fleet, shards: Sequence[str], *, every: bool, donor: str | None) -> list[str]:
    """The shards that the command line names, each once. Raises ``UsageError``, ``NotFound``."""
    if every == bool(shards):
        fact = "shards are named, and --all is given" if every else "no shard is named"
        raise UsageError(fact, hint="Name some shards, or give --all.")
    names = (
        [shard.name for shard in fleet.shards]
        if every
        else list(dict.fromkeys(fleet.shard(name).name for name in shards))
    )
    if donor is not None and len(names) > 1:
        raise UsageError(f"--donor {donor} cannot serve {len(names)} shards", hint="Name one shard.")
    return names


def take_backups(context: typer.Context, names: Sequence[str], take: Take) -> None:
    """Take a backup of each shard, and answer. A shard that fails does not keep the others from theirs."""
    invocation = invocation_of(context)
    backups, errors = _take_all(invocation, names, take)
    failed = {name: failure_of(error, invocation) for name, error in errors.items()}
    worst = _worst(errors, len(names))
    if invocation.as_json or len(names) > 1:
        show(context, BackupsTaken(tuple(backups), failed), worst)
    elif worst is not None:
        raise worst


def _take_all(
    invocation: Invocation, shards: Sequence[str], take: Take
) -> tuple[list[BackupResult], dict[str, ToolError]]:
    """Backups, each told to people as it is there, and why the other shards have none."""
    backups: list[BackupResult] = []
    errors: dict[str, ToolError] = {}
    for shard in shards:
        try:
            with Display(shard) as display, invocation.interruption.orderly() as cancelled:
                backups.append(take(shard, progress=display, cancelled=cancelled))
        except ToolError as error:
            errors[shard] = error
            if isinstance(error, Cancelled):
                break
        else:
            if not invocation.as_json:
                show_text(backups[-1], apart=len(backups) > 1)
    return backups, errors


def _worst(errors: Mapping[str, ToolError], shards: int) -> ToolError | None:
    """The error of a lone shard; of several shards the first's kind, and the names of all that failed."""
    if not errors or shards == 1:
        return next(iter(errors.values()), None)
    first = next(iter(errors.values()))
    fact = f"{len(errors)} of {shards} shards have no new backup: {', '.join(errors)}"
    worst = type(first)(fact, hint=first.hint)
    worst.retryable = all(error.retryable for error in errors.values())
    return worst
