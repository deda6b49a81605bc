"""``backstay mirror run``: copy everything to the mirror, until somebody stops it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType

from backup.mirror.report import MirrorOutcome
from backup.mirror.run import Mirroring, MirrorRun
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.mirroring import check_has_mirror, places_to_mirror
from cli.render import render_text, show
from cli.tables import facts, findings_table, lines, listing
from cli.ticker import Ticker
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import MirrorParted, ObjectDamaged, ToolError


def run(
    context: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="Copy what is there by now, and end: for cron.")
    ] = False,
    recheck: Annotated[
        bool,
        typer.Option(
            "--recheck",
            help="First read all that is in the mirror, and copy what lacks or is damaged there.",
        ),
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin a new mirror where an earlier one is gone.")
    ] = False,
) -> None:
    """Copy backups and archived binlogs to the mirror as they come.

    It runs until Ctrl-C or SIGTERM. Objects are copied as they are, sealed, and verified; the mirror can be
    read at every moment, with --from mirror. What is damaged in the repository, or is another object in the
    mirror, is named and not copied, and the rest goes on. A place that does not answer is waited for. In a
    pipe only alarms are told.
    """
    fleet = check_has_mirror(open_fleet(context))
    # The line on a terminal asks the run, and the run tells the line.
    runs: list[MirrorRun] = []
    with (
        Ticker(lambda: " · ".join(each.in_short() for each in runs)) as ticker,
        invocation_of(context).interruption.orderly() as cancelled,
    ):
        runs.append(
            MirrorRun(
                Mirroring(
                    fleet,
                    lambda: places_to_mirror(fleet, anew=anew),
                    SystemClock(),
                    cancelled,
                    once=once,
                    recheck=recheck,
                    progress=ticker.tell,
                )
            )
        )
        outcome = runs[0].run()
    show(context, outcome, _failure(outcome))


def _failure(outcome: MirrorOutcome) -> ToolError | None:
    if not outcome.refused:
        return None
    parted = [each for each in outcome.refused if each.kind == MirrorParted.__name__]
    if parted:
        return MirrorParted(
            parted[0].problem, hint="Keep the one that goes on, and mirror it to a new place."
        )
    return ObjectDamaged(
        f"{figures.plural(len(outcome.refused), 'object')} could not be mirrored",
        hint="To see all that is damaged, and what it breaks: backstay verify --all",
    )


@render_text.register
def _(outcome: MirrorOutcome) -> RenderableType:
    rows = [
        ("mirror", outcome.mirror),
        ("backups", figures.number(len(outcome.backups))),
        ("objects", figures.number(outcome.objects)),
        ("copied", figures.size(outcome.bytes)),
        ("took", figures.duration(outcome.seconds)),
    ]
    parts: list[RenderableType] = [facts(rows)]
    if outcome.findings:
        parts += ["", findings_table(outcome.findings)]
    if outcome.refused:
        refused = [(each.shard, each.problem) for each in outcome.refused]
        parts += ["", listing(("shard", "not copied"), refused)]
    return lines(*parts)
