"""What became of a table's definition, and which of its columns can be compared all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wire.binlog.json_values import Json
from wire.binlog.values import Value
from wire.table_columns import Domain, form_of
from wire.table_definition import ColumnDefinition, IndexDefinition, TableDefinition


@dataclass(frozen=True, slots=True)
class DefinitionChange:
    """``what`` is ``column`` or ``index``; ``past`` and ``live`` are how it was and is, None where it is not.

    ``compared``: its values are looked at; of an index, always true.
    """

    what: str
    name: str
    past: str | None
    live: str | None
    compared: bool


@dataclass(frozen=True, slots=True)
class SharedColumn:
    """A column that both sides have, and whose values can be told to be equal. ``alike``: byte by byte."""

    past: ColumnDefinition
    live: ColumnDefinition
    domain: Domain

    @property
    def name(self) -> str:
        """What the live table calls it."""
        return self.live.name

    @property
    def alike(self) -> bool:
        return is_alike(self.past, self.live)


def shared_columns(past: TableDefinition, live: TableDefinition) -> tuple[SharedColumn, ...]:
    """In the order of the live table. Generated columns are left out: they follow from the others."""
    found: list[SharedColumn] = []
    for column in live.stored:
        before = past.column(column.name)
        if before is None or before.generated:
            continue
        domain = form_of(column).domain
        if domain == form_of(before).domain and (domain != "other" or is_alike(before, column)):
            found.append(SharedColumn(before, column, domain))
    return tuple(found)


def definition_changes(past: TableDefinition, live: TableDefinition) -> tuple[DefinitionChange, ...]:
    """Columns first, then indexes; what was there in the past first."""
    compared = {column.name.lower() for column in shared_columns(past, live)}
    return (*_columns(past, live, compared), *_indexes(past, live))


def is_alike(past: ColumnDefinition, live: ColumnDefinition) -> bool:
    """Whether both servers answer equal values with equal bytes."""
    same_text = (past.charset, past.kind) == (live.charset, live.kind)
    # Digits behind the point are part of the answer.
    return same_text and (past.kind in {"varchar", "char", "enum", "set"} or past.type == live.type)


def is_same_value(past: Value, live: Value, domain: Domain) -> bool:
    """Whether a value survived a change of its column's type."""
    if isinstance(past, float) or isinstance(live, float):
        return past is not None and live is not None and float(str(past)) == float(str(live))
    return normal(past, domain) == normal(live, domain)


def normal(value: Value, domain: Domain) -> Value:
    """The form in which equal values of different types are equal, and can be looked up."""
    if value is None:
        return None
    if isinstance(value, Json):
        return str(value)
    return _time(str(value)) if domain == "time" else value


def _time(text: str) -> str:
    """Without a fraction that is nothing; a date is its midnight."""
    whole, dot, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return whole.removesuffix(" 00:00:00") if not fraction else f"{whole}{dot}{fraction}"


def _columns(past: TableDefinition, live: TableDefinition, compared: set[str]) -> Iterator[DefinitionChange]:
    for column in past.columns:
        now = live.column(column.name)
        if now is None or str(now) != str(column) or now.generated != column.generated:
            is_compared = column.name.lower() in compared
            yield DefinitionChange("column", column.name, str(column), now and str(now), is_compared)
    for column in live.columns:
        if past.column(column.name) is None:
            yield DefinitionChange("column", column.name, None, str(column), False)


def _indexes(past: TableDefinition, live: TableDefinition) -> Iterator[DefinitionChange]:
    before, now = _by_name(past), _by_name(live)
    for name in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(name), now.get(name)
        if old is None or new is None or str(old) != str(new):
            yield DefinitionChange("index", name, old and str(old), new and str(new), True)


def _by_name(table: TableDefinition) -> dict[str, IndexDefinition]:
    return {index.name: index for index in table.indexes}
