"""How two tables are compared: what is asked of each, what tells rows apart, when two are the same. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.errors import ServerUnsupported
from restore.diff_definition import SharedColumn, is_same_value, normal, shared_columns
from wire.binlog.values import Value
from wire.row_stream import Cell, cells
from wire.table_columns import Form, Sorting, form_of, sorting_of
from wire.table_definition import ColumnDefinition, IndexDefinition, TableDefinition
from wire.table_reading import select_rows


@dataclass(frozen=True)
class SidePlan:
    """One side. A row holds ``ranks`` cells of its key, ``forms`` of what is compared, then others."""

    sql: str
    ranks: tuple[Callable[[bytes], Any], ...]
    forms: tuple[Form, ...]

    def key(self, packet: bytes) -> tuple[Any, ...]:
        """What the row is sorted by."""
        found = cells(packet, len(self.ranks))
        return tuple(rank(cell or b"") for rank, cell in zip(self.ranks, found, strict=True))

    def row(self, packet: bytes) -> list[Cell]:
        """The cells that are compared."""
        first = len(self.ranks)
        return cells(packet, first + len(self.forms))[first:]

    def others(self, packet: bytes) -> list[Cell]:
        """The cells of columns that only this side has."""
        return cells(packet)[len(self.ranks) + len(self.forms) :]

    def values(self, row: Sequence[Cell]) -> list[Value]:
        return [form.read(cell) for form, cell in zip(self.forms, row, strict=True)]


@dataclass(frozen=True)
class ComparePlan:
    """``key``: the columns that name a row, as the live table calls them; empty for a table without a key.

    ``alike``: equal rows are equal packets. ``others``: columns that only the live table has, or has in
    another kind; ``lost``: names of those of the past that are so.
    """

    past: SidePlan
    live: SidePlan
    columns: tuple[SharedColumn, ...]
    others: tuple[ColumnDefinition, ...]
    lost: tuple[str, ...]
    key: tuple[str, ...]
    alike: bool

    def is_same(self, past: bytes, live: bytes) -> bool:
        """Whether two rows of one key have the same values."""
        return not self.changed(self.past.row(past), self.live.row(live))

    def changed(self, past: Sequence[Cell], live: Sequence[Cell]) -> list[int]:
        """The numbers of the columns whose values differ."""
        return [
            number
            for number, (column, old, new) in enumerate(zip(self.columns, past, live, strict=True))
            if old != new and (column.alike or not self._survived(number, old, new))
        ]

    def past_content(self, packet: bytes) -> Hashable:
        """What tells one row of a table without a key from another."""
        return self._content(self.past, packet)

    def live_content(self, packet: bytes) -> Hashable:
        """The same of the other side: equal rows are equal."""
        return self._content(self.live, packet)

    def _content(self, side: SidePlan, packet: bytes) -> Hashable:
        if self.alike:
            return packet
        return tuple(
            cell if column.alike or cell is None else normal(form.value(cell), column.domain)
            for column, form, cell in zip(self.columns, side.forms, side.row(packet), strict=True)
        )

    def _survived(self, number: int, old: Cell, new: Cell) -> bool:
        past, live = self.past.forms[number].read(old), self.live.forms[number].read(new)
        return is_same_value(past, live, self.columns[number].domain)


def plan_comparison(past: TableDefinition, live: TableDefinition, *, exact: bool = False) -> ComparePlan:
    """``exact`` lets both servers sort by bytes instead of along their index, which is slower.

    Raises ServerUnsupported where the two have no column in common.
    """
    columns = shared_columns(past, live)
    if not columns:
        raise ServerUnsupported(
            f"{live.schema}.{live.name} shares no column with what it was",
            hint="Bring the old table back as SQL instead: backstay restore SHARD --table.",
        )
    names = {column.name.lower() for column in columns}
    others = tuple(column for column in live.stored if column.name.lower() not in names)
    keys = _keys(past, live, columns)
    exact = exact or (keys is not None and not _sorts_alike(keys[0], columns))
    return ComparePlan(
        past=_side(past, [column.past for column in columns], (), keys and keys[0], exact=exact),
        live=_side(live, [column.live for column in columns], others, keys and keys[1], exact=exact),
        columns=columns,
        others=others,
        lost=tuple(column.name for column in past.stored if column.name.lower() not in names),
        key=tuple(part.column or "" for part in keys[1].parts) if keys else (),
        alike=not others and all(column.alike for column in columns),
    )


def _side(
    table: TableDefinition,
    columns: Sequence[ColumnDefinition],
    others: Sequence[ColumnDefinition],
    index: IndexDefinition | None,
    *,
    exact: bool,
) -> SidePlan:
    order = _order(table, index, exact=exact)
    forms = tuple(map(form_of, columns))
    asked = [*(one.select for one in order), *(form.select for form in (*forms, *map(form_of, others)))]
    along = index if index is not None and not exact else None
    sql = select_rows(table, asked, order=order, index=along)
    return SidePlan(sql, tuple(one.rank for one in order), forms)


def _order(table: TableDefinition, index: IndexDefinition | None, *, exact: bool) -> list[Sorting]:
    return [
        sorting_of(column, part, exact=exact)
        for part in (index.parts if index else ())
        if (column := table.column(part.column or "")) is not None
    ]


def _keys(
    past: TableDefinition, live: TableDefinition, columns: Sequence[SharedColumn]
) -> tuple[IndexDefinition, IndexDefinition] | None:
    """An index that names the rows of both sides: the primary key if it does."""
    sortable = {column.name.lower() for column in columns if _is_sortable(column)}
    for old in past.row_names:
        parts = [((part.column or "").lower(), part.prefix) for part in old.parts]
        for new in live.row_names:
            same = parts == [((part.column or "").lower(), part.prefix) for part in new.parts]
            if same and all(name in sortable for name, _ in parts):
                return old, new
    return None


def _is_sortable(column: SharedColumn) -> bool:
    """Whether both sides can be brought into one order by this column."""
    kinds = {column.past.kind, column.live.kind}
    if column.past.type == column.live.type:
        return True
    # The order of an ENUM's members is its own, and digits behind the point round.
    if kinds & {"enum", "set", "json", "float", "double"}:
        return False
    return column.domain in {"number", "text"}


def _sorts_alike(index: IndexDefinition, columns: Sequence[SharedColumn]) -> bool:
    named = {(part.column or "").lower() for part in index.parts}
    return all(
        column.past.collation == column.live.collation for column in columns if column.name.lower() in named
    )
