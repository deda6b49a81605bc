"""``backstay serve``: everything one machine does for a fleet, until somebody stops it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.invocation import invocation_of
from cli.render import render_text, show
from cli.tables import facts, lines, listing
from drills.status.service_report import Served, ServicePlan
from fleet import figures
from fleet.clock import SystemClock
from fleet.config import find


def serve(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and whether its ports are free.")
    ] = False,
) -> None:
    """Run the schedule, the archivers and the status page.

    The mirror, too, where there is one; until Ctrl-C or SIGTERM. What dies is started again. A change of the
    configuration counts as soon as it is written, and at the latest with a SIGHUP; one that cannot be read is
    told, and what was read before goes on. At the end running backups are asked to stop, and let go of their
    donors.
    """
    # Here and not above: only this command and `deploy` need the room of the flows.
    from flows.service import supervisor  # noqa: PLC0415

    invocation = invocation_of(context)
    config, clock = find(invocation.config), SystemClock()
    if dry_run:
        show(context, supervisor.plan_service(config, clock))
        return
    with invocation.interruption.orderly() as cancelled:
        served = supervisor.serve(config, clock=clock, cancelled=cancelled, tell=_tell)
    show(context, served)


def _tell(line: str) -> None:
    sys.stderr.write(f"{figures.moment(SystemClock().now())}  {line}\n")
    sys.stderr.flush()


@render_text.register
def _(plan: ServicePlan) -> RenderableType:
    rows = [
        ("fleet", plan.fleet),
        ("state", str(plan.directory)),
        ("page", plan.page),
        ("scheduler", plan.scheduler),
    ]
    parts = [(part.name, " ".join(part.command)) for part in plan.parts]
    return lines(facts(rows), "", listing(("part", "command"), parts))


@render_text.register
def _(served: Served) -> RenderableType:
    starts = ", ".join(f"{part.name} {part.starts}" for part in served.parts)
    rows = [
        ("fleet", served.fleet),
        ("state", str(served.directory)),
        ("ran", figures.duration(served.seconds)),
        ("starts", starts),
    ]
    return facts(rows)
