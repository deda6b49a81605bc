"""The table for people and the JSON for machines, both from ``Measured`` alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from benchmarks.cases import Group
from benchmarks.results import DonorCost, Measured, Outcome, Row, cpu_by_stage, rows

WIDTH = 100


def show(measured: Measured, console: Console) -> None:
    """Print everything that was measured."""
    console.print(render(measured), width=WIDTH)


def render(measured: Measured) -> RenderableType:
    """Facts, one table a group, CPU by stage, cost on the donor, and what was left out."""
    facts = " · ".join(f"{name} {value}" for name, value in measured.facts.items())
    parts: list[RenderableType] = [Text(facts)]
    for group in Group:
        found = rows(measured.outcomes, group, measured.data_bytes)
        if found:
            parts += [Text(""), _group_table(group, found)]
    parts += _stages(measured)
    if measured.costs:
        parts += [Text(""), _cost_table(measured.costs)]
    if measured.noisy:
        noise = max(outcome.usage.noise for outcome in measured.noisy)
        cases = f"{len(measured.noisy)} of {len(measured.outcomes)} cases"
        parts.append(
            Text(f"\nnot alone: others used up to {noise:.0%} of the machine in {cases}", style="yellow")
        )
    failed = [f"{outcome.title}: {outcome.error}" for outcome in measured.outcomes if outcome.error]
    for line in (*failed, *measured.left_out):
        parts.append(Text(f"left out: {line}", style="yellow"))
    return Lines(*parts)


def as_json(measured: Measured) -> dict[str, Any]:
    """All figures of every round, and what the tables show of them."""
    size = measured.data_bytes
    groups = {
        group.name.lower(): [_row_json(row, size) for row in rows(measured.outcomes, group, size)]
        for group in Group
    }
    return {
        "data_bytes": size,
        "facts": dict(measured.facts),
        "groups": groups,
        "donor_cost": [asdict(cost) for cost in measured.costs],
        "failed": {outcome.name: outcome.error for outcome in measured.outcomes if outcome.error},
        "left_out": list(measured.left_out),
    }


def _group_table(group: Group, found: list[Row]) -> Table:
    table = plain_table(group.value)
    table.add_column("", no_wrap=True, min_width=33)
    for name in ("wall s", "MB/s", "ratio", "CPU s", "donor", "store", "peak MB", "left MB"):
        table.add_column(name, justify="right")
    for row in found:
        usage, outcome = row.outcome.usage, row.outcome
        servers = usage.servers_cpu_seconds
        table.add_row(
            outcome.title + ("" if outcome.encrypted else " *"),
            f"{usage.seconds:.1f}",
            f"{row.megabytes_per_second:.0f}",
            f"{row.ratio:.2f}" if row.ratio is not None else "-",
            f"{usage.cpu_seconds:.1f}",
            f"{servers.get('donor', 0):.1f}",
            f"{servers.get('store', 0):.1f}",
            _megabytes(usage.peak_bytes),
            _megabytes(outcome.stored_bytes),
            style="bold" if outcome.ours else None,
        )
    if any(not row.outcome.encrypted for row in found):
        table.caption = "* not encrypted"
        table.caption_justify = "left"
    return table


def _stages(measured: Measured) -> list[RenderableType]:
    told = [(outcome, cpu) for outcome in measured.outcomes if (cpu := _stage_figures(outcome, measured))]
    if not told:
        return []
    table = plain_table("CPU seconds a GB of data, by stage")
    table.add_column("", no_wrap=True, min_width=33)
    for name in told[0][1]:
        table.add_column(name, justify="right")
    for outcome, cpu in told:
        label = f"{outcome.title}, {outcome.group.value.rpartition(' ')[2]}"
        table.add_row(label, *(f"{seconds:.2f}" for seconds in cpu.values()))
    return [Text(""), table]


def _stage_figures(outcome: Outcome, measured: Measured) -> dict[str, float] | None:
    return cpu_by_stage(outcome, measured.data_bytes) if outcome.usages else None


def _cost_table(costs: tuple[DonorCost, ...]) -> Table:
    table = plain_table("latency of a steady load on the donor, in ms")
    table.add_column("while this ran", no_wrap=True, min_width=33)
    for name in ("for s", "transactions", "p50", "p99", "longest"):
        table.add_column(name, justify="right")
    for cost in costs:
        found = cost.latency
        figures = (f"{seconds * 1000:.1f}" for seconds in (found.p50, found.p99, found.longest))
        table.add_row(cost.title, f"{cost.seconds:.0f}", f"{found.done:,}", *figures)
    return table


def plain_table(title: str) -> Table:
    """A table without lines, as all of them are."""
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def _row_json(row: Row, data_bytes: int) -> dict[str, Any]:
    outcome = row.outcome
    return {
        "name": outcome.name,
        "title": outcome.title,
        "ours": outcome.ours,
        "encrypted": outcome.encrypted,
        "megabytes_per_second": round(row.megabytes_per_second, 1),
        "ratio_to_best_encrypted_peer": row.ratio,
        "median": asdict(outcome.usage),
        "rounds": [asdict(usage) for usage in outcome.usages],
        "left_bytes": outcome.stored_bytes,
        "cpu_seconds_per_gigabyte": cpu_by_stage(outcome, data_bytes),
        "reports": [dict(report) for report in outcome.reports],
    }


def _megabytes(count_bytes: float) -> str:
    return f"{count_bytes / 1e6:,.0f}"
