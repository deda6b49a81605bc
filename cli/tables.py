"""The few shapes that our text is made of. No frames, little colour, 80 columns are enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleet.finding import Finding, Level

_BELOW = 6
_LEVEL_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def facts(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names on the left, dim; values on the right."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def listing(columns: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> Table:
    """A table without lines. Columns whose name starts with ``>`` hold figures and end at the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(
            name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """One finding a row: how bad, what, the fact and below it the way out."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(level(finding.level), finding.subject, finding.message)
        if finding.hint:
            table.add_row("", "", dim(finding.hint))
    return table


def findings_below(findings: Iterable[Finding]) -> RenderableType:
    """Findings whose subjects are long, like names of objects: how bad and what, and the fact below it."""
    parts: list[RenderableType] = []
    for finding in findings:
        # One piece, however narrow the screen is: somebody looks for that object.
        head = (level(finding.level), "  ", finding.subject)
        parts.append(Text.assemble(*head, no_wrap=True, overflow="ignore"))
        told = [Text(finding.message), *([dim(finding.hint)] if finding.hint else [])]
        parts += (Padding(each, (0, 0, 0, _BELOW)) for each in told)
    return Group(*parts)


def grid(rows: Iterable[Sequence[RenderableType]]) -> Table:
    """Rows of short cells, without a heading; the last column takes what is long."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        while len(table.columns) < len(row):
            table.add_column(overflow="fold", no_wrap=not table.columns)
        table.add_row(*row)
    return table


def level(value: Level) -> Text:
    """``ok``, ``warn`` or ``fail`` in its colour."""
    return Text(value, style=_LEVEL_STYLES[value])


def lines(*parts: RenderableType) -> RenderableType:
    """Parts, one below the other."""
    return Group(*parts)


def copyable(text: str) -> Text:
    """A line that is never broken, since somebody may copy it."""
    return Text(text, no_wrap=True, overflow="ignore")


def dim(text: str) -> Text:
    """Text that may be overlooked."""
    return Text(text, style="dim")
