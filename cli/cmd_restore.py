"""``backstay restore``: bring a backup back, start it privately, and prove what it holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.backups import Label, Shard
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.progress import Display
from cli.render import show, show_text
from cli.text_restore import RestorePlanned
from fleet.errors import Cancelled, UsageError
from repository.catalog import LATEST
from restore.full import Leave, plan_full_restore, restore_backup
from restore.plan import Mode, RestorePlan

_CHECKS = "none|sample|all"

Into = Annotated[
    Path,
    typer.Option(
        "--into",
        metavar="DIR",
        help="The data directory to be: empty, or not there yet; the same again goes on after a failure.",
    ),
]
Delta = Annotated[
    bool,
    typer.Option(
        "--delta",
        help="Rewrite an existing data directory: fetch only what differs, delete what is not in the backup.",
    ),
]
Check = Annotated[
    Literal["none", "sample", "all"] | None,
    typer.Option("--check", metavar=_CHECKS, help="CHECK TABLE on how many tables. [default: as configured]"),
]
Left = Annotated[
    Leave, typer.Option("--leave", metavar="stopped|running", help="What becomes of the started server.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; touch nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is deleted.")]


def restore(
    context: typer.Context,
    shard: Shard,
    *,
    into: Into,
    label: Label = LATEST,
    delta: Delta = False,
    check: Check = None,
    leave: Left = Leave.STOPPED,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Restore a backup into a directory, and prove it.

    Pages are fetched straight into place, a private server (own socket, no network, read-only) recovers them,
    its GTID set is compared with the backup's, and tables are checked. Then the backup is proven, and the
    directory is ready to join replication.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    plan = plan_full_restore(fleet, shard, into, repository=repository, label=label, delta=delta)
    if not _is_agreed(context, plan, dry_run=dry_run, yes=yes):
        return
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        result = restore_backup(
            fleet,
            shard,
            into,
            repository=repository,
            # The plan that was shown, even if a newer backup came in between.
            label=plan.manifest.label,
            delta=delta,
            leave=leave,
            check=check,
            progress=display,
            cancelled=cancelled,
        )
    show(context, result)


def _is_agreed(context: typer.Context, plan: RestorePlan, *, dry_run: bool, yes: bool) -> bool:
    """Show the plan; go on unless that was all, and ask first where something that is there would be lost."""
    planned = RestorePlanned.of(plan)
    if dry_run:
        show(context, planned)
        return False
    if not invocation_of(context).as_json:
        show_text(planned)
    loses_something = plan.mode is Mode.DELTA or plan.remove_files
    if loses_something and not yes and not sys.stdin.isatty():
        raise UsageError(
            f"{plan.directory} would be rewritten, and nobody is here to ask",
            hint="Give --yes to go on without a question.",
        )
    if (
        loses_something
        and not yes
        and not typer.confirm(f"{plan.directory} will be rewritten. Go on?", err=True)
    ):
        raise Cancelled("not restored: the answer was no", hint="Nothing was touched.")
    return True
