"""``backstay restore``: bring a shard back, to a backup or to a point, and prove what it holds."""

from __future__ import annotations

import typer

from cli.backups import Label, Shard
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.points import BeforeGtid, Latest, SkipGtid, To, ToGtids, recovery_target
from cli.progress import Display
from cli.render import show
from cli.restoring import Check, Delta, DryRun, Into, Left, Restoring, Yes, is_agreed
from cli.text_point import PointPlanned
from cli.text_restore import RestorePlanned
from repository.catalog import LATEST
from restore.full import Leave, plan_full_restore, restore_backup
from restore.point import RecoveryTarget
from restore.point_restore import plan_point_restore, restore_to_point


def restore(
    context: typer.Context,
    shard: Shard,
    *,
    into: Into,
    to: To = None,
    before_gtid: BeforeGtid = None,
    to_gtids: ToGtids = None,
    latest: Latest = False,
    skip_gtid: SkipGtid = None,
    label: Label = LATEST,
    delta: Delta = False,
    check: Check = None,
    leave: Left = Leave.STOPPED,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Restore a shard into a directory, and prove it.

    Pages of a backup are fetched straight into place, and a private server (own socket, no network,
    read-only) recovers them. With a point, transactions of the archive are replayed on it, up to exactly
    there. Then its GTID set is compared with the plan's, tables are checked, and the directory is ready to
    join replication.
    """
    target = recovery_target(
        to=to, before_gtid=before_gtid, to_gtids=to_gtids, latest=latest, skip_gtid=skip_gtid
    )
    restoring = Restoring(
        into=into, label=label, delta=delta, check=check, leave=leave, dry_run=dry_run, yes=yes
    )
    if target is None:
        _restore_backup(context, shard, restoring)
    else:
        _restore_to_point(context, shard, target, restoring)


def _restore_backup(context: typer.Context, shard: str, wish: Restoring) -> None:
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    plan = plan_full_restore(
        fleet, shard, wish.into, repository=repository, label=wish.label, delta=wish.delta
    )
    if not is_agreed(context, RestorePlanned.of(plan), plan, wish):
        return
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        result = restore_backup(
            fleet,
            shard,
            wish.into,
            repository=repository,
            # The plan that was shown, even if a newer backup came in between.
            label=plan.manifest.label,
            delta=wish.delta,
            leave=wish.leave,
            check=wish.check,
            progress=display,
            cancelled=cancelled,
        )
    show(context, result)


def _restore_to_point(context: typer.Context, shard: str, target: RecoveryTarget, wish: Restoring) -> None:
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    plan = plan_point_restore(
        fleet, shard, wish.into, target, repository=repository, label=wish.label, delta=wish.delta
    )
    if not is_agreed(context, PointPlanned.of(plan), plan.base, wish):
        return
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        result = restore_to_point(
            fleet,
            shard,
            wish.into,
            target,
            repository=repository,
            label=plan.label,
            delta=wish.delta,
            leave=wish.leave,
            check=wish.check,
            progress=display,
            on_replay=display.replay,
            cancelled=cancelled,
        )
    show(context, result)
