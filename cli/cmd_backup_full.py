"""``backstay backup full``: copy shards into the repository, or say what that would do."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from backup.full import plan_full_backup, take_full_backup
from backup.order import FullKind
from backup.result import BackupResult
from cli.backup_taking import Donor, DryRun, Every, Shards, chosen, take_backups
from cli.configured import open_fleet
from cli.opening import open_repository
from cli.render import show
from cli.text_backup_taken import BackupsPlanned
from fleet.progress import Progress

_REFERRING_HELP = (
    "Store only pages that no backup holds, and refer to the others; or all. Default: backup.full."
)


def full(
    context: typer.Context,
    *,
    shards: Shards = None,
    every: Every = False,
    donor: Donor = None,
    referring: Annotated[
        bool | None, typer.Option("--referring/--stored", help=_REFERRING_HELP, show_default=False)
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Take a full backup of some shards, or of all.

    One shard after the other: the donor is chosen and checked, its pages are received over the network,
    compressed, sealed and stored. A shard that fails does not keep the others from their backup.
    """
    fleet = open_fleet(context)
    names = chosen(fleet, shards or [], every=every, donor=donor)
    repository = open_repository(fleet)
    kind: FullKind | None = None if referring is None else "referring" if referring else "stored"
    if dry_run:
        plans = [
            plan_full_backup(fleet, name, repository=repository, donor=donor, full=kind) for name in names
        ]
        show(context, BackupsPlanned(tuple(plans)))
        return

    def take(shard: str, *, progress: Progress, cancelled: threading.Event) -> BackupResult:
        return take_full_backup(
            fleet,
            shard,
            repository=repository,
            progress=progress,
            cancelled=cancelled,
            donor=donor,
            full=kind,
        )

    take_backups(context, names, take)
