"""A story's tables for people and its JSON for machines, both from ``Told`` alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from benchmarks.report import WIDTH, plain_table
from benchmarks.story import Sheet, Step, Told


def show(told: Told, console: Console) -> None:
    """Print what the story found."""
    console.print(render(told), width=WIDTH)


def render(told: Told) -> RenderableType:
    """Facts, the sheets, the aims, and what must be known beside them."""
    parts: list[RenderableType] = [Text(" · ".join(f"{name} {value}" for name, value in told.facts.items()))]
    for sheet in told.sheets:
        parts += [Text(""), _table(sheet)]
    lines = [(str(aim), None if aim.reached else "yellow") for aim in told.aims]
    lines += [(note, None) for note in told.notes]
    if told.noisy:
        noise = max(step.usage.noise for step in told.noisy if step.usage)
        steps = f"{len(told.noisy)} of {len(told.steps)} steps"
        lines.append((f"not alone: others used up to {noise:.0%} of the machine in {steps}", "yellow"))
    lines += [(f"failed: {line}", "red") for line in told.failed]
    if lines:
        parts.append(Text(""))
    parts += [Text(line, style=style or "") for line, style in lines]
    return Lines(*parts)


def as_json(told: Told) -> dict[str, Any]:
    """All figures of every step and round."""
    return {
        "story": told.story,
        "facts": dict(told.facts),
        "steps": [_step_json(step) for step in told.steps],
        "sheets": [asdict(sheet) for sheet in told.sheets],
        "aims": [asdict(aim) | {"reached": aim.reached} for aim in told.aims],
        "notes": list(told.notes),
        "failed": list(told.failed),
    }


def _table(sheet: Sheet) -> Table:
    table = plain_table(sheet.title)
    for number, name in enumerate(sheet.columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=number == 0)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "part": step.part,
        "name": step.name,
        "title": step.title,
        "rounds": [asdict(usage) for usage in step.usages],
        "added_bytes": step.added_bytes,
        "report": dict(step.report),
        "error": step.error,
    }
