"""``backstay backup full``: copy shards into the repository, or say what that would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from backup.full import BackupResult, plan_full_backup, take_full_backup
from cli.configured import complete_servers, complete_shards, open_fleet
from cli.failure import failure_of
from cli.invocation import Invocation, invocation_of
from cli.opening import open_repository
from cli.progress import Display
from cli.render import show, show_text
from cli.text_backup_full import BackupsPlanned, BackupsTaken
from fleet.errors import Cancelled, ToolError, UsageError
from fleet.model import Fleet
from repository.repository import Repository

_DONOR_HELP = "Copy from this server, not from the one that the policy chooses."


def full(
    context: typer.Context,
    shards: Annotated[
        list[str] | None,
        typer.Argument(metavar="SHARD", help="The shards; or take --all.", autocompletion=complete_shards),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Back up every shard of the fleet.")] = False,
    donor: Annotated[
        str | None,
        typer.Option("--donor", metavar="SERVER", help=_DONOR_HELP, autocompletion=complete_servers),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print plan and checks; copy nothing.")] = False,
) -> None:
    """Take a full backup of some shards, or of all.

    One shard after the other: the donor is chosen and checked, its pages are received over the network,
    compressed, sealed and stored. A shard that fails does not keep the others from their backup.
    """
    fleet = open_fleet(context)
    names = _chosen(fleet, shards or [], every=every, donor=donor)
    repository = open_repository(fleet)
    if dry_run:
        plans = [plan_full_backup(fleet, name, repository=repository, donor=donor) for name in names]
        show(context, BackupsPlanned(tuple(plans)))
        return
    invocation = invocation_of(context)
    backups, errors = _take_all(invocation, fleet, names, repository, donor)
    failed = {name: failure_of(error, invocation) for name, error in errors.items()}
    worst = _worst(errors, len(names))
    if invocation.as_json or len(names) > 1:
        show(context, BackupsTaken(tuple(backups), failed), worst)
    elif worst is not None:
        raise worst


def _chosen(fleet: Fleet, shards: list[str], *, every: bool, donor: str | None) -> list[str]:
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


def _take_all(
    invocation: Invocation, fleet: Fleet, shards: list[str], repository: Repository, donor: str | None
) -> tuple[list[BackupResult], dict[str, ToolError]]:
    """Backups, each told to people as it is there, and why the other shards have none."""
    backups: list[BackupResult] = []
    errors: dict[str, ToolError] = {}
    for shard in shards:
        try:
            backups.append(_take(invocation, fleet, shard, repository, donor))
        except ToolError as error:
            errors[shard] = error
            if isinstance(error, Cancelled):
                break
        else:
            if not invocation.as_json:
                show_text(backups[-1], apart=len(backups) > 1)
    return backups, errors


def _take(
    invocation: Invocation, fleet: Fleet, shard: str, repository: Repository, donor: str | None
) -> BackupResult:
    with Display(shard) as display, invocation.interruption.orderly() as cancelled:
        return take_full_backup(
            fleet, shard, repository=repository, progress=display, cancelled=cancelled, donor=donor
        )


def _worst(errors: Mapping[str, ToolError], shards: int) -> ToolError | None:
    """The error of a lone shard; of several shards the first's kind, and the names of all that failed."""
    if not errors or shards == 1:
        return next(iter(errors.values()), None)
    first = next(iter(errors.values()))
    fact = f"{len(errors)} of {shards} shards have no new backup: {', '.join(errors)}"
    worst = type(first)(fact, hint=first.hint)
    worst.retryable = all(error.retryable for error in errors.values())
    return worst
