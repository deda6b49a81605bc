"""What ``backstay restore --all`` answers: the plans, and the results, of all shards at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import RenderableType

from cli.failure import Failure
from cli.render import render_text
from cli.tables import findings_table, lines, listing
from cli.text_point import BranchLeft, PointPlanned, beyond_told
from cli.text_restore import passed_over_told
from fleet import figures
from fleet.finding import Finding, Level
from fleet.moments import precise
from restore.fleet_restore import FleetPlan, FleetResult
from restore.point_restore import PointResult


@dataclass(frozen=True, slots=True)
class FleetPlanned:
    """What would be done for each shard. ``skew_seconds``: how far apart they may stand, null if unknown."""

    to: str
    into: Path
    skew_seconds: float | None
    estimated_seconds: float
    shards: tuple[PointPlanned, ...]

    @classmethod
    def of(cls, plan: FleetPlan) -> Self:
        """The plan as it is told."""
        return cls(
            to=str(plan.target),
            into=plan.into,
            skew_seconds=plan.skew_seconds,
            estimated_seconds=plan.seconds,
            shards=tuple(PointPlanned.of(each) for each in plan.plans),
        )


@dataclass(frozen=True, slots=True)
class ShardRestored:
    """One shard: its result, or what kept it from having one."""

    shard: str
    directory: Path
    result: PointResult | None
    error: Failure | None


@dataclass(frozen=True, slots=True)
class FleetRestored:
    """All shards, by name."""

    asked: str
    into: Path
    skew_seconds: float | None
    seconds: float
    shards: tuple[ShardRestored, ...]

    @classmethod
    def of(cls, result: FleetResult) -> Self:
        """The result as it is told."""
        return cls(
            asked=result.asked,
            into=result.into,
            skew_seconds=result.skew_seconds,
            seconds=result.seconds,
            shards=tuple(
                ShardRestored(
                    each.shard, each.directory, each.result, Failure.of(each.error) if each.error else None
                )
                for each in result.shards
            ),
        )


@render_text.register
def _(planned: FleetPlanned) -> RenderableType:
    rows = [
        (
            one.shard,
            one.label,
            figures.number(one.transactions),
            _last_in(one),
            figures.duration(one.estimated_seconds),
        )
        for one in planned.shards
    ]
    table = listing(("shard", "backup", ">to replay", "last commit (UTC)", ">about"), rows)
    count = figures.plural(len(planned.shards), "shard")
    return lines(
        f"The plan for {planned.into}: {count}, {planned.to}",
        "",
        table,
        "",
        *(_branch(one.shard, branch) for one in planned.shards for branch in one.branches),
        *_passed_over(planned.shards),
        *_beyond(planned.shards),
        _skew(planned.skew_seconds),
    )


def _branch(shard: str, branch: BranchLeft) -> str:
    count = figures.plural(branch.transactions, "transaction")
    return (
        f"Shard {shard} goes without {count} of a branch that epoch {branch.epoch} left behind; "
        f"`backstay archive branches {shard}` lists them."
    )


def _passed_over(shards: Iterable[PointPlanned | PointResult]) -> list[RenderableType]:
    """A newer backup that is not whole: of each shard that one."""
    return [passed_over_told(one.shard, one.passed_over) for one in shards if one.passed_over]


def _beyond(shards: Iterable[PointPlanned | PointResult]) -> list[RenderableType]:
    """A backup that holds more than the archive: of each shard that one."""
    return [beyond_told(one.shard, one.beyond) for one in shards if one.beyond]


def _last_in(one: PointPlanned) -> str:
    inside = [each.committed_at for each in one.neighbours if each.place == "in"]
    # To the second: a label, a shard's name and a moment fill a line of 80 columns.
    return inside[-1].replace("T", " ").partition(".")[0] if inside else "-"


@render_text.register
def _(restored: FleetRestored) -> RenderableType:
    rows = [
        (
            one.shard,
            str(one.directory),
            figures.number(one.result.transactions),
            precise(one.result.reached_at) if one.result.reached_at else "-",
            figures.duration(one.result.seconds),
        )
        for one in restored.shards
        if one.result is not None
    ]
    parts: list[RenderableType] = ["", f"To {restored.asked}, in {figures.duration(restored.seconds)}:"]
    if rows:
        columns = ("shard", "proven in", ">replayed", "last commit (UTC)", ">took")
        parts += ["", listing(columns, rows), "", _skew(restored.skew_seconds)]
    results = [one.result for one in restored.shards if one.result is not None]
    parts += [*_passed_over(results), *_beyond(results)]
    failed = [
        Finding(Level.FAIL, f"shard {one.shard}", one.error.message, one.error.hint)
        for one in restored.shards
        if one.error is not None
    ]
    return lines(*parts, "", findings_table(failed)) if failed else lines(*parts)


def _skew(seconds: float | None) -> str:
    if seconds is None:
        return "How far apart the shards stand is unknown: one has no transaction to tell it."
    if not seconds:
        return "All shards stand at that very moment, by the clocks of their servers."
    return f"The shards stand at most {seconds:.3g} s apart, by the clocks of their servers."
