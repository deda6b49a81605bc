"""``backstay keys rotate``: the first key opens everything that any key opens."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType

from cli.cmd_keys import open_both, shards_of, told_shut
from cli.invocation import invocation_of
from cli.render import render_text, show, show_text
from cli.tables import lines
from fleet.errors import CheckFailed
from fleet.figures import plural
from repository.key_places import Shut
from repository.rotation import Rotated, RotationPlan, plan_rotation
from repository.rotation import rotate as rotate_keys


def rotate(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = False,
) -> None:
    """Wrap every backup and every epoch of an archive by the first key, too.

    Each is opened by any key of the configuration, tried on what it sealed, and wrapped once more. No data is
    read or written, nothing is deleted, and what the other keys open they open still. What no key opens is
    named, and the exit code is then 41. Run it again whenever it was stopped.
    """
    fleet, repository = open_both(context)
    plan = plan_rotation(repository, shards_of(fleet))
    if dry_run:
        show(context, plan, _failure(plan.primary, plan.shut))
        return
    if not invocation_of(context).as_json:
        show_text(plan)
    with invocation_of(context).interruption.orderly() as cancelled:
        rotated = rotate_keys(repository, plan, cancelled=cancelled)
    show(context, rotated, _failure(rotated.primary, rotated.shut))


def _failure(primary: str, shut: tuple[Shut, ...]) -> CheckFailed | None:
    if not shut:
        return None
    return CheckFailed(
        f"no key of the configuration opens {len(shut)} of what is stored, so key {primary} does not either",
        hint="Add their key to the configuration behind the first, and run this again.",
    )


@render_text.register
def _(plan: RotationPlan) -> RenderableType:
    told: list[RenderableType] = [
        f"Key {plan.primary} opens {plural(plan.done, 'wrapped key')} already; to wrap: {len(plan.wraps):,}."
    ]
    if plan.shut:
        told += [f"No key here opens {len(plan.shut):,}:", *told_shut(plan.shut)]
    return lines(*told)


@render_text.register
def _(rotated: Rotated) -> RenderableType:
    total = rotated.wrapped + rotated.done
    return f"Key {rotated.primary} now opens {rotated.wrapped:,} more, {total:,} in all."
