"""The statements that would undo the differences on the live table: for a person to read, and to run or not.

Their order works whatever the rows are: first goes what was added, then what changed is set back, then comes
what is missing. A row of which a value in a unique index changed is deleted and inserted again, for two rows
may have exchanged theirs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from restore.complete_file import complete_file
from restore.diff_merge import RowDifference
from restore.diff_plan import ComparePlan
from restore.files import disk_errors
from restore.table_sql import LENIENT, STRICT, comment, insert_into, row_values
from wire.binlog.sql_export import PREAMBLE
from wire.binlog.sql_literals import identifier
from wire.row_stream import Cell
from wire.table_columns import Form, form_of, is_no_member
from wire.table_definition import PRIMARY, ColumnDefinition, Relations, TableDefinition

LONGEST_OLD_VALUES = 300
"""Characters of old values that a comment holds; longer ones are left out."""


class _Part(IntEnum):
    """The parts of the script, in order."""

    DELETE = 0
    TAKE_OUT = 1
    UPDATE = 2
    PUT_BACK = 3
    INSERT = 4


class UndoScript:
    """Collects statements on the disk, by part; ``write`` puts them into one file. Close it at the end."""

    def __init__(
        self, plan: ComparePlan, table: TableDefinition, relations: Relations, directory: Path
    ) -> None:
        self._plan = plan
        self._table = f"{identifier(table.schema)}.{identifier(table.name)}"
        self._refers_to_itself = f"{table.schema}.{table.name}" in relations.refers_to
        self._exchanged = _columns_of_unique_indexes(plan, table)
        self._renewing = [column for column in table.stored if column.renews_itself]
        self._columns = [column.live for column in plan.columns]
        self._whole = [*self._columns, *plan.others]
        self._others = [form_of(column) for column in plan.others]
        self._directory = directory
        with disk_errors(directory):
            self._parts: Mapping[_Part, BinaryIO] = {
                part: tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by close
                for part in _Part
            }
        self.statements = 0

    def close(self) -> None:
        for file in self._parts.values():
            file.close()

    def add(self, difference: RowDifference) -> None:
        """Undo one difference."""
        plan = self._plan
        past = None if difference.past is None else plan.past.row(difference.past)
        live = None if difference.live is None else plan.live.row(difference.live)
        if past is not None and live is None:
            self._say(_Part.INSERT, self._insert(self._columns, plan.past.forms, past))
        elif live is not None and difference.live is not None and past is None:
            self._say(
                _Part.DELETE, self._delete(live), self._was_all(live, plan.live.others(difference.live))
            )
        elif past is not None and live is not None and difference.live is not None:
            self._set_back(past, live, plan.live.others(difference.live))

    def write(self, out: Path, heading: Sequence[str]) -> None:
        """Put all of it into the new file ``out``. Raises TargetRefused, DiskFull."""
        # Rows that refer to others of their own table come in no order that a check would accept.
        with complete_file(out) as file:
            _lines(file, [*map(comment, heading), *PREAMBLE, "BEGIN;"])
            for part, source in self._parts.items():
                # A row that is put back keeps its key: those that refer to it must not go with it.
                unchecked = self._refers_to_itself or part in {_Part.TAKE_OUT, _Part.PUT_BACK}
                is_there = source.seek(0, os.SEEK_END) > 0
                source.seek(0)
                _lines(file, ["SET foreign_key_checks = 0;"] if unchecked and is_there else [])
                shutil.copyfileobj(source, file)
                _lines(file, ["SET foreign_key_checks = DEFAULT;"] if unchecked and is_there else [])
            _lines(file, ["COMMIT;", comment(f"end: {self.statements} statements")])

    def _set_back(self, past: Sequence[Cell], live: Sequence[Cell], others: Sequence[Cell]) -> None:
        plan = self._plan
        changed = plan.changed(past, live)
        was = self._was(changed, live)
        if any(plan.columns[number].name.lower() in self._exchanged for number in changed):
            forms = [*plan.past.forms, *self._others]
            self._say(_Part.TAKE_OUT, self._delete(live), was)
            self._say(_Part.PUT_BACK, self._insert(self._whole, forms, [*past, *others]))
            return
        sets = [
            f"{identifier(plan.columns[number].name)} = {plan.past.forms[number].write(past[number])}"
            for number in changed
        ]
        named = {plan.columns[number].name for number in changed}
        # What is not named would become the time at which the statement is run.
        sets += [
            f"{identifier(column.name)} = {identifier(column.name)}"
            for column in self._renewing
            if column.name not in named
        ]
        statement = f"UPDATE {self._table} SET {', '.join(sets)} WHERE {self._where(live)};"  # noqa: S608
        odd = any(is_no_member(plan.columns[number].past, past[number]) for number in changed)
        self._say(_Part.UPDATE, _leniently(statement) if odd else statement, was)

    def _insert(self, columns: Sequence[ColumnDefinition], forms: Sequence[Form], row: Sequence[Cell]) -> str:
        statement = f"{insert_into(self._table, columns)} {row_values(forms, row)};"
        odd = any(is_no_member(column, cell) for column, cell in zip(columns, row, strict=True))
        return _leniently(statement) if odd else statement

    def _delete(self, live: Sequence[Cell]) -> str:
        return f"DELETE FROM {self._table} WHERE {self._where(live)};"  # noqa: S608

    def _where(self, live: Sequence[Cell]) -> str:
        key = {name.lower() for name in self._plan.key}
        named = [
            (column.live, form, cell)
            for column, form, cell in zip(self._plan.columns, self._plan.live.forms, live, strict=True)
            if not key or column.name.lower() in key
        ]
        if key:
            return " AND ".join(_is(column, form, cell) for column, form, cell in named)
        return " AND ".join(_is_exactly(column, form, cell) for column, form, cell in named) + " LIMIT 1"

    def _was(self, numbers: Sequence[int], live: Sequence[Cell]) -> str:
        """The values that go, if they are short."""
        forms = self._plan.live.forms
        return _short((self._columns[number].name, forms[number].write(live[number])) for number in numbers)

    def _was_all(self, live: Sequence[Cell], others: Sequence[Cell]) -> str:
        """All values of a row that goes, if they are short."""
        forms = [*self._plan.live.forms, *self._others]
        return _short(
            (column.name, form.sql(cell))
            for column, form, cell in zip(self._whole, forms, [*live, *others], strict=True)
            if cell is not None
        )

    def _say(self, part: _Part, statement: str, was: str = "") -> None:
        with disk_errors(self._directory):
            _lines(self._parts[part], [*([comment(f"now: {was}")] if was else []), statement])
        self.statements += 1


def notes_on(plan: ComparePlan, table: TableDefinition, relations: Relations) -> tuple[str, ...]:
    """What whoever runs the statements should know before."""
    return tuple(_notes(plan, f"{table.schema}.{table.name}", relations))


def _notes(plan: ComparePlan, name: str, relations: Relations) -> Iterator[str]:
    if relations.triggers:
        yield f"triggers fire at every statement: {', '.join(relations.triggers)}"
    if others := [child for child in relations.referred_by if child != name]:
        children = ", ".join(others)
        yield f"foreign keys refer to it: a DELETE may fail on rows of {children}, or take them along"
    if parents := [parent for parent in relations.refers_to if parent != name]:
        yield f"its foreign keys refer to {', '.join(parents)}: an INSERT needs their rows first"
    if wanting := [column.name for column in plan.others if _wants_a_value(column)]:
        yield f"an INSERT must give a value to what was not there then: {', '.join(wanting)}"
    if lost := ", ".join(plan.lost):
        yield f"values of columns that are gone or of another kind now are not in it: {lost}"
    if not plan.key:
        yield "no key names its rows: a DELETE takes any one of those that are equal"


def _columns_of_unique_indexes(plan: ComparePlan, table: TableDefinition) -> frozenset[str]:
    """Lower-case names of the columns whose values two rows may exchange."""
    names: set[str] = set()
    key = {name.lower() for name in plan.key}
    for index in table.indexes:
        parts = {(part.column or "").lower() for part in index.parts}
        if not index.unique or parts == key or (index.name == PRIMARY and not key):
            continue
        columns = [table.column(name) for name in parts]
        if all(column is not None and not column.generated for column in columns):
            names |= parts
        else:
            # An expression, or a column that follows from others: whichever they are.
            return frozenset(column.name.lower() for column in plan.columns)
    return frozenset(names)


def _short(values: Iterable[tuple[str, str]]) -> str:
    text = ", ".join(f"{name} = {value}" for name, value in values)
    return text if len(text) <= LONGEST_OLD_VALUES else ""


def _wants_a_value(column: ColumnDefinition) -> bool:
    return not column.nullable and column.default is None and "auto_increment" not in column.extra.lower()


def _is(column: ColumnDefinition, form: Form, cell: Cell) -> str:
    if cell is None:
        return f"{identifier(column.name)} IS NULL"
    said = form.sql(cell)
    return f"{identifier(column.name)} = {f'CAST({said} AS FLOAT)' if column.kind == 'float' else said}"


def _is_exactly(column: ColumnDefinition, form: Form, cell: Cell) -> str:
    """Without a key also what a collation takes for equal must not be mistaken."""
    name = identifier(column.name)
    if cell is None or form.domain in {"number", "time", "bytes"} or column.kind in {"enum", "set"}:
        return _is(column, form, cell)
    if column.kind == "json":
        return f"{name} = CAST({form.sql(cell)} AS JSON)"
    if form.domain == "other":
        return f"HEX({name}) = '{cell.hex().upper()}'"
    said = form.sql(cell)
    if said.startswith(("'", "_utf8mb4 ")):
        return f"{name} = {said} COLLATE utf8mb4_0900_bin"
    return f"CAST({name} AS BINARY) = X'{cell.hex()}'"


def _leniently(statement: str) -> str:
    return f"{LENIENT}\n{statement}\n{STRICT}"


def _lines(file: BinaryIO, lines: Sequence[str]) -> None:
    with_ends = "".join(f"{line}\n" for line in lines)
    file.write(with_ends.encode("utf-8", "surrogatepass"))
