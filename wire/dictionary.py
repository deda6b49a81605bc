"""What a server's data dictionary says of tables, their files and foreign keys, one function a statement.

For servers that lack the files of most tables: the dictionary lies in mysql.ibd, and tells of those too.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from fleet.table_name import TableName
from wire.restored import Asked


class Tablespace(NamedTuple):
    """The tablespace of one table or partition. ``name`` is ``schema/table`` as people write it, with ``#p#``
    and what follows for a partition. ``has_file``: it was found at the start.
    """

    name: str
    space: int
    has_file: bool


class InnodbTable(NamedTuple):
    """A table or a partition as InnoDB knows it. ``name`` is ``schema/table`` as files are named, with
    ``#p#`` and what follows for a partition. ``space`` is the tablespace's id, 0 the system tablespace.
    """

    name: str
    table_id: int
    space: int


class ForeignKey(NamedTuple):
    """``cascades``: a change of the parent's rows may change those of the child."""

    child: TableName
    parent: TableName
    cascades: bool


class KnownTable(NamedTuple):
    """A table or view of the dictionary. ``engine`` is None for a view."""

    name: TableName
    engine: str | None


_SYSTEM_SCHEMAS = ("mysql", "sys", "performance_schema", "information_schema")


def innodb_tables(server: Asked) -> tuple[InnodbTable, ...]:
    """All of them, the server's own too, with where they lie: also tables in a tablespace that they share.

    To answer, the server opens them all. One that lacks files dies of it when it is told to stop (an
    assertion of buf0buf.cc in 9.7.4), so it must be killed afterwards.
    """
    rows = server.query(
        "SELECT name AS name, table_id AS id, space AS space FROM information_schema.innodb_tables"
    )
    return tuple(InnodbTable(str(row["name"]), int(row["id"]), int(row["space"])) for row in rows)


def own_tablespaces(server: Asked) -> tuple[Tablespace, ...]:
    """Those of tables that have one to themselves, and of partitions."""
    rows = server.query(
        "SELECT name AS name, space AS space, file_size AS size"
        " FROM information_schema.innodb_tablespaces WHERE space_type = 'Single'"
    )
    return tuple(Tablespace(str(row["name"]), int(row["space"]), int(row["size"]) > 0) for row in rows)


def full_text_tables(server: Asked) -> frozenset[TableName]:
    """Tables with a full-text index, which lies in hidden tables beside them."""
    rows = server.query(
        "SELECT DISTINCT table_schema AS s, table_name AS t FROM information_schema.statistics"
        " WHERE index_type = 'FULLTEXT' AND table_schema NOT IN (%s, %s, %s, %s)",
        _SYSTEM_SCHEMAS,
    )
    return frozenset(TableName(row["s"], row["t"]) for row in rows)


def foreign_keys(server: Asked) -> tuple[ForeignKey, ...]:
    rows = server.query(
        "SELECT constraint_schema AS s, table_name AS t, unique_constraint_schema AS ps,"
        " referenced_table_name AS pt, update_rule AS u, delete_rule AS d"
        " FROM information_schema.referential_constraints"
    )
    return tuple(
        ForeignKey(
            TableName(row["s"], row["t"]),
            TableName(row["ps"] or row["s"], row["pt"]),
            not {row["u"], row["d"]} <= {"NO ACTION", "RESTRICT"},
        )
        for row in rows
    )


def known_tables(server: Asked) -> tuple[KnownTable, ...]:
    """Tables and views of users' schemas, by name."""
    rows = server.query(
        "SELECT table_schema AS s, table_name AS t, engine AS e, table_type AS k"
        " FROM information_schema.tables WHERE table_schema NOT IN (%s, %s, %s, %s) ORDER BY 1, 2",
        _SYSTEM_SCHEMAS,
    )
    return tuple(
        KnownTable(TableName(row["s"], row["t"]), None if "VIEW" in row["k"] else str(row["e"]))
        for row in rows
    )


def prepared_transactions(server: Asked) -> tuple[str, ...]:
    """The ids of XA transactions that are prepared, as the log has them: ``x'<hex>',x'<hex>',1``."""
    found: list[str] = []
    for row in server.query("XA RECOVER CONVERT XID"):
        data = bytes.fromhex(str(row["data"]).removeprefix("0x"))
        length = int(row["gtrid_length"])
        found.append(f"x'{data[:length].hex()}',x'{data[length:].hex()}',{row['formatID']}")
    return tuple(found)


def drop_tables(server: Asked, tables: Iterable[TableName]) -> None:
    """Also under super_read_only, and whatever refers to them. Their files need not be there."""
    chosen = tuple(tables)
    if not chosen:
        return
    server.query("SET GLOBAL read_only = 0")
    server.query("SET SESSION foreign_key_checks = 0")
    try:
        for table in chosen:
            server.query(f"DROP TABLE IF EXISTS {table.quoted}")
    finally:
        server.query("SET SESSION foreign_key_checks = 1")
        server.query("SET GLOBAL super_read_only = 1")


def declare_executed(server: Asked, gtids: str, *, version: tuple[int, int, int]) -> None:
    """Make ``gtids`` the whole of ``gtid_executed``, whatever was executed; also under super_read_only."""
    server.query("SET GLOBAL read_only = 0")
    try:
        # The words came with 8.2, and the old ones went with 8.4.
        server.query("RESET BINARY LOGS AND GTIDS" if version >= (8, 2, 0) else "RESET MASTER")
        server.query("SET GLOBAL gtid_purged = %s", (gtids,))
    finally:
        server.query("SET GLOBAL super_read_only = 1")


def replicate_only(server: Asked, tables: Sequence[TableName]) -> None:
    """What replication brings for other tables is passed over, rows and statements."""
    names = ", ".join(table.quoted for table in tables)
    server.query(f"CHANGE REPLICATION FILTER REPLICATE_DO_TABLE = ({names})")


@contextmanager
def quiesced(server: Asked, table: TableName) -> Generator[None]:
    """While the block runs, the table's files are complete, beside them .cfg and, encrypted, .cfp files that
    describe them; the server removes these at the end.
    """
    server.query("SET GLOBAL read_only = 0")
    try:
        server.query(f"FLUSH TABLES {table.quoted} FOR EXPORT")
        yield
    finally:
        server.query("UNLOCK TABLES")
        server.query("SET GLOBAL super_read_only = 1")


def definition(server: Asked, table: TableName) -> str:
    """The CREATE TABLE statement."""
    return str(server.query(f"SHOW CREATE TABLE {table.quoted}")[0]["Create Table"])
