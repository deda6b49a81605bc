"""Rows of a rows event: before- and after-images as Python values by column name, or just counted.

An image is one bit for each column that is present (1: NULL), then the values of those that are not NULL, in
the order of columns. Which columns are present stands in the event (``binlog_row_image``). In partial updates
the after-image begins with options and a bit for each JSON column of the table (1: edits, not a document).
Source: ``print_verbose_one_row`` in sql/log_event.cc of MySQL 9.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fleet.errors import BinlogUnreadable
from wire.binlog.fields import Fields
from wire.binlog.header import EventType
from wire.binlog.json_edits import apply_edits
from wire.binlog.json_values import Json, decode_json_edits
from wire.binlog.tablemap import ColumnType, RowsEvent, TableMap
from wire.binlog.values import Layout, Value, layout_of

Image = Mapping[str, Value]
"""The columns that are present, by name; ``@1``, ``@2``... where the log has no names."""

_PARTIAL_JSON = 1


class Row(NamedTuple):
    """One changed row. ``before`` is None for an insert, ``after`` for a delete."""

    before: Image | None
    after: Image | None


class RowReader:
    """Reads the rows of one table, as its map describes it. May be kept for all its events.

    ``names`` are all its columns, ``key`` those of the primary key: none if the table, or the log, has none.
    """

    def __init__(self, table: TableMap) -> None:
        self.table = table
        self.names = table.names or tuple(f"@{number}" for number in range(1, len(table.columns) + 1))
        self.key = tuple(self.names[index] for index, _ in table.primary_key or ())
        self._json = [index for index, column in enumerate(table.columns) if column.type == ColumnType.JSON]
        self._layouts: dict[int, Layout] = {}

    def rows(self, event: RowsEvent) -> Iterator[Row]:
        """Every row of ``event``, decoded one after the other. Raises BinlogUnreadable."""
        self._check(event)
        before, after = _present(event.before, event.width), _present(event.after, event.width)
        partial = event.type == EventType.PARTIAL_UPDATE_ROWS
        data, at = bytes(event.rows), 0
        while at < len(data):
            old: dict[str, Value] | None = None
            new: dict[str, Value] | None = None
            begin = at
            if event.before:
                old, at = self._image(data, at, before, frozenset(), None)
            if event.after:
                edited, at = self._edited(data, at) if partial else (frozenset[int](), at)
                new, at = self._image(data, at, after, edited, old)
            self._check_progress(begin, at, len(data))
            yield Row(old, new)

    def count(self, event: RowsEvent) -> int:
        """How many rows ``event`` has, without decoding them. Raises BinlogUnreadable."""
        self._check(event)
        images = [
            _Steps([self._layout(index) for index in _present(bitmap, event.width)])
            for bitmap in (event.before, event.after)
            if bitmap
        ]
        partial = event.type == EventType.PARTIAL_UPDATE_ROWS
        data, at, rows = bytes(event.rows), 0, 0
        while at < len(data):
            begin = at
            for number, steps in enumerate(images):
                if partial and number == 1:
                    _, at = self._edited(data, at)
                at = steps.end(data, at)
            self._check_progress(begin, at, len(data))
            rows += 1
        return rows

    def _check(self, event: RowsEvent) -> None:
        if event.width != len(self.table.columns):
            raise BinlogUnreadable(
                f"rows of {event.width} columns follow a map of {self.table.schema}.{self.table.table}"
                f" with {len(self.table.columns)}"
            )

    def _check_progress(self, begin: int, at: int, length: int) -> None:
        if not begin < at <= length:
            raise BinlogUnreadable(f"{self._a_row()} at byte {begin} ends at byte {at} of {length}")

    def _a_row(self) -> str:
        return f"a row of {self.table.schema}.{self.table.table}"

    def _layout(self, index: int) -> Layout:
        found = self._layouts.get(index)
        if found is None:
            found = self._layouts[index] = layout_of(self.table.columns[index])
        return found

    def _image(
        self, data: bytes, at: int, present: Sequence[int], edited: frozenset[int], old: Image | None
    ) -> tuple[dict[str, Value], int]:
        """One image, and where it ends; ``edited`` columns hold edits of their value in ``old``."""
        width = (len(present) + 7) // 8
        nulls = int.from_bytes(data[at : at + width], "little")
        at += width
        image: dict[str, Value] = {}
        for place, index in enumerate(present):
            name = self.names[index]
            if nulls >> place & 1:
                image[name] = None
                continue
            layout = self._layout(index)
            length = layout.fixed
            if prefix := layout.prefix:
                length = int.from_bytes(data[at : at + prefix], "little")
                at += prefix
            raw = data[at : at + length]
            at += length
            if at > len(data):
                raise BinlogUnreadable(f"a value of column {name} ends at byte {at} of {len(data)}")
            image[name] = layout.decode(raw) if index not in edited else _edit(raw, old, name)
        return image, at

    def _edited(self, data: bytes, at: int) -> tuple[frozenset[int], int]:
        """The JSON columns that hold edits, and where the image proper begins."""
        fields = Fields(data, self._a_row(), at)
        if not fields.packed() & _PARTIAL_JSON:
            return frozenset(), fields.at
        bits = fields.number((len(self._json) + 7) // 8)
        return frozenset(index for place, index in enumerate(self._json) if bits >> place & 1), fields.at


class _Steps:
    """How to step over one image; without NULLs, runs of columns of fixed width are one step."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self._layouts = layouts
        self._null_bytes = (len(layouts) + 7) // 8
        # Bits behind the last column mean nothing; the server sets them.
        self._mask = (1 << len(layouts)) - 1
        self._runs: list[tuple[int, int]] = []
        fixed = 0
        for layout in layouts:
            fixed += layout.fixed
            if layout.prefix:
                self._runs.append((fixed, layout.prefix))
                fixed = 0
        self._tail = fixed

    def end(self, data: bytes, at: int) -> int:
        """Where the image that begins at ``at`` ends; beyond the data if that is too short."""
        begin = at + self._null_bytes
        nulls = int.from_bytes(data[at:begin], "little") & self._mask
        at = begin
        if not nulls:
            for fixed, prefix in self._runs:
                at += fixed
                at += prefix + int.from_bytes(data[at : at + prefix], "little")
            return at + self._tail
        for place, layout in enumerate(self._layouts):
            if nulls >> place & 1:
                continue
            at += layout.fixed
            if prefix := layout.prefix:
                at += prefix + int.from_bytes(data[at : at + prefix], "little")
        return at


def _present(bitmap: bytes, width: int) -> list[int]:
    bits = int.from_bytes(bitmap, "little")
    return [index for index in range(width) if bits >> index & 1]


def _edit(raw: bytes, old: Image | None, name: str) -> Value:
    """The new document if the old one is known, else the edits."""
    edits = decode_json_edits(raw)
    before = old.get(name) if old else None
    return apply_edits(before, edits) if isinstance(before, Json) else edits
