"""``backstay backup consolidate``: make a chain a full that is complete by itself, without the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from backup.consolidate import ConsolidatePlan, ConsolidateResult, consolidate, plan_consolidate
from cli.backups import Label, Shard, gtid_facts
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.progress import Display
from cli.render import render_text, show
from cli.tables import facts
from fleet import figures
from repository.catalog import LATEST


def consolidate_chain(
    context: typer.Context,
    shard: Shard,
    label: Label = LATEST,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")
    ] = False,
) -> None:
    """Make a chain a full that is complete by itself.

    From the repository alone: no server is asked, and no data is moved. The new full refers to the newest
    version of every page where it lies, so its restore needs no chain, and a chain can begin anew on it. The
    backups that hold the pages are still needed. A full, or a chain that was consolidated, is left as it is.
    """
    repository = open_repository(open_fleet(context))
    if dry_run:
        show(context, plan_consolidate(repository, shard, label))
        return
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        result = consolidate(repository, shard, label, progress=display, cancelled=cancelled)
    show(context, result)


@render_text.register
def _(plan: ConsolidatePlan) -> RenderableType:
    if plan.full is not None:
        return _nothing_to_do(plan.shard, plan.full, plan.consolidates)
    return facts(
        [
            ("chain", _chain(plan.shard, plan.links)),
            ("would hold", f"{figures.size(plan.files_bytes)} in {figures.plural(plan.files, 'file')}"),
            ("would read", f"{figures.size(plan.index_bytes)} of index, and no data"),
            ("in", plan.repository),
        ]
    )


@render_text.register
def _(result: ConsolidateResult) -> RenderableType:
    if result.found != "chain":
        return _nothing_to_do(result.shard, result.label, result.consolidates)
    return facts(_facts(result))


def _facts(result: ConsolidateResult) -> Iterator[tuple[str, str]]:
    yield "backup", f"{result.shard}/{result.label}"
    yield "made of", _chain(result.shard, result.links)
    yield "took", figures.duration(result.seconds)
    yield "data", f"{figures.size(result.files_bytes)} in {figures.plural(result.files, 'file')}"
    needed = figures.plural(len(result.needs), "backup")
    yield "refers to", f"{figures.size(result.referred_bytes)} in packs of {needed}, which stay needed"
    yield "stored", f"{figures.size(result.stored_bytes)} of index"
    yield from gtid_facts(result.gtid_low, result.gtid_high)


def _chain(shard: str, links: tuple[str, ...]) -> str:
    """The chain in short: where it ends, and where it begins."""
    between = len(links) - 1
    return f"{shard}/{links[0]}, {figures.plural(between, 'incremental')} on {links[-1]}"


def _nothing_to_do(shard: str, full: str, consolidates: str | None) -> RenderableType:
    if consolidates is None:
        return Text(f"Nothing to do: {shard}/{full} is a full backup, and needs no chain.")
    return Text(f"Nothing to do: {consolidates} is consolidated already, as {shard}/{full}.")
