"""``backstay undelete``: what was overwritten or deleted in the store since a moment comes back."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.render import render_text, show, show_text
from cli.tables import lines, listing
from cli.times import parse_time_option
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import Cancelled, UsageError
from repository.undelete import Undeletion
from repository.undelete import undelete as undelete_objects

_SHOWN = 20


def undelete(
    context: typer.Context,
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="Back to this moment, such as 2026-03-01T02:15:00Z."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; touch nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before anything comes back.")] = False,
) -> None:
    """Bring back what was overwritten or deleted in the store since a moment.

    For a bucket with versions, after somebody misused an account: what lies over a backup's objects since
    then is deleted, so that they are what they were. What `backstay prune` deleted rightly since that moment
    comes back, too, where its versions are still there. Needs the right to list and delete versions. Run
    `backstay verify` afterwards.
    """
    config, moment = open_fleet(context).repository, parse_time_option(since, "--since")
    plan = undelete_objects(config, moment, SystemClock())
    if dry_run or not plan.objects:
        show(context, plan)
        return
    if not invocation_of(context).as_json:
        show_text(plan)
    _ask(plan, yes=yes)
    with invocation_of(context).interruption.orderly() as cancelled:
        names = [each.name for each in plan.objects]
        done = undelete_objects(config, moment, SystemClock(), names=names, cancelled=cancelled)
    show(context, done)


def _ask(plan: Undeletion, *, yes: bool) -> None:
    if yes:
        return
    what = figures.plural(len(plan.objects), "object")
    if not sys.stdin.isatty():
        raise UsageError(
            f"{what} would come back, and nobody is here to ask",
            hint="Give --yes to go on without a question.",
        )
    if not typer.confirm(f"What lies over {what} will be deleted. Go on?", err=True):
        raise Cancelled("nothing was brought back: the answer was no", hint="Nothing was touched.")


@render_text.register
def _(seen: Undeletion) -> RenderableType:
    when = f"{seen.since:%Y-%m-%d %H:%M:%S} UTC"
    if not seen.objects:
        return f"Nothing was overwritten or deleted since {when}."
    if seen.done:
        told = [f"{figures.plural(len(seen.objects), 'object')} came back, as they were at {when}."]
        if seen.put_again:
            told.append(
                f"{seen.put_again:,} of them as copies: what lies over them is locked and cannot be deleted."
            )
        return lines(*told, "Run `backstay verify`: it reads what came back.")
    counts = Counter((each.name.partition("/")[0], each.happened) for each in seen.objects)
    rows = [
        (f"{each.at:%Y-%m-%d %H:%M:%S}", each.happened, figures.size(each.bytes), each.name)
        for each in sorted(seen.objects, key=lambda each: each.at)[:_SHOWN]
    ]
    summary = ", ".join(f"{count:,} of {top} {happened}" for (top, happened), count in sorted(counts.items()))
    return lines(
        f"Since {when}: {summary}. The first:", "", listing(("at (UTC)", "", ">size", "name"), rows), ""
    )
