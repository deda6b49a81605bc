"""``backstay deploy``: the schedule of a fleet, put onto a Prefect server that runs elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.render import render_text, show
from cli.tables import copyable, dim, lines, listing
from drills.status.deploy_report import DeploymentChange, DeployReport
from fleet import figures
from fleet.config import find

_DONE = {"create": "created", "change": "changed", "keep": "as it was", "delete": "deleted"}
_PLANNED = {"create": "create", "change": "change", "keep": "keep", "delete": "delete"}


def deploy(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change; change nothing.")
    ] = False,
) -> None:
    """Put the schedule of the fleet onto a Prefect server.

    It is the one of scheduler.api_url: a deployment for each shard, with its full and its incremental
    backups, and one for each duty of the fleet; and work pools by scheduler.pools, so that a shard's work
    runs near that shard; and automations that notify through notify.prefect_blocks. What the configuration
    no longer wants is deleted, unless it is another fleet's; backups stay until they expire. What is the
    same already is not touched.
    """
    # Here and not above: only this command and `serve` need the room of the flows.
    from flows.deploying import deploy as act  # noqa: PLC0415

    fleet = open_fleet(context)
    report, refusal = act(fleet, find(invocation_of(context).config), dry_run=dry_run)
    show(context, report, refusal)


@render_text.register
def _(report: DeployReport) -> RenderableType:
    words = _DONE if report.done else _PLANNED
    told: list[RenderableType] = [f"Fleet {report.fleet} on {report.api_url}"]
    new = [*(f"pool {pool}" for pool in report.pools), *(f"queue {queue}" for queue in report.queues)]
    changed = [*_changed(report.deployments), *_changed(report.automations, "automation ")]
    if rows := [*((dim("new"), what, "") for what in new), *_rows(changed, words)]:
        told += ["", listing(("", "", "what changes" if any(each.what for each in changed) else ""), rows)]
    if kept := _kept(report):
        told += ["", kept]
    told += ["", "Each pool needs a worker, near what it backs up; on its machine:"]
    for worker in report.workers:
        told.append(copyable(f"  {sys.executable} -m flows.worker {report.config} {worker.pool}"))
    return lines(*told)


def _changed(steps: tuple[DeploymentChange, ...], kind: str = "") -> list[DeploymentChange]:
    return [replace(each, name=kind + each.name) for each in steps if each.step != "keep"]


def _kept(report: DeployReport) -> str | None:
    counts = {
        kind: sum(each.step == "keep" for each in steps)
        for kind, steps in (("deployment", report.deployments), ("automation", report.automations))
    }
    told = [figures.plural(count, kind) for kind, count in counts.items() if count]
    verb = "is" if sum(counts.values()) == 1 else "are"
    return f"{' and '.join(told)} {verb} as wanted." if told else None


def _rows(changed: list[DeploymentChange], words: dict[str, str]) -> Iterator[tuple[RenderableType, ...]]:
    for each in changed:
        yield words[each.step], each.name, dim(", ".join(each.what))
