"""The three ways of a restore: to a backup, to a point, and of all shards. Plan, consent, deed, result."""

from __future__ import annotations

import typer

from cli.archived import check_known
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.progress import Board, Display
from cli.render import show
from cli.restoring import Restoring, is_agreed
from cli.text_fleet import FleetPlanned, FleetRestored
from cli.text_point import PointPlanned
from cli.text_restore import RestorePlanned
from fleet.errors import ToolError
from restore.fleet_restore import FleetResult, plan_fleet_restore, restore_fleet
from restore.full import plan_full_restore, restore_backup
from restore.point import RecoveryTarget
from restore.point_restore import plan_point_restore, restore_to_point


def restore_one_backup(context: typer.Context, shard: str, wish: Restoring) -> None:
    """One shard, as it was when the backup was taken."""
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    plan = plan_full_restore(
        fleet, shard, wish.into, repository=repository, label=wish.label, delta=wish.delta
    )
    if not is_agreed(context, RestorePlanned.of(plan), [plan], wish):
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


def restore_one_to_point(context: typer.Context, shard: str, target: RecoveryTarget, wish: Restoring) -> None:
    """One shard, up to a transaction of its archive."""
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    check_known(fleet, repository, shard)
    plan = plan_point_restore(
        fleet, shard, wish.into, target, repository=repository, label=wish.label, delta=wish.delta
    )
    if not is_agreed(context, PointPlanned.of(plan), [plan.base], wish):
        return
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        result = restore_to_point(
            fleet,
            shard,
            wish.into,
            target,
            repository=repository,
            label=plan.label,
            passed_over=plan.base.passed_over,
            delta=wish.delta,
            leave=wish.leave,
            check=wish.check,
            progress=display,
            on_replay=display.replay,
            cancelled=cancelled,
        )
    show(context, result)


def restore_all_shards(
    context: typer.Context, target: RecoveryTarget, wish: Restoring, *, at_once: int
) -> None:
    """Every shard to one moment, each into a directory of its name."""
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    plan = plan_fleet_restore(fleet, target, wish.into, repository=repository)
    if not is_agreed(context, FleetPlanned.of(plan), [each.base for each in plan.plans], wish):
        return
    with Board() as board, invocation_of(context).interruption.orderly() as cancelled:
        result = restore_fleet(
            fleet,
            target,
            wish.into,
            repository=repository,
            parallel=at_once,
            leave=wish.leave,
            check=wish.check,
            progress_of=board.row,
            cancelled=cancelled,
        )
    show(context, FleetRestored.of(result), _worst(result))


def _worst(result: FleetResult) -> ToolError | None:
    """The first shard's kind, and the names of all that failed."""
    if not result.failed:
        return None
    first = result.failed[0].error
    assert first is not None
    names = ", ".join(each.shard for each in result.failed)
    fact = f"{len(result.failed)} of {len(result.shards)} shards are not restored: {names}"
    worst = type(first)(fact, hint="The same command goes on with what is missing.")
    worst.retryable = all(each.error is not None and each.error.retryable for each in result.failed)
    return worst
