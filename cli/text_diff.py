"""What ``backstay diff`` answers: a table as it was beside what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from rich.console import RenderableType
from rich.text import Text

from cli.backups import by_uuid
from cli.render import render_text
from cli.tables import dim, facts, grid, lines
from cli.text_point import beyond_told
from cli.text_show import Columns, ShownRow, row_text, visible
from fleet import figures
from repository.archive.beyond import HeldBeyond
from restore.diff import TableDiff
from restore.diff_compare import RowExample
from restore.diff_definition import DefinitionChange

_MARKS = {"missing": "-", "added": "+", "changed": "~"}


@dataclass(frozen=True, slots=True)
class ChangedDefinition:
    """``what`` is ``column`` or ``index``; null on the side that lacks it. ``compared``: its values are."""

    what: str
    name: str
    past: str | None
    live: str | None
    compared: bool


@dataclass(frozen=True, slots=True)
class DifferentRow:
    """``kind`` is ``missing``, ``added`` or ``changed``, as seen from the past; null where it is not."""

    kind: str
    past: Columns | None
    live: Columns | None

    @classmethod
    def of(cls, row: RowExample) -> Self:
        """The row as texts and programs are told of it."""
        past, live = (None if image is None else Columns(image) for image in (row.past, row.live))
        return cls(row.kind.value, past, live)


@dataclass(frozen=True, slots=True)
class TableCompared:
    """One table, then and now. ``equal``: definition and rows. ``rows`` are the first that differ.

    ``past_gtids`` was executed at the point; the live table was read at a moment between ``live_gtids_low``
    and ``live_gtids_high``, which are equal unless the server never paused. ``key`` names a row, empty for a
    table without a key; ``columns`` were compared.
    """

    shard: str
    table: str
    server: str
    equal: bool
    asked: str
    label: str
    reached_at: datetime | None
    stopped_before: str | None
    past_gtids: str
    live_gtids_low: str
    live_gtids_high: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    definition: tuple[ChangedDefinition, ...]
    past_rows: int
    live_rows: int
    missing: int
    added: int
    changed: int
    rows: tuple[DifferentRow, ...]
    notes: tuple[str, ...]
    sql: Path | None
    statements: int
    seconds: float
    stage_seconds: Mapping[str, float]
    beyond: HeldBeyond | None = None

    @classmethod
    def of(cls, diff: TableDiff) -> Self:
        """The answer for a comparison."""
        found = diff.compared
        return cls(
            shard=diff.shard,
            table=str(diff.table),
            server=diff.server,
            equal=found.is_equal,
            asked=diff.asked,
            label=diff.label,
            reached_at=diff.reached_at,
            stopped_before=diff.stopped_before,
            past_gtids=diff.gtid_executed,
            live_gtids_low=str(found.moment.low),
            live_gtids_high=str(found.moment.high),
            key=found.key,
            columns=found.columns,
            definition=tuple(map(_definition, found.definition)),
            past_rows=found.past_rows,
            live_rows=found.live_rows,
            missing=found.missing,
            added=found.added,
            changed=found.changed,
            rows=tuple(map(DifferentRow.of, found.examples)),
            notes=found.notes,
            sql=diff.sql,
            statements=found.statements,
            seconds=diff.seconds,
            stage_seconds=diff.stage_seconds,
            beyond=diff.beyond,
        )

    @property
    def differing(self) -> int:
        """How many rows differ."""
        return self.missing + self.added + self.changed

    @property
    def hint(self) -> str | None:
        """What could be done about it."""
        if not self.differing or self.sql is not None:
            return None
        return "With --sql FILE the statements that would undo it are written."


def _definition(change: DefinitionChange) -> ChangedDefinition:
    return ChangedDefinition(change.what, change.name, change.past, change.live, change.compared)


@render_text.register
def _(found: TableCompared) -> RenderableType:
    parts: list[RenderableType] = [facts(_facts(found))]
    if found.beyond is not None:
        parts += ["", beyond_told(found.shard, found.beyond, "the past that was compared")]
    if found.definition:
        parts += ["", Text("The definition changed:"), grid(_changes(found))]
    parts += ["", Text(_verdict(found), style="" if found.differing else "green")]
    if found.rows:
        parts.append(grid(_rows(found)))
    if found.sql is not None:
        written = figures.plural(found.statements, "statement")
        parts += ["", Text(f"{found.sql}: {written} that would undo it. None was run.")]
        parts += [dim(f"  {visible(note)}") for note in found.notes]
    elif found.hint is not None:
        parts += ["", dim(found.hint)]
    return lines(*parts)


def _facts(found: TableCompared) -> Iterator[tuple[str, RenderableType]]:
    yield "table", visible(f"{found.table} of shard {found.shard}")
    yield "past", f"{found.asked}, {figures.plural(found.past_rows, 'row')}"
    if found.reached_at is not None:
        yield "", dim(f"the last transaction before: {figures.moment(found.reached_at)} UTC")
    yield "live", f"server {found.server}, {figures.plural(found.live_rows, 'row')}"
    if found.live_gtids_low == found.live_gtids_high:
        yield "", dim(by_uuid(found.live_gtids_low))
    else:
        yield "", dim(f"at least {by_uuid(found.live_gtids_low)}")
        yield "", dim(f"at most  {by_uuid(found.live_gtids_high)}")
    if not found.key:
        yield "key", Text("none: rows are compared as a whole", style="yellow")
    yield "took", figures.duration(found.seconds)


def _changes(found: TableCompared) -> Iterator[tuple[RenderableType, RenderableType]]:
    for change in found.definition:
        name = visible(f"{change.what} {change.name}")
        if change.past is None:
            yield "  +", f"{name}: {visible(change.live or '')}"
        elif change.live is None:
            yield "  -", f"{name}: {visible(change.past)}"
        else:
            yield "  ~", f"{name}: {visible(change.past)} -> {visible(change.live)}"
            if not change.compared:
                yield "", Text("its values cannot be compared", style="yellow")


def _verdict(found: TableCompared) -> str:
    if not found.differing:
        return (
            "Every row is as it was."
            if not found.definition
            else "In what both have, every row is as it was."
        )
    counts = ((found.missing, "missing"), (found.added, "added"), (found.changed, "changed"))
    told = ", ".join(f"{figures.number(count)} {word}" for count, word in counts if count)
    return (
        f"{figures.plural(found.differing, 'row')} {'differs' if found.differing == 1 else 'differ'}: {told}"
    )


def _rows(found: TableCompared) -> Iterator[tuple[RenderableType, RenderableType]]:
    for row in found.rows:
        yield f"  {_MARKS[row.kind]}", row_text(ShownRow(row.past, row.live), found.key)
    if left := found.differing - len(found.rows):
        yield "", dim(f"... {figures.number(left)} more")
