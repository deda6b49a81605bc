"""``backstay archive purge``: let sources drop binlogs that are archived and applied everywhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import RenderableType

from backup.archive.purge import PurgeOutcome, plan_purge, purge
from backup.archive.purge_plan import PurgePlan
from cli.backups import Shards
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.render import render_text, show, show_text
from cli.tables import lines
from cli.text_archive import purge_plan
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import Cancelled, UsageError


@dataclass(frozen=True, slots=True)
class PurgesPlanned:
    """What could be purged, a shard each."""

    plans: tuple[PurgePlan, ...]


@dataclass(frozen=True, slots=True)
class Purged:
    """What was purged, a shard each."""

    purges: tuple[PurgeOutcome, ...]


def purge_binlogs(
    context: typer.Context,
    shards: Shards = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; purge nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before binlogs are purged.")] = False,
) -> None:
    """Purge binlogs from the sources of some shards, or of all.

    A file goes only when all of it is archived and was read back from the store, and when every replica has
    applied all of it. Files go oldest first, one at a time; the first doubt ends it.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    names = [fleet.shard(name).name for name in shards or [shard.name for shard in fleet.shards]]
    plans = tuple(plan_purge(fleet, name, repository) for name in names)
    planned = PurgesPlanned(plans)
    if dry_run:
        show(context, planned)
        return
    if not invocation_of(context).as_json:
        show_text(planned)
    if any(plan.going for plan in plans):
        _ask(plans, yes=yes)
    with invocation_of(context).interruption.orderly() as cancelled:
        purges = tuple(
            purge(fleet, plan, repository, clock=SystemClock(), cancelled=cancelled)
            for plan in plans
            if plan.going
        )
    show(context, Purged(purges))


def _ask(plans: tuple[PurgePlan, ...], *, yes: bool) -> None:
    if yes:
        return
    servers = ", ".join(plan.server for plan in plans if plan.going)
    if not sys.stdin.isatty():
        raise UsageError(
            f"binlogs of {servers} would be purged, and nobody is here to ask",
            hint="Give --yes to go on without a question.",
        )
    if not typer.confirm(f"Binlogs of {servers} will be purged. Go on?", err=True):
        raise Cancelled("not purged: the answer was no", hint="Nothing was touched.")


@render_text.register
def _(planned: PurgesPlanned) -> RenderableType:
    parts: list[RenderableType] = []
    for plan in planned.plans:
        parts += [*([""] if parts else []), purge_plan(plan)]
    return lines(*parts)


@render_text.register
def _(done: Purged) -> RenderableType:
    if not done.purges:
        return "Nothing was purged."
    return lines("", *(_told(each) for each in done.purges))


def _told(outcome: PurgeOutcome) -> str:
    what = f"{figures.plural(len(outcome.purged), 'file')}, {figures.size(outcome.bytes)}"
    stopped = f"; the rest stays: {outcome.stopped_by}" if outcome.stopped_by else ""
    return f"Purged from {outcome.server}: {what}{stopped}."
