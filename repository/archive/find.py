"""Finding a transaction by what the index knows of it: tables, kind, time, size, text of a DDL statement.

The index is columns: a filter looks at one column, the first at all rows, the next at those that are left.
A segment whose times, tables or statements cannot match costs nothing but reading its index.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, TypeAlias

from fleet.transaction import Kind
from repository.archive.columns import TransactionColumns
from repository.archive.line import Entry, Line
from repository.archive.reckoning import LinePart

Found: TypeAlias = Entry
_Indexes: TypeAlias = list[tuple[TransactionColumns, range]]

_READERS = 4
_AHEAD = 16
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Query:
    """What to look for; everything that is set must hold.

    ``tables``: any of these, ``db.table``, with ``*`` and ``?`` as in file names; case counts. ``kinds``: any
    of these flags. ``between``: aware times, both included, None for an open end. ``text``: part of a DDL
    statement's beginning, whatever its case. ``bigger_than``: bytes in the binlog. ``limit``: stop after so
    many. ``newest_first``: from the end of the line to its beginning.
    """

    tables: tuple[str, ...] = ()
    kinds: Kind = Kind.EMPTY
    between: tuple[datetime | None, datetime | None] = (None, None)
    text: str = ""
    bigger_than: int | None = None
    limit: int | None = None
    newest_first: bool = False


def find(line: Line, query: Query) -> Iterator[Found]:
    """The transactions of ``line`` that match, in the line's order or from its end, each once.

    Raises as the archive does.
    """
    return islice(_found(line, query), query.limit)


def _found(line: Line, query: Query) -> Iterator[Found]:
    first, last = _bounds(query)
    numbers = [number for number, part in enumerate(line.parts) if _may_match(part, first, last)]
    turned: Callable[[Sequence[Any]], Iterable[Any]] = reversed if query.newest_first else iter
    for number, indexes in _read_ahead(line, iter(turned(numbers))):
        part = line.parts[number]
        for columns, rows in turned(indexes):
            for row in turned(_matching(columns, rows, query, part)):
                yield Entry(number, part.file, columns.transaction(row))


def _read_ahead(line: Line, numbers: Iterator[int]) -> Iterator[tuple[int, _Indexes]]:
    waiting: deque[tuple[int, Future[_Indexes]]] = deque()
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="find")
    try:
        for number in numbers:
            waiting.append((number, readers.submit(line.archive.index_of, line.parts[number].part)))
            if len(waiting) >= _AHEAD:
                yield _first_of(waiting)
        while waiting:
            yield _first_of(waiting)
    finally:
        readers.shutdown(cancel_futures=True)


def _first_of(waiting: deque[tuple[int, Future[_Indexes]]]) -> tuple[int, _Indexes]:
    number, future = waiting.popleft()
    return number, future.result()


def _may_match(part: LinePart, first: int, last: int) -> bool:
    if part.first_at_us is None or part.last_at_us is None:
        return False
    return part.first_at_us <= last and first <= part.last_at_us


def _matching(columns: TransactionColumns, rows: range, query: Query, part: LinePart) -> Sequence[int]:
    found: Sequence[int] = rows
    if query.text:
        text = query.text.casefold()
        having = {row for row, statement in columns.statements.items() if text in statement.casefold()}
        found = sorted(having.intersection(rows))
    if query.tables and found:
        found = _of_tables(columns, found, query.tables)
    if query.kinds and found:
        kinds, wanted = columns.kinds, int(query.kinds)
        found = [row for row in found if kinds[row] & wanted]
    if found and query.between != (None, None):
        times, (first, last) = columns.times, _bounds(query)
        found = [row for row in found if first <= times[row] <= last]
    if found and query.bigger_than is not None:
        lengths, bound = columns.lengths, query.bigger_than
        found = [row for row in found if lengths[row] > bound]
    if found and not part.is_whole:
        mine = set(columns.rows_in(part.wanted, rows))
        found = [row for row in found if row in mine]
    return found


def _of_tables(columns: TransactionColumns, rows: Sequence[int], patterns: Sequence[str]) -> Sequence[int]:
    """Which table sets match is found once; then a row is a look into a small set."""
    wanted = {
        number
        for number, tables in enumerate(columns.table_sets)
        if any(_names(table, pattern) for table in tables for pattern in patterns)
    }
    if not wanted:
        return ()
    if len(wanted) == len(columns.table_sets):
        return rows
    tables = columns.tables
    return [row for row in rows if tables[row] in wanted]


def _names(table: str, pattern: str) -> bool:
    """What was done to a whole schema, ``db.*`` in the index, was done to each table of it."""
    if table.endswith(".*") and fnmatchcase(table[:-2], pattern.partition(".")[0]):
        return True
    return fnmatchcase(table, pattern)


def _bounds(query: Query) -> tuple[int, int]:
    """Both ends in microseconds since 1970, included."""
    first, last = query.between
    return _us(first) if first else 0, _us(last) if last else 2**64


def _us(at: datetime) -> int:
    return (at - _UNIX) // _MICROSECOND
