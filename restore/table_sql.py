"""One table as SQL: what makes it, and its rows in the order of its key, exactly as they are.

The file names no schema: ``mysql recovered < orders.sql`` makes the table in ``recovered``, and fails where
there is one of that name. It names no tablespace either: that is a matter of the server, and may have been
renamed, or be there no more; a comment says where the table lay. Its first lines set all that its values
rely on; its last line says how many rows there are, so a file that was cut off shows.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fleet.errors import Cancelled
from restore.complete_file import complete_file
from wire.binlog.sql_export import PREAMBLE, SQL_MODE
from wire.binlog.sql_literals import identifier
from wire.row_stream import Cell, cells
from wire.session import Session
from wire.table_columns import Form, form_of, is_no_member, sorting_of
from wire.table_definition import ColumnDefinition, TableDefinition, create_statement, read_definition
from wire.table_reading import prepare_reading, select_rows

# Line breaks in comments and defaults are written as \n: only the end of the columns looks like this.
_TABLESPACE = re.compile(r"^\) /\*!50100 TABLESPACE (`(?:[^`]|``)+`) \*/", re.MULTILINE)
STATEMENT_BYTES = 256 * 1024
STATEMENT_ROWS = 10_000
"""An INSERT ends with the row that reaches one of them."""

STRICT = f"SET sql_mode = '{SQL_MODE}';"
LENIENT = f"SET sql_mode = '{SQL_MODE.rpartition(',')[0]}';"
"""For a row with an ENUM that holds what is no member: a strict server takes it from nobody."""


@dataclass(frozen=True, slots=True)
class TableWritten:
    """A table that is in ``file`` as SQL."""

    schema: str
    table: str
    file: Path
    rows: int
    file_bytes: int


def write_table_sql(
    session: Session,
    schema: str,
    table: str,
    out: Path,
    *,
    heading: Sequence[str] = (),
    cancelled: threading.Event | None = None,
) -> TableWritten:
    """Write ``schema.table`` of a server to the new file ``out``, which appears when it is complete.

    ``session`` is logged in for this alone; its settings are changed. Memory: one row and one statement.
    ``heading`` are lines of comment for the reader.
    Raises NotFound, ServerUnsupported (a view, an unknown type), TargetRefused (``out`` is there), DiskFull.
    """
    prepare_reading(session)
    definition = read_definition(session, schema, table)
    create, space = _without_tablespace(create_statement(session, schema, table))
    stop = cancelled or threading.Event()
    rows = 0
    with complete_file(out) as file:
        _write(file, [*map(comment, [f"{schema}.{table}", *heading, *space]), *PREAMBLE])
        # A table that it refers to may come later, or not at all.
        _write(file, ["SET foreign_key_checks = 0;", f"{create};"])
        with closing(_rows(session, definition)) as source:
            for statement, count in _inserts(definition, source):
                _write(file, [statement])
                rows += count
                if stop.is_set():
                    raise Cancelled("stopped while a table was written")
        _write(file, ["SET foreign_key_checks = DEFAULT;", comment(f"end of {schema}.{table}: {rows} rows")])
        size = file.tell()
    return TableWritten(schema, table, out, rows, size)


def _without_tablespace(create: str) -> tuple[str, list[str]]:
    """The statement, and what is to be said of the tablespace that it named."""
    found = _TABLESPACE.search(create)
    if found is None:
        return create, []
    told = f"the table was declared in TABLESPACE {found[1]}, which is left out here"
    return create[: found.start()] + ")" + create[found.end() :], [told]


def comment(text: str) -> str:
    """A line of comment, whatever the text holds."""
    return "-- " + text.replace("\r", "\\r").replace("\n", "\\n")


def insert_into(table: str, columns: Sequence[ColumnDefinition]) -> str:
    """The beginning of an INSERT, up to the values."""
    names = ", ".join(identifier(column.name) for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES"


def row_values(forms: Sequence[Form], row: Sequence[Cell]) -> str:
    """The values of a row in parentheses."""
    return f"({', '.join(form.write(cell) for form, cell in zip(forms, row, strict=True))})"


def needs_leniency(columns: Sequence[ColumnDefinition], row: Sequence[Cell]) -> bool:
    """Whether only a lenient sql_mode takes this row."""
    return any(is_no_member(column, cell) for column, cell in zip(columns, row, strict=True))


def _rows(session: Session, definition: TableDefinition) -> Generator[bytes]:
    index = definition.row_name
    order = [
        sorting_of(column, part)
        for part in (index.parts if index else ())
        if (column := definition.column(part.column or "")) is not None
    ]
    expressions = [form_of(column).select for column in definition.stored] or ["1"]
    return session.stream(select_rows(definition, expressions, order=order, index=index))


def _inserts(definition: TableDefinition, rows: Iterator[bytes]) -> Iterator[tuple[str, int]]:
    """Statements and the number of rows in each."""
    columns = definition.stored
    if not columns:
        statement = f"{insert_into(identifier(definition.name), columns)} ();"
        yield from ((statement, 1) for _ in rows)
        return
    forms = [form_of(column) for column in columns]
    has_members = any(column.kind == "enum" for column in columns)
    beginning = insert_into(identifier(definition.name), columns)
    waiting: list[str] = []
    length = 0
    for packet in rows:
        row = cells(packet)
        values = row_values(forms, row)
        if has_members and needs_leniency(columns, row):
            if waiting:
                yield _statement(beginning, waiting), len(waiting)
            yield f"{LENIENT}\n{beginning}\n{values};\n{STRICT}", 1
            waiting, length = [], 0
            continue
        waiting.append(values)
        length += len(values)
        if length >= STATEMENT_BYTES or len(waiting) >= STATEMENT_ROWS:
            yield _statement(beginning, waiting), len(waiting)
            waiting, length = [], 0
    if waiting:
        yield _statement(beginning, waiting), len(waiting)


def _statement(beginning: str, values: Sequence[str]) -> str:
    return beginning + "\n" + ",\n".join(values) + ";"


def _write(file: BinaryIO, lines: Sequence[str]) -> None:
    for line in lines:
        file.write(line.encode("utf-8", "surrogatepass") + b"\n")
