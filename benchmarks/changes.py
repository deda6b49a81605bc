"""Changes of the donor's data between two backups: random updates, rows appended, both on some tables only.

All are the same ones for a seed. Each ends when no page of the donor is dirty any more, so that what one
change left does not count for the next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.dataset import PADS, SCHEMA, TABLES, groups, rest
from infra.sandbox.server import MysqlServer

EVERY_TABLE = tuple(range(1, TABLES + 1))
A_QUARTER = EVERY_TABLE[: TABLES // 4]
_AT_ONCE = 500


@dataclass(frozen=True)
class Change:
    """What happens to the data. ``updates`` rows get other text and another key, ``appends`` are new."""

    name: str
    updates: int = 0
    appends: int = 0
    tables: tuple[int, ...] = EVERY_TABLE


def usual_changes(rows: int) -> tuple[Change, ...]:
    """What incrementals are measured with; a table has ``rows`` rows. A hundredth of them is appended.

    Changes of few tables come twice: the donor's list of changed pages is coarse (2,044 pages at least), so
    the first time it still holds what changed in all tables before.
    """
    few = Change("2,000 updates in a quarter of the tables", updates=2_000, tables=A_QUARTER)
    return (
        Change("200 updates", updates=200),
        Change("2,000 updates", updates=2_000),
        Change("20,000 updates", updates=20_000),
        Change("rows appended, 1 %", appends=rows * TABLES // 100),
        few,
        replace(few, name=f"{few.name}, again"),
    )


def apply(server: MysqlServer, change: Change, rows: int, seed: int) -> None:
    """Change the data, spread over the change's tables, of which each has at least ``rows`` rows, and wait
    until the donor rests."""
    source = random.Random(seed)
    connection = server.connect(database=SCHEMA)
    try:
        with connection.cursor() as cursor:
            update(cursor, source, change.updates, rows, change.tables)
            append(cursor, source, change.appends, change.tables)
            rest(cursor)
    finally:
        connection.close()


def update(cursor: Any, source: random.Random, count: int, rows: int, tables: Sequence[int]) -> None:
    """``count`` rows chosen at random: a page of the table, and two of its index."""
    for done in _in_transactions(cursor, count):
        table = f"sbtest{tables[done % len(tables)]}"
        cursor.execute(
            f"UPDATE {table} SET k = %s, c = %s WHERE id = %s",
            (source.randrange(rows) + 1, groups(source, 10), source.randrange(rows) + 1),
        )


def append(cursor: Any, source: random.Random, count: int, tables: Sequence[int]) -> None:
    """``count`` rows at the end of their tables and, as a time would, at the end of their index."""
    each = -(-count // len(tables))
    for table in tables if count else ():
        cursor.execute(f"SELECT MAX(k) FROM sbtest{table}")
        first = cursor.fetchone()[0] + 1
        for begin in range(0, each, _AT_ONCE):
            cursor.executemany(
                f"INSERT INTO sbtest{table} (k, c, pad) VALUES (%s, %s, %s)",
                [
                    (first + number, groups(source, 10), _pad(number))
                    for number in range(begin, min(begin + _AT_ONCE, each))
                ],
            )


def _pad(number: int) -> str:
    """One of ``PADS`` texts, as those of the rows that are there already."""
    return groups(random.Random(number % PADS), 5)


def _in_transactions(cursor: Any, count: int) -> Iterator[int]:
    """The numbers up to ``count``; a transaction holds ``_AT_ONCE`` of them."""
    for number in range(count):
        if number % _AT_ONCE == 0:
            cursor.execute("COMMIT")
            cursor.execute("BEGIN")
        yield number
    cursor.execute("COMMIT")
