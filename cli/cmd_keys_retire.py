"""``backstay keys retire``: a key opens nothing any more, and nothing is lost by it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.cmd_keys import open_both, shards_of, told_shut
from cli.invocation import invocation_of
from cli.render import render_text, show, show_text
from cli.tables import lines
from fleet.clock import SystemClock
from fleet.errors import Cancelled, CheckFailed, UsageError
from fleet.figures import plural
from repository.retirement import Retired, RetirementPlan, plan_retirement
from repository.retirement import retire as retire_key


def retire(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key to retire: not the first one.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the key is retired.")] = False,
) -> None:
    """Retire a key: delete what it wraps, and make the repository forget it.

    It goes only when everything that it opens was just opened by another key of the configuration; else
    nothing is deleted, the exit code is 41, and what it alone opens is named. Before, put another key first
    on every machine that backs up, and run `backstay keys rotate`. No data is touched. Run it again if it was
    stopped.
    """
    fleet, repository = open_both(context)
    plan = plan_retirement(repository, key, shards_of(fleet))
    if dry_run or plan.alone:
        show(context, plan, _refusal(plan))
        return
    if not invocation_of(context).as_json:
        show_text(plan)
    _ask(plan, yes=yes)
    with invocation_of(context).interruption.orderly() as cancelled:
        retired = retire_key(repository, key, SystemClock(), shards_of(fleet), cancelled=cancelled)
    show(context, retired)


def _refusal(plan: RetirementPlan) -> CheckFailed | None:
    if not plan.alone:
        return None
    return CheckFailed(
        f"key {plan.key_id} cannot be retired: it alone opens {plural(len(plan.alone), 'wrapped key')}",
        hint="Run `backstay keys rotate` where the configuration has both keys; nothing was deleted.",
    )


def _ask(plan: RetirementPlan, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"key {plan.key_id} would be retired, and nobody is here to ask",
            hint="Give --yes to go on without a question.",
        )
    if not typer.confirm(f"Key {plan.key_id} will open nothing any more. Go on?", err=True):
        raise Cancelled("not retired: the answer was no", hint="Nothing was touched.")


@render_text.register
def _(plan: RetirementPlan) -> RenderableType:
    told: list[RenderableType] = []
    for other, count in plan.opened_by.items():
        told.append(f"Key {other} was tried just now, and opens {count:,} of what key {plan.key_id} opens.")
    if plan.alone:
        told += [f"It alone opens {len(plan.alone):,}:", *told_shut(plan.alone)]
    return lines(*told) if told else f"Key {plan.key_id} opens nothing; the repository only has to forget it."


@render_text.register
def _(retired: Retired) -> RenderableType:
    what = plural(retired.deleted, "wrapped key")
    return lines(
        f"Key {retired.key_id} is retired: {what} of it deleted, and its keyring entry.",
        "Take it out of the configuration; its id must not be used again.",
    )
