"""A session that reads whole tables: exact values, one consistent moment, and patience with a slow reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fleet.gtid import GtidSet
from wire.binlog.sql_export import SQL_MODE
from wire.binlog.sql_literals import identifier
from wire.restored import Asked, identity
from wire.table_columns import Sorting
from wire.table_definition import IndexDefinition, TableDefinition, show_hidden_keys

_PATIENCE_SECONDS = 24 * 3600
_MOST_SNAPSHOTS = 50
_LOCK_SECONDS = 60
_SETTINGS = (
    f"sql_mode = '{SQL_MODE}'",
    "time_zone = '+00:00'",
    "character_set_results = NULL",
    # Two tables are read side by side: one waits while the other one catches up.
    f"net_write_timeout = {_PATIENCE_SECONDS}",
    f"wait_timeout = {_PATIENCE_SECONDS}",
    # Who alters the table now has it for long; the reader's own lock makes nobody wait but who alters it.
    f"lock_wait_timeout = {_LOCK_SECONDS}",
    "max_execution_time = 0",
    "sql_select_limit = DEFAULT",
    "sql_quote_show_create = ON",
    "transaction_isolation = 'REPEATABLE-READ'",
)


class Moment(NamedTuple):
    """When a snapshot was taken: everything in ``low`` is in it, nothing outside of ``high`` was known then.

    They are equal but on a server that is never quiet for the length of two statements.
    """

    low: GtidSet
    high: GtidSet


def prepare_reading(server: Asked) -> None:
    """Set the session up. No privilege is needed for it."""
    server.query(f"SET SESSION {', '.join(_SETTINGS)}")
    show_hidden_keys(server)


def begin_snapshot(server: Asked) -> Moment:
    """Begin a transaction that sees one moment of all tables, and say which. It locks no row."""
    for _ in range(_MOST_SNAPSHOTS):
        low = _executed(server)
        server.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        high = _executed(server)
        if low == high:
            return Moment(low, high)
        server.query("ROLLBACK")
    low = _executed(server)
    server.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    return Moment(low, _executed(server))


def _executed(server: Asked) -> GtidSet:
    return GtidSet.parse(identity(server).gtid_executed)


def select_rows(
    table: TableDefinition,
    expressions: Sequence[str],
    *,
    order: Sequence[Sorting] = (),
    index: IndexDefinition | None = None,
) -> str:
    """The statement that reads a whole table, in the order of ``order``, along ``index``."""
    text = f"SELECT {', '.join(expressions)} FROM {identifier(table.schema)}.{identifier(table.name)}"  # noqa: S608
    if index is not None:
        text += f" FORCE INDEX FOR ORDER BY ({identifier(index.name)})"
    if order:
        text += f" ORDER BY {', '.join(each.order for each in order)}"
    return text
