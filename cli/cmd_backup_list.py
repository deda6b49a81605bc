"""``backstay backup list``: which backups there are."""

from __future__ import annotations

from dataclasses import dataclass

import typer
from rich.console import RenderableType

from cli.backups import Shards
from cli.configured import open_fleet
from cli.failure import Failure, failure_of
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.render import render_text, show
from cli.tables import findings_table, lines, listing
from fleet import figures
from fleet.finding import Finding, Level
from repository.catalog import BackupSummary, Catalog


@dataclass(frozen=True, slots=True)
class UnreadableBackup:
    """A manifest that is there and cannot be read."""

    shard: str
    label: str
    error: Failure


@dataclass(frozen=True, slots=True)
class BackupsListed:
    """All backups, by shard and time, and those whose manifest cannot be read."""

    backups: tuple[BackupSummary, ...]
    unreadable: tuple[UnreadableBackup, ...]


def list_backups(context: typer.Context, shards: Shards = None) -> None:
    """List the backups of some shards, or of all.

    A backup is `taken` when its manifest is stored, `proven` once a restore of it was started and compared.
    """
    fleet = open_fleet(context)
    catalog = Catalog(open_repository(fleet))
    backed_up = catalog.shards() if shards else []
    for shard in shards or []:
        if shard not in backed_up:
            # One that left the fleet keeps its backups; one that is nowhere is a slip of the fingers.
            fleet.shard(shard)
    surveys = [catalog.survey(shard) for shard in shards or [None]]
    unreadable = [
        UnreadableBackup(one.shard, one.label, failure_of(one.error, invocation_of(context)))
        for survey in surveys
        for one in survey.unreadable
    ]
    backups = tuple(backup for survey in surveys for backup in survey.backups)
    # A script must not take a backup that nobody can read for one that is there.
    failure = next((one.error for survey in surveys for one in survey.unreadable), None)
    show(context, BackupsListed(backups, tuple(unreadable)), failure)


@render_text.register
def _(listed: BackupsListed) -> RenderableType:
    if not listed.backups and not listed.unreadable:
        return "There is no backup yet. Take one: backstay backup full --all"
    rows = [
        (
            backup.shard,
            backup.label,
            "proven" if backup.proven else "taken",
            figures.size(backup.files_bytes),
            figures.size(backup.stored_bytes),
            figures.duration((backup.finished_at - backup.started_at).total_seconds()),
        )
        for backup in listed.backups
    ]
    table = listing(("shard", "backup", "state", ">data", ">stored", ">took"), rows)
    if not listed.unreadable:
        return table
    unreadable = (
        Finding(Level.FAIL, f"{one.shard}/{one.label}", one.error.message, one.error.hint)
        for one in listed.unreadable
    )
    return lines(table, "", findings_table(unreadable)) if rows else findings_table(unreadable)
