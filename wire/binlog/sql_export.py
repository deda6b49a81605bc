"""A transaction as SQL that does the same again: to read, or to carry changes of a branch over by hand.

Rows become INSERT, UPDATE and DELETE by primary key; without one, or without its name in the log, by all
columns that the before-image holds, LIMIT 1. What the log does not say cannot be said here: generated columns
are columns like any other (leave their values out), and columns without names are called ``@1``, ``@2``...
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from fleet.errors import BinlogUnreadable
from fleet.transaction import Kind
from wire.binlog.changes import Change, Opening, Statement, TableRows
from wire.binlog.json_values import Json, JsonEdits
from wire.binlog.rows import Image, Row, RowReader
from wire.binlog.sql_literals import identifier, json_literal, literal, vector_bytes
from wire.binlog.tablemap import ColumnType
from wire.binlog.values import Value, Vector

SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,STRICT_ALL_TABLES"
PREAMBLE = ("SET NAMES utf8mb4;", "SET time_zone = '+00:00';", f"SET sql_mode = '{SQL_MODE}';")
"""What the statements rely on; said once, before the first transaction."""

_ATOMIC = re.compile(r"\s+START TRANSACTION\s*\Z")


def export_sql(changes: Iterable[Change]) -> Iterator[str]:
    """The transaction, a statement at a time, each with its semicolon. Raises BinlogUnreadable.

    The two halves of an XA transaction are two transactions here as in the log: prepared, and later committed
    or rolled back. A session that runs both, and others in between, needs ``xa_detach_on_prepare``, which is
    on by default.
    """
    frame = ""
    named = True
    for change in changes:
        if isinstance(change, Opening):
            yield _heading(change)
        elif isinstance(change, Statement):
            if change.text.startswith("XA "):
                frame = "XA"
                yield f"{change.text};"
            else:
                yield from _logged(change)
        elif isinstance(change, TableRows):
            if not frame:
                frame = "BEGIN"
                yield "BEGIN;"
            if named and change.reader.table.names is None:
                named = False
                yield "-- the log has no names of columns: `@1` stands for the first of a table"
            yield from rows_sql(change)
    if frame == "BEGIN":
        yield "COMMIT;"


def rows_sql(change: TableRows) -> Iterator[str]:
    """One statement a row."""
    for row in change:
        yield row_sql(change.reader, change.kind, row)


def row_sql(reader: RowReader, kind: Kind, row: Row) -> str:
    """The statement that changes ``row`` again."""
    table = f"{identifier(reader.table.schema)}.{identifier(reader.table.table)}"
    before, after = row
    if kind is Kind.INSERT and after is not None:
        names = ", ".join(map(identifier, after))
        values = ", ".join(literal(value) for value in after.values())
        return f"INSERT INTO {table} ({names}) VALUES ({values});"  # noqa: S608 (quoted, every part of it)
    if before is None:
        raise BinlogUnreadable(f"a row of {table} was changed and has no before-image")
    which = _where(reader, before)
    if after is None:
        return f"DELETE FROM {table} WHERE {which};"  # noqa: S608
    changed = ", ".join(
        f"{identifier(name)} = {literal(value, column=name)}"
        for name, value in after.items()
        if isinstance(value, JsonEdits) or name not in before or before[name] != value
    )
    if not changed:
        return f"-- a row of {table} was written as it was: {which}"
    return f"UPDATE {table} SET {changed} WHERE {which};"  # noqa: S608


def _where(reader: RowReader, before: Image) -> str:
    """By primary key, where the before-image holds all of it."""
    if reader.key and all(name in before for name in reader.key):
        return " AND ".join(f"{identifier(name)} = {literal(before[name])}" for name in reader.key)
    singles = {
        name
        for name, column in zip(reader.names, reader.table.columns, strict=True)
        if column.type == ColumnType.FLOAT
    }
    return " AND ".join(_equals(before, name, single=name in singles) for name in before) + " LIMIT 1"


def _equals(before: Mapping[str, Value], name: str, *, single: bool) -> str:
    value = before[name]
    if value is None:
        return f"{identifier(name)} IS NULL"
    if isinstance(value, Json):
        return f"{identifier(name)} = {json_literal(value)}"
    if isinstance(value, Vector):
        return f"HEX({identifier(name)}) = '{vector_bytes(value).hex().upper()}'"
    said = f"CAST({literal(value)} AS FLOAT)" if single else literal(value)
    return f"{identifier(name)} = {said}"


def _heading(opening: Opening) -> str:
    event = opening.gtid
    at = datetime.fromtimestamp(event.immediate_commit_us // 1_000_000, UTC)
    return (
        f"-- {event.gtid}, committed {at:%Y-%m-%d %H:%M:%S}.{event.immediate_commit_us % 1_000_000:06} UTC"
        f" by server {opening.server_id}"
    )


def _logged(statement: Statement) -> Iterator[str]:
    """A statement that was logged as text, in the session that it had."""
    if statement.schema:
        yield f"USE {identifier(statement.schema)};"
    if statement.sql_mode is not None:
        yield f"SET sql_mode = {statement.sql_mode};"
    yield f"SET TIMESTAMP = {statement.at};"
    yield from (f"{setting};" for setting in statement.settings)
    # How CREATE TABLE ... SELECT is logged; after it a session would take no INSERT but a replica's.
    yield f"{_ATOMIC.sub('', statement.text)};"
    yield "SET TIMESTAMP = DEFAULT;"
    if statement.sql_mode is not None:
        yield f"SET sql_mode = '{SQL_MODE}';"
