"""``backstay prune``: delete what retention has ended, when nothing promised rests on it."""

from __future__ import annotations

from typing import Annotated

import typer

import cli.text_prune  # noqa: F401 # pyright: ignore[reportUnusedImport] - it registers the texts
from backup.prune import prepare_prune
from backup.prune import prune as act
from cli.backups import Shards
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.progress import Display
from cli.render import show, show_text
from fleet.errors import UsageError
from fleet.model import Fleet
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.repository import Repository
from restore.promised import plan_promised


def prune(
    context: typer.Context,
    shards: Shards = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; delete nothing.")] = False,
    give_up: Annotated[
        list[str] | None,
        typer.Option(
            "--give-up",
            metavar="SHARD/LABEL",
            help="A backup that cannot be read, and is lost for good: it may go, and what it needs.",
        ),
    ] = None,
) -> None:
    """Delete what retention has ended, and binlogs that nothing needs.

    A backup goes when its mark (`backstay expire`) is older than the grace time, and no other that is kept,
    no hold and nobody at work needs it; in two runs, an hour or more apart, so run it by the clock. Before
    anything is deleted, restores are planned from what will be left: to the beginning and the end of the
    recovery window, and of every backup that stays. If one fails, nothing is deleted, and the exit code is
    45; so it is while a manifest cannot be read.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    _check_known(fleet, repository, shards or [])
    prepared = prepare_prune(
        repository,
        fleet.retention,
        shards or (),
        archived=[shard.name for shard in fleet.shards],
        give_up=[_backup(text) for text in give_up or []],
        plan_points=plan_promised,
    )
    if dry_run or prepared.refusal is not None:
        show(context, prepared.plan, prepared.refusal)
        return
    if not invocation_of(context).as_json:
        show_text(prepared.plan)
    if prepared.plan.is_idle and not invocation_of(context).as_json:
        return
    with Display("prune") as display, invocation_of(context).interruption.orderly() as cancelled:
        result = act(repository, prepared, progress=display, cancelled=cancelled)
    show(context, result)


def _backup(text: str) -> BackupName:
    shard, _, label = text.partition("/")
    if not layout.is_name(shard) or layout.parse_label(label) is None:
        raise UsageError(
            f"--give-up: {text[:80]!r} does not name a backup",
            hint="Name it as `backup list` does: --give-up SHARD/LABEL",
        )
    return BackupName(shard, label)


def _check_known(fleet: Fleet, repository: Repository, shards: list[str]) -> None:
    """One that left the fleet may have backups; one that is nowhere is a slip of the fingers."""
    backed_up = Catalog(repository).shards() if shards else []
    for shard in shards:
        if shard not in backed_up:
            fleet.shard(shard)
