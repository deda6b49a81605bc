"""The transaction index of a segment, as columns (FORMAT.md, section 10). Pure: no keys, no store.

One value after the other of the same field: a scan over a million transactions touches only what it asks for.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from fleet.gtid import GtidSet, Interval, Origin
from fleet.transaction import Gtid, Kind, Transaction

_HEAD = struct.Struct("<II")
_WIDTHS = (("starts", "Q"), ("lengths", "Q"), ("times", "Q"), ("numbers", "Q"), ("origin", "H"))
_COLUMNS = (*_WIDTHS, ("tables", "I"), ("kinds", "B"))
_ROW_BYTES = 8 * 4 + 2 + 4 + 1
MAX_ORIGINS = 2**16


class ColumnsMalformedError(Exception):
    """Bytes that no writer of an index wrote; who knows the object's name says so."""


class TransactionColumns:
    """The transactions that end in a segment, in the order of the file. Read only, so thread-safe.

    ``starts`` and ``lengths`` in bytes of the file, ``times`` in microseconds since 1970. ``origin`` and
    ``tables`` are positions in ``origins`` (uuid and tag) and ``table_sets``; ``statements`` by row.
    """

    def __init__(
        self,
        columns: Sequence[array[int]],
        origins: Sequence[tuple[str, str]],
        table_sets: Sequence[tuple[str, ...]],
        statements: dict[int, str],
    ) -> None:
        self.starts, self.lengths, self.times, self.numbers, self.origin, self.tables, self.kinds = columns
        self.origins = origins
        self.table_sets = table_sets
        self.statements = statements

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def ends(self) -> list[int]:
        """Where each transaction ends in the file, growing."""
        return [start + length for start, length in zip(self.starts, self.lengths, strict=True)]

    def gtid(self, row: int) -> Gtid:
        return Gtid(*self.origins[self.origin[row]], self.numbers[row])

    def transaction(self, row: int) -> Transaction:
        return Transaction(
            gtid=self.gtid(row),
            committed_at_us=self.times[row],
            start=self.starts[row],
            length=self.lengths[row],
            kinds=Kind(self.kinds[row]),
            tables=self.table_sets[self.tables[row]],
            statement=self.statements.get(row, ""),
        )

    def transactions(self, rows: Iterable[int] | None = None) -> list[Transaction]:
        """Those of ``rows``, or all."""
        return [self.transaction(row) for row in (range(len(self)) if rows is None else rows)]

    def rows_ending(self, first: int, last: int) -> range:
        """The rows of the transactions whose last byte lies in ``[first, last)``."""
        return range(bisect_right(self.ends, first), bisect_right(self.ends, last))

    def gtids(self, rows: range | None = None) -> GtidSet:
        """The set of the transactions in ``rows``, or of all."""
        chosen = slice(None) if rows is None else slice(rows.start, rows.stop)
        return set_of(self.origins, self.origin[chosen], self.numbers[chosen])

    def rows_in(self, wanted: GtidSet, rows: range) -> list[int]:
        """Those of ``rows`` whose transaction is in ``wanted``."""
        members = _Members(wanted, self.origins)
        return [row for row in rows if members.has(self.origin[row], self.numbers[row])]


def encode(transactions: Sequence[Transaction]) -> bytes:
    """The index of ``transactions``. Raises ``ValueError`` for more than 65,536 origins."""
    origins: dict[tuple[str, str], int] = {}
    table_sets: dict[tuple[str, ...], int] = {}
    origin = [origins.setdefault((t.gtid.uuid, t.gtid.tag), len(origins)) for t in transactions]
    tables = [table_sets.setdefault(t.tables, len(table_sets)) for t in transactions]
    if len(origins) > MAX_ORIGINS:
        raise ValueError(f"a segment with transactions of {len(origins)} origins")
    head = json.dumps(
        {
            "origins": list(origins),
            "tables": list(table_sets),
            "statements": {row: t.statement for row, t in enumerate(transactions) if t.statement},
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode("utf-8", "replace")
    values: tuple[list[int], ...] = (
        [t.start for t in transactions],
        [t.length for t in transactions],
        [t.committed_at_us for t in transactions],
        [t.gtid.number for t in transactions],
        origin,
        tables,
        [int(t.kinds) for t in transactions],
    )
    columns = [_little(array(code, each)).tobytes() for (_, code), each in zip(_COLUMNS, values, strict=True)]
    return _HEAD.pack(len(transactions), len(head)) + head + b"".join(columns)


def decode(data: bytes | memoryview) -> TransactionColumns:
    """Raises ``ColumnsMalformedError``."""
    if len(data) < _HEAD.size:
        raise ColumnsMalformedError(f"an index of {len(data)} bytes")
    count, length = _HEAD.unpack_from(data)
    at = _HEAD.size + length
    if len(data) != at + count * _ROW_BYTES:
        raise ColumnsMalformedError(f"{count} transactions do not fill the index's {len(data)} bytes")
    origins, table_sets, statements = _parse_head(bytes(data[_HEAD.size : at]))
    columns: list[array[int]] = []
    for _, code in _COLUMNS:
        column = array(code)
        size = count * column.itemsize
        column.frombytes(data[at : at + size])
        columns.append(_little(column))
        at += size
    if max(columns[4], default=-1) >= len(origins) or max(columns[5], default=-1) >= len(table_sets):
        raise ColumnsMalformedError("a transaction of an origin or of tables that are not listed")
    return TransactionColumns(columns, origins, table_sets, statements)


def gtids_of(transactions: Iterable[Transaction]) -> GtidSet:
    """The set of ``transactions``."""
    origins: dict[tuple[str, str], int] = {}
    names = [
        (origins.setdefault((t.gtid.uuid, t.gtid.tag), len(origins)), t.gtid.number) for t in transactions
    ]
    return set_of(list(origins), [origin for origin, _ in names], [number for _, number in names])


class _Members:
    """Asks quickly and often whether a set holds a transaction of some known origins."""

    def __init__(self, wanted: GtidSet, origins: Sequence[tuple[str, str]]) -> None:
        known = {(origin.uuid, origin.tag): origin.intervals for origin in wanted}
        intervals = [known.get((uuid, tag), ()) for uuid, tag in origins]
        self._firsts = [[interval.first for interval in each] for each in intervals]
        self._lasts = [[interval.last for interval in each] for each in intervals]

    def has(self, origin: int, number: int) -> bool:
        at = bisect_right(self._firsts[origin], number) - 1
        return at >= 0 and number <= self._lasts[origin][at]


def _parse_head(
    text: bytes,
) -> tuple[list[tuple[str, str]], list[tuple[str, ...]], dict[int, str]]:
    try:
        head: dict[str, Any] = json.loads(text)
        origins = [(str(uuid), str(tag)) for uuid, tag in head["origins"]]
        table_sets = [tuple(map(str, tables)) for tables in head["tables"]]
        statements = {int(row): str(statement) for row, statement in head["statements"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ColumnsMalformedError(f"the index's head is malformed: {error!r}") from error
    return origins, table_sets, statements


def set_of(origins: Sequence[tuple[str, str]], origin: Sequence[int], numbers: Sequence[int]) -> GtidSet:
    """The set of transactions given as two columns of an index."""
    by_origin: list[list[int]] = [[] for _ in origins]
    for which, number in zip(origin, numbers, strict=True):
        by_origin[which].append(number)
    return GtidSet(
        Origin(uuid, tag, tuple(_intervals(sorted(found))))
        for (uuid, tag), found in zip(origins, by_origin, strict=True)
        if found
    )


def _intervals(ordered: Sequence[int]) -> Iterable[Interval]:
    first = last = ordered[0]
    for number in ordered:
        if number > last + 1:
            yield Interval(first, last)
            first = number
        last = number
    yield Interval(first, last)


def _little(column: array[int]) -> array[int]:
    """The column with its bytes swapped where the machine is big endian."""
    if sys.byteorder == "big":
        column.byteswap()
    return column
