"""What ``backstay restore --table`` answers: the plan, and what was handed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import RenderableType

from cli.backups import by_uuid
from cli.render import render_text
from cli.tables import facts, findings_table, lines
from cli.text_point import Neighbour, around, beyond_told, neighbours
from cli.text_restore import PlannedLink, links_told, stages
from fleet import figures
from fleet.finding import Finding, Level
from fleet.moments import precise
from repository.archive.beyond import HeldBeyond
from restore.choice import PassedOver
from restore.table_delivery import TablesResult
from restore.table_plan import TablePlan


@dataclass(frozen=True, slots=True)
class TablesPlanned:
    """What bringing tables to a point would do. Bytes: ``fetch_bytes`` is about what comes from the store for
    files; ``table_bytes`` and ``system_bytes`` are their sizes, of ``shard_bytes``.

    ``followed`` are all tables that transactions are applied to; the dictionary may add to them.
    """

    shard: str
    label: str
    target: Path
    to: str
    tables: tuple[str, ...]
    followed: tuple[str, ...]
    steps: tuple[str, ...]
    stop_before: str | None
    gtids: str
    skipped: str
    neighbours: tuple[Neighbour, ...]
    transactions: int
    of_transactions: int
    segments: int
    archive_bytes: int
    fetch_bytes: int
    table_bytes: int
    system_bytes: int
    shard_bytes: int
    needed_bytes: int
    free_bytes: int
    links: tuple[PlannedLink, ...]
    passed_over: tuple[PassedOver, ...]
    beyond: HeldBeyond | None = None

    @classmethod
    def of(cls, plan: TablePlan) -> Self:
        """The plan as it is told."""
        stretch, share, point = plan.stretch, plan.share, plan.point
        return cls(
            shard=plan.shard,
            label=plan.label,
            target=plan.directory,
            to=str(plan.target),
            tables=tuple(map(str, plan.asked)),
            followed=tuple(map(str, plan.followed)),
            steps=plan.steps(),
            stop_before=str(point.stop_before) if point.stop_before else None,
            gtids=point.gtids.one_line(),
            skipped=point.skipped.one_line(),
            neighbours=tuple(neighbours(point)),
            transactions=plan.served.count(),
            of_transactions=plan.log.count,
            segments=stretch.segments,
            archive_bytes=stretch.stored_bytes,
            fetch_bytes=share.stored_bytes,
            table_bytes=share.table_bytes,
            system_bytes=share.system_bytes,
            shard_bytes=share.all_bytes,
            needed_bytes=plan.base.needed_bytes,
            free_bytes=plan.free_bytes,
            links=PlannedLink.all_of(plan.base.chain),
            passed_over=plan.choice.passed_over,
            beyond=plan.beyond,
        )


@render_text.register
def _(planned: TablesPlanned) -> RenderableType:
    steps = facts((f"{number:>2}.", step) for number, step in enumerate(planned.steps, start=1))
    head = f"The plan for {', '.join(planned.tables)} of shard {planned.shard}, {planned.to}"
    links = links_told(planned.links)
    near = ("", "Around the point:", "", around(planned.neighbours))
    more = ("", beyond_told(planned.shard, planned.beyond, "these tables")) if planned.beyond else ()
    return lines(head, "", steps, *links, *near, *more)


@render_text.register
def _(result: TablesResult) -> RenderableType:
    checks = findings_table(
        Finding(Level.OK if check.passed else Level.FAIL, check.name, check.detail) for check in result.checks
    )
    steps = facts((f"{number:>2}.", step) for number, step in enumerate(result.next_steps, start=1))
    more = (beyond_told(result.shard, result.beyond, "these tables"), "") if result.beyond else ()
    return lines("", facts(_facts(result)), "", *more, checks, "", "To put it to work:", "", steps)


def _facts(result: TablesResult) -> Iterator[tuple[str, str]]:
    names = ", ".join(each.table for each in result.tables)
    yield "restored", f"{names} of {result.shard}, from backup {result.label}"
    yield "to", result.asked
    if result.reached_at is not None:
        yield "last commit", f"{precise(result.reached_at)} UTC"
    yield "stopped before", result.stopped_before or "nothing: this is the end of the archive"
    if result.skipped:
        yield "left out", by_uuid(result.skipped)
    for each in result.tables:
        if each.sql is not None:
            yield "as SQL", f"{each.sql}, {figures.plural(each.rows or 0, 'row')}"
        if each.directory is not None:
            yield "exported", f"{each.directory}, {figures.size(each.files_bytes)}"
    if result.unchecked:
        yield "not checked", f"foreign keys to {', '.join(result.unchecked)}, which were left out"
    fetched = figures.size(result.read_bytes)
    yield "fetched", f"{fetched} from the store; the shard has {figures.size(result.shard_bytes)} of files"
    yield "replayed", figures.plural(result.transactions, "transaction")
    yield "took", f"{figures.duration(result.seconds)}{stages(result.stage_seconds)}"
    yield "started on", f"MySQL {result.server_version}"
    if result.left is not None:
        yield "server", f"runs on as process {result.left.pid}, read-only, no password; socket only"
        yield "socket", str(result.left.socket)
