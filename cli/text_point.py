"""What ``backstay restore`` to a point answers: the plan, with the place it stops at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import RenderableType
from rich.text import Text

from cli.backups import by_uuid
from cli.render import render_text
from cli.tables import dim, facts, findings_table, grid, lines
from cli.text_find import one_line
from cli.text_restore import PlannedLink, links_told, passed_over_told, stages
from cli.text_show import visible
from fleet import figures
from fleet.finding import Finding, Level
from fleet.gtid import GtidSet
from fleet.moments import from_microseconds, precise
from fleet.transaction import Transaction
from repository.archive.beyond import HeldBeyond
from restore.choice import PassedOver
from restore.point import Point
from restore.point_plan import PointPlan
from restore.point_restore import PointResult
from restore.wording import short


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A transaction at the place: ``place`` is ``in``, ``skipped``, ``stop`` (the first that is out) or
    ``out``; or ``branch``. ``committed_at`` is to the microsecond, as ``--to`` takes it.
    """

    place: str
    gtid: str
    committed_at: str
    kinds: tuple[str, ...]
    tables: tuple[str, ...]
    statement: str


@dataclass(frozen=True, slots=True)
class BranchLeft:
    """Transactions that were committed before the point, in ``epoch``, and are on a branch: they are not in
    it. ``gtids`` is all of them, on one line.
    """

    epoch: int
    transactions: int
    gtids: str


@dataclass(frozen=True, slots=True)
class PointPlanned:
    """What a restore to a point would do. ``gtids`` is the exact set it would end with; sizes in bytes."""

    shard: str
    label: str
    target: Path
    to: str
    mode: str
    steps: tuple[str, ...]
    stop_before: str | None
    gtids: str
    skipped: str
    neighbours: tuple[Neighbour, ...]
    branches: tuple[BranchLeft, ...]
    epoch: int
    transactions: int
    segments: int
    archive_bytes: int
    log_bytes: int
    backup_bytes: int
    needed_bytes: int
    free_bytes: int
    estimated_seconds: float
    promised_seconds: float
    remove_files: tuple[str, ...]
    links: tuple[PlannedLink, ...]
    passed_over: tuple[PassedOver, ...]
    beyond: HeldBeyond | None = None

    @classmethod
    def of(cls, plan: PointPlan) -> Self:
        """The plan as it is told."""
        return cls(
            shard=plan.shard,
            label=plan.label,
            target=plan.directory,
            to=str(plan.target),
            mode=plan.base.mode.value,
            steps=plan.steps(),
            stop_before=str(plan.point.stop_before) if plan.point.stop_before else None,
            gtids=plan.point.gtids.one_line(),
            skipped=plan.point.skipped.one_line(),
            neighbours=tuple(neighbours(plan.point)),
            branches=tuple(
                BranchLeft(each.epoch, each.gtids.count(), each.gtids.one_line()) for each in plan.branches
            ),
            epoch=plan.epoch,
            transactions=plan.transactions,
            segments=plan.stretch.segments,
            archive_bytes=plan.stretch.stored_bytes,
            log_bytes=plan.stretch.log_bytes,
            backup_bytes=plan.base.stored_bytes,
            needed_bytes=plan.base.needed_bytes,
            free_bytes=plan.base.target.free_bytes,
            estimated_seconds=plan.estimate.seconds,
            promised_seconds=plan.estimate.promised_seconds,
            remove_files=plan.base.remove_files,
            links=PlannedLink.all_of(plan.base.chain),
            passed_over=plan.base.passed_over,
            beyond=plan.beyond,
        )


def neighbours(point: Point) -> Iterator[Neighbour]:
    """The transactions around the place, and those that are left out on the way to it, in order."""
    skipped = {each.gtid for each in point.skipped_transactions}
    for each in point.skipped_transactions:
        yield told("skipped", each)
    for each in point.before:
        if each.gtid not in skipped:
            yield told("in", each)
    if point.stop is not None:
        yield told("stop", point.stop)
    for each in point.after:
        yield told("out", each)


def told(place: str, transaction: Transaction) -> Neighbour:
    """A transaction as texts and programs are told of it."""
    at = from_microseconds(transaction.committed_at_us)
    return Neighbour(
        place=place,
        gtid=str(transaction.gtid),
        committed_at=f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
        kinds=tuple((kind.name or "").lower() for kind in transaction.kinds),
        tables=transaction.tables,
        statement=transaction.statement,
    )


@render_text.register
def _(planned: PointPlanned) -> RenderableType:
    steps = facts((f"{number:>2}.", step) for number, step in enumerate(planned.steps, start=1))
    head = f"The plan for {planned.target}: shard {planned.shard}, {planned.to}"
    links = links_told(planned.links)
    near = ("", "Around the point:", "", around(planned.neighbours))
    more = ("", beyond_told(planned.shard, planned.beyond)) if planned.beyond else ()
    return lines(head, "", steps, *links, *near, *more)


def beyond_told(shard: str, beyond: HeldBeyond, missing_in: str = "") -> RenderableType:
    """A backup has more than the archive to whose end a restore goes: what, and how to get it.

    ``missing_in``: what lacks them, if that is no restore of the whole shard.
    """
    told = f"{beyond.told}: {short(GtidSet.parse(beyond.gtids))}. "
    told += f"They are not in {missing_in or 'this restore'}"
    way = f"To get them, restore the backup: --backup {beyond.label}, or the newest one, and no point."
    if missing_in:
        way = f"To get them, restore the shard: backstay restore {shard} --backup {beyond.label} --into DIR"
    return findings_table([Finding(Level.WARN, f"shard {shard}", told, way)])


def around(found: tuple[Neighbour, ...]) -> RenderableType:
    """One transaction a row: in or out, which, when; below it what it did."""
    rows: list[tuple[RenderableType, ...]] = []
    for one in found:
        mark = Text(one.place, style="bold red" if one.place in {"stop", "skipped"} else "")
        moment = one.committed_at.replace("T", " ").removesuffix("Z")
        rows.append((mark, f"{one.gtid}  {moment}"))
        rows.append(("", dim(deed(one))))
    return grid(rows) if rows else "No transaction of the archive is near it."


def deed(one: Neighbour) -> str:
    """``insert  shop.orders``, or ``ddl  DROP TABLE shop.orders``."""
    kinds = ", ".join(one.kinds) or "empty"
    return f"{kinds}  {one_line(one.statement) or visible(', '.join(one.tables))}".rstrip()


@render_text.register
def _(result: PointResult) -> RenderableType:
    checks = findings_table(
        Finding(Level.OK if check.passed else Level.FAIL, check.name, check.detail) for check in result.checks
    )
    steps = facts((f"{number:>2}.", step) for number, step in enumerate(result.next_steps, start=1))
    skipped = (passed_over_told(result.shard, result.passed_over), "") if result.passed_over else ()
    more = (beyond_told(result.shard, result.beyond), "") if result.beyond else ()
    return lines("", facts(_facts(result)), "", *skipped, *more, checks, "", "To put it to work:", "", steps)


def _facts(result: PointResult) -> Iterator[tuple[str, str]]:
    came = "promoted" if result.promoted else "restored"
    yield came, f"{result.shard}, from backup {result.label} and epoch {result.epoch}"
    yield "to", result.asked
    if result.reached_at is not None:
        yield "last commit", f"{precise(result.reached_at)} UTC"
    yield "stopped before", result.stopped_before or "nothing: this is the end of the archive"
    if result.skipped:
        yield "left out", by_uuid(result.skipped)
    yield "into", str(result.target)
    yield "replayed", _replayed(result)
    yield "took", f"{figures.duration(result.seconds)}{stages(result.stage_seconds)}"
    yield "started on", f"MySQL {result.server_version}"
    yield "GTID set", by_uuid(result.gtid_executed)
    if result.unrecorded is not None:
        yield "its new life", f"not recorded: {result.unrecorded}"
    if result.left is not None:
        writes = "takes writes" if result.promoted else "read-only"
        yield "server", f"runs on as process {result.left.pid}, {writes}, no password; socket only"
        yield "socket", str(result.left.socket)


def _replayed(result: PointResult) -> str:
    if not result.transactions:
        return "nothing: the backup ends at the point, or an earlier run had replayed it"
    rate = result.transactions / max(result.stage_seconds.get("replay", 0), 0.001)
    return f"{figures.plural(result.transactions, 'transaction')}, {rate:,.0f} a second"
