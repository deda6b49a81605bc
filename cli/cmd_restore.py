"""``backstay restore``: bring a backup back, start it privately, and prove what it holds."""

from __future__ import annotations

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
from fleet.errors import Cancelled
from repository.catalog import LATEST
from restore.full import Leave, plan_full_restore, restore_backup
from restore.plan import Mode, RestorePlan

_INTO_HELP = "The data directory to be: empty, or not there yet; the same again goes on after a failure."
_DELTA_HELP = "Rewrite an existing data directory: fetch only what differs, delete what is not in the backup."
_CHECK_HELP = "CHECK TABLE on no, some or all tables. [default: as configured]"


def restore(
    context: typer.Context,
    shard: Shard,
    *,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help=_INTO_HELP)],
    label: Label = LATEST,
    delta: Annotated[bool, typer.Option("--delta", help=_DELTA_HELP)] = False,
    check: Annotated[
        Literal["none", "sample", "all"] | None,
        typer.Option("--check", metavar="none|sample|all", help=_CHECK_HELP, show_default=False),
    ] = None,
    leave: Annotated[
        Leave, typer.Option("--leave", metavar="stopped|running", help="What becomes of the started server.")
    ] = Leave.STOPPED,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; touch nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is deleted.")] = False,
) -> None:
    """Restore a backup into a directory, and prove it.

    Pages are fetched straight into place, a private server (own socket, no network, read-only) recovers them,
    its GTID set is compared with the backup's, and tables are checked. Then the backup is proven, and the
    directory is ready to join replication.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    plan = plan_full_restore(fleet, shard, into, repository=repository, label=label, delta=delta)
    invocation = invocation_of(context)
    if dry_run:
        show(context, RestorePlanned.of(plan))
        return
    if not invocation.as_json:
        show_text(RestorePlanned.of(plan))
    if not yes:
        _ask(plan)
    with Display(shard) as display, invocation.interruption.orderly() as cancelled:
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


def _ask(plan: RestorePlan) -> None:
    """Get consent where something that is there would be lost."""
    if plan.mode is not Mode.DELTA and not plan.remove_files:
        return
    question = f"{plan.directory} will be rewritten. Go on?"
    if not typer.confirm(question, err=True):
        raise Cancelled("not restored: the answer was no", hint="Nothing was touched.")
