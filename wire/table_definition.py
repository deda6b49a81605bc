"""What a table looks like: its columns, its indexes, and the statement that makes it.

Every function takes who answers statements, and raises what its ``query`` raises. SELECT on the table is
enough of a privilege for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fleet.errors import NotFound, ServerUnsupported
from wire.binlog.sql_literals import identifier
from wire.restored import Asked

PRIMARY = "PRIMARY"

_COLUMNS = (
    "SELECT column_name AS name, data_type AS kind, column_type AS type, character_set_name AS charset,"
    " collation_name AS collation, character_maximum_length AS characters, is_nullable = 'YES' AS nullable,"
    " column_default AS value, extra AS extra, generation_expression AS expression"
    " FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"
)
_INDEXES = (
    "SELECT index_name AS name, non_unique AS non_unique, column_name AS part, sub_part AS prefix,"
    " nullable = 'YES' AS nullable FROM information_schema.statistics"
    " WHERE table_schema = %s AND table_name = %s ORDER BY index_name, seq_in_index"
)


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """One column. ``kind`` is the bare type (``varchar``), ``type`` all of it (``varchar(20)``).

    ``characters`` is the most that a text column holds. ``extra`` is what MySQL says of it besides.
    """

    name: str
    kind: str
    type: str
    charset: str | None
    collation: str | None
    characters: int | None
    nullable: bool
    default: str | None
    extra: str
    generated: bool

    @property
    def renews_itself(self) -> bool:
        """ON UPDATE CURRENT_TIMESTAMP: a statement that does not name it changes it."""
        return "on update" in self.extra.lower()

    def __str__(self) -> str:
        words = [self.type]
        if self.collation:
            words.append(f"collate {self.collation}")
        if not self.nullable:
            words.append("not null")
        if self.default is not None:
            words.append(f"default {self.default}")
        if self.extra:
            words.append(self.extra.lower())
        return " ".join(words)


class IndexPart(NamedTuple):
    """A column of an index, None for an expression; ``prefix``: only so many of its characters or bytes."""

    column: str | None
    prefix: int | None


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """An index. ``names_rows``: its columns tell every row from all others; none of them may be NULL."""

    name: str
    unique: bool
    parts: tuple[IndexPart, ...]
    nullable: bool

    @property
    def names_rows(self) -> bool:
        return self.unique and not self.nullable and all(part.column is not None for part in self.parts)

    def __str__(self) -> str:
        parts = ", ".join(
            (part.column or "an expression") + (f"({part.prefix})" if part.prefix else "")
            for part in self.parts
        )
        return f"{'unique ' if self.unique else ''}({parts})"


@dataclass(frozen=True, slots=True)
class Relations:
    """What else moves when rows of a table do, as far as the account may see it.

    Tables that its foreign keys refer to, tables whose foreign keys refer to it, and its triggers.
    """

    refers_to: tuple[str, ...]
    referred_by: tuple[str, ...]
    triggers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """A base table; generated and invisible columns are among its columns."""

    schema: str
    name: str
    columns: tuple[ColumnDefinition, ...]
    indexes: tuple[IndexDefinition, ...]

    @property
    def stored(self) -> tuple[ColumnDefinition, ...]:
        """The columns that an INSERT may name: all that are not generated."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def row_names(self) -> tuple[IndexDefinition, ...]:
        """The indexes of which each names every row: the primary key, then unique ones without NULL."""
        named = [index for index in self.indexes if index.names_rows and self._is_plain(index)]
        return tuple(sorted(named, key=lambda index: index.name != PRIMARY))

    @property
    def row_name(self) -> IndexDefinition | None:
        """The first of ``row_names``."""
        return next(iter(self.row_names), None)

    def column(self, name: str) -> ColumnDefinition | None:
        """The column of that name; names of columns are told apart without case."""
        return next((each for each in self.columns if each.name.lower() == name.lower()), None)

    def _is_plain(self, index: IndexDefinition) -> bool:
        found = [self.column(part.column or "") for part in index.parts]
        return all(column is not None and not column.generated for column in found)


def read_definition(server: Asked, schema: str, table: str) -> TableDefinition:
    """Raises NotFound where there is no such table, ServerUnsupported for a view."""
    kinds = server.query(
        "SELECT table_type AS kind FROM information_schema.tables"
        " WHERE table_schema = %s AND table_name = %s",
        (schema, table),
    )
    if not kinds:
        raise NotFound(
            f"there is no table {schema}.{table}, or the account may not read it",
            hint="It needs SELECT on the table: infra/examples/accounts.sql.",
        )
    if kinds[0]["kind"] != "BASE TABLE":
        raise ServerUnsupported(
            f"{schema}.{table} is a {kinds[0]['kind'].lower()}, and has no rows of its own",
            hint="Name the tables that it reads from.",
        )
    columns = tuple(
        ColumnDefinition(
            name=row["name"],
            kind=row["kind"].lower(),
            type=row["type"],
            charset=row["charset"],
            collation=row["collation"],
            characters=None if row["characters"] is None else int(row["characters"]),
            nullable=bool(row["nullable"]),
            default=row["value"],
            extra=row["extra"] or "",
            generated=bool(row["expression"]),
        )
        for row in server.query(_COLUMNS, (schema, table))
    )
    return TableDefinition(schema, table, columns, _indexes(server.query(_INDEXES, (schema, table))))


def create_statement(server: Asked, schema: str, table: str) -> str:
    """SHOW CREATE TABLE: the table under its bare name, without a semicolon."""
    (row,) = server.query(f"SHOW CREATE TABLE {identifier(schema)}.{identifier(table)}")
    return str(row["Create Table"])


def read_relations(server: Asked, schema: str, table: str) -> Relations:
    """Triggers are seen by those alone who have the privilege TRIGGER."""
    parents = server.query(
        "SELECT DISTINCT CONCAT(referenced_table_schema, '.', referenced_table_name) AS name"
        " FROM information_schema.key_column_usage WHERE table_schema = %s AND table_name = %s"
        " AND referenced_table_name IS NOT NULL ORDER BY 1",
        (schema, table),
    )
    children = server.query(
        "SELECT DISTINCT CONCAT(table_schema, '.', table_name) AS name"
        " FROM information_schema.key_column_usage"
        " WHERE referenced_table_schema = %s AND referenced_table_name = %s ORDER BY 1",
        (schema, table),
    )
    triggers = server.query(
        "SELECT trigger_name AS name FROM information_schema.triggers"
        " WHERE event_object_schema = %s AND event_object_table = %s ORDER BY 1",
        (schema, table),
    )
    return Relations(*(tuple(str(row["name"]) for row in rows) for rows in (parents, children, triggers)))


def show_hidden_keys(server: Asked) -> None:
    """Let this session see primary keys that the server made by itself (MySQL 8.0.30 and later)."""
    name = "show_gipk_in_create_table_and_information_schema"
    if any(row["Value"] == "OFF" for row in server.query("SHOW SESSION VARIABLES LIKE %s", (name,))):
        server.query(f"SET SESSION {name} = ON")


def _indexes(rows: Sequence[dict[str, object]]) -> tuple[IndexDefinition, ...]:
    found: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        found.setdefault(str(row["name"]), []).append(row)
    return tuple(
        IndexDefinition(
            name,
            unique=not parts[0]["non_unique"],
            parts=tuple(IndexPart(_text(part["part"]), _number(part["prefix"])) for part in parts),
            nullable=any(bool(part["nullable"]) for part in parts),
        )
        for name, parts in found.items()
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))
