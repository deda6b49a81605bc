"""Two tables of two servers, compared row by row: both are read once, in step, and nothing is kept but what
differs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeAlias

from fleet.errors import Cancelled, ServerUnsupported
from fleet.progress import Progress, Silent
from fleet.table_name import TableName
from restore.diff_definition import DefinitionChange, definition_changes
from restore.diff_merge import (
    Difference,
    OutOfOrder,
    RowDifference,
    TooManyOpen,
    merge_as_multiset,
    merge_by_key,
)
from restore.diff_plan import ComparePlan, SidePlan, plan_comparison
from restore.diff_undo import UndoScript, notes_on
from wire.binlog.values import Value
from wire.session import Session
from wire.table_definition import Relations, TableDefinition, read_definition, read_relations
from wire.table_reading import Moment, begin_snapshot

EXAMPLES = 10
LOOK_UP_ROWS = 4096
"""Rows between two looks at whether somebody wants us to stop."""


Heading: TypeAlias = Callable[[Moment, Sequence[str]], Iterable[str]]
"""What a file of statements begins with, by the moment of the live side and notes for whoever runs them."""


@dataclass(frozen=True)
class RowExample:
    """One of the first rows that differ, by column; None on the side that lacks it."""

    kind: Difference
    past: Mapping[str, Value] | None
    live: Mapping[str, Value] | None


@dataclass(frozen=True)
class Compared:
    """What a comparison found. ``key``: the columns that name a row, none for a table without a key.

    ``definition``: what became of columns and indexes. ``columns`` were compared. ``notes`` are for whoever
    runs the statements, of which there are ``statements``.
    """

    key: tuple[str, ...]
    columns: tuple[str, ...]
    definition: tuple[DefinitionChange, ...]
    moment: Moment
    past_rows: int
    live_rows: int
    missing: int
    added: int
    changed: int
    examples: tuple[RowExample, ...]
    notes: tuple[str, ...]
    statements: int

    @property
    def rows_differ(self) -> bool:
        return bool(self.missing or self.added or self.changed)

    @property
    def is_equal(self) -> bool:
        """Same rows, same definition."""
        return not self.rows_differ and not self.definition


@dataclass(frozen=True)
class Sides:
    """How to get at the two tables; each call opens a session that is ready to read."""

    past: Callable[[], Session]
    live: Callable[[], Session]
    past_table: TableName
    live_table: TableName


def _no_heading(_moment: Moment, notes: Sequence[str]) -> Iterable[str]:
    return notes


def compare_tables(
    sides: Sides,
    *,
    sql: Path | None = None,
    heading: Heading = _no_heading,
    examples: int = EXAMPLES,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> Compared:
    """Compare two tables of two servers; with ``sql``, write what would make the live one like the past.

    Memory does not grow with the tables. Raises NotFound, ServerUnsupported: no common column, or too much to
    be kept of a table without a key.
    """
    reading = _Reading(progress or Silent(), cancelled or threading.Event())
    try:
        return _compare(sides, reading, sql, heading, examples, exact=False)
    except OutOfOrder:
        # A server that sorts by its index otherwise than by what its collation weighs: let it sort by bytes.
        return _compare(sides, reading, sql, heading, examples, exact=True)
    except TooManyOpen:
        table = sides.live_table
        raise ServerUnsupported(
            f"{table} has no key, and more rows of it differ than can be kept in mind",
            hint=f"Bring the old one back as SQL and look at both: backstay restore SHARD --table {table}",
        ) from None


@dataclass(frozen=True)
class _Reading:
    """Rows on their way: counted, and stopped where somebody asks for it."""

    progress: Progress
    cancelled: threading.Event

    def rows(self, session: Session, sql: str, count: _Count) -> Generator[bytes]:
        waiting = 0
        with closing(session.stream(sql)) as packets:
            for packet in packets:
                count.rows += 1
                waiting += len(packet)
                if count.rows % LOOK_UP_ROWS == 0:
                    self.progress.advance(waiting)
                    waiting = 0
                    if self.cancelled.is_set():
                        raise Cancelled("stopped while the tables were compared")
                yield packet


@dataclass
class _Count:
    rows: int = 0


@dataclass
class _Findings:
    """Differences counted by kind, and the first of them."""

    most: int
    plan: ComparePlan
    counts: dict[Difference, int] = field(default_factory=lambda: dict.fromkeys(Difference, 0))
    examples: list[RowExample] = field(default_factory=list[RowExample])

    def add(self, difference: RowDifference) -> None:
        self.counts[difference.kind] += 1
        if len(self.examples) < self.most:
            past = self._image(self.plan.past, difference.past)
            self.examples.append(
                RowExample(difference.kind, past, self._image(self.plan.live, difference.live))
            )

    def _image(self, side: SidePlan, packet: bytes | None) -> Mapping[str, Value] | None:
        if packet is None:
            return None
        values = side.values(side.row(packet))
        return {column.name: value for column, value in zip(self.plan.columns, values, strict=True)}


@dataclass(frozen=True)
class _Tables:
    """Both sessions, and what they say of the tables."""

    past: Session
    live: Session
    before: TableDefinition
    now: TableDefinition
    relations: Relations
    moment: Moment

    @classmethod
    def open(cls, sides: Sides, stack: ExitStack) -> Self:
        past = stack.enter_context(closing(sides.past()))
        live = stack.enter_context(closing(sides.live()))
        before = read_definition(past, *sides.past_table)
        moment = begin_snapshot(live)
        now = read_definition(live, *sides.live_table)
        return cls(past, live, before, now, read_relations(live, now.schema, now.name), moment)


def _compare(
    sides: Sides,
    reading: _Reading,
    sql: Path | None,
    heading: Heading,
    examples: int,
    *,
    exact: bool,
) -> Compared:
    with ExitStack() as stack:
        tables = _Tables.open(sides, stack)
        plan = plan_comparison(tables.before, tables.now, exact=exact)
        notes = notes_on(plan, tables.now, tables.relations)
        found = _Findings(examples, plan)
        script: UndoScript | None = None
        if sql is not None:
            script = UndoScript(plan, tables.now, tables.relations, sql.absolute().parent)
            stack.callback(script.close)
        past, live = _Count(), _Count()
        merged = _merge(
            plan,
            reading.rows(tables.past, plan.past.sql, past),
            reading.rows(tables.live, plan.live.sql, live),
        )
        for difference in merged:
            found.add(difference)
            if script is not None:
                script.add(difference)
        if script is not None and sql is not None:
            script.write(sql, list(heading(tables.moment, notes)))
    made = (past.rows, live.rows, script.statements if script else 0)
    return _compared(tables, plan, found, notes, made)


def _compared(
    tables: _Tables, plan: ComparePlan, found: _Findings, notes: tuple[str, ...], made: tuple[int, int, int]
) -> Compared:
    """``made``: rows of the past, rows of the live table, statements."""
    past_rows, live_rows, statements = made
    return Compared(
        key=plan.key,
        columns=tuple(column.name for column in plan.columns),
        definition=definition_changes(tables.before, tables.now),
        moment=tables.moment,
        past_rows=past_rows,
        live_rows=live_rows,
        missing=found.counts[Difference.MISSING],
        added=found.counts[Difference.ADDED],
        changed=found.counts[Difference.CHANGED],
        examples=tuple(found.examples),
        notes=notes,
        statements=statements,
    )


def _merge(plan: ComparePlan, past: Iterable[bytes], live: Iterable[bytes]) -> Generator[RowDifference]:
    if plan.key:
        return merge_by_key(
            past,
            live,
            past_key=plan.past.key,
            live_key=plan.live.key,
            is_same=plan.is_same,
            alike=plan.alike,
        )
    return merge_as_multiset(
        past, live, past_content=plan.past_content, live_content=plan.live_content, alike=plan.alike
    )
