"""``backstay backup incremental``: store what changed since the last backup, or say what that would do."""

from __future__ import annotations

import threading

import typer

from backup.incremental import plan_incremental_backup, take_incremental_backup
from backup.result import BackupResult
from cli.backup_taking import Donor, DryRun, Every, Shards, chosen, take_backups
from cli.configured import open_fleet
from cli.opening import open_repository
from cli.render import show
from cli.text_backup_taken import BackupsPlanned
from fleet.progress import Progress


def incremental(
    context: typer.Context,
    *,
    shards: Shards = None,
    every: Every = False,
    donor: Donor = None,
    dry_run: DryRun = False,
) -> None:
    """Back up what changed since the last backup.

    Of some shards, or of all. It continues the newest backup of the same server, full or incremental: only
    pages that changed since are stored, and a restore reads each page once, where it is newest. Where no
    backup can be continued, a full is taken, and the reason told.
    """
    fleet = open_fleet(context)
    names = chosen(fleet, shards or [], every=every, donor=donor)
    repository = open_repository(fleet)
    if dry_run:
        plans = [plan_incremental_backup(fleet, name, repository=repository, donor=donor) for name in names]
        show(context, BackupsPlanned(tuple(plans)))
        return

    def take(shard: str, *, progress: Progress, cancelled: threading.Event) -> BackupResult:
        return take_incremental_backup(
            fleet, shard, repository=repository, progress=progress, cancelled=cancelled, donor=donor
        )

    take_backups(context, names, take)
