"""What is asked of a server that was started on restored files, one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Asked(Protocol):
    """Who answers: a session, or a server that keeps one."""

    def query(self, sql: str, args: Sequence[object] = ()) -> list[dict[str, Any]]: ...


class Table(NamedTuple):
    """A table that has data of its own; ``pages`` by InnoDB's own statistics, 0 where it has none."""

    schema: str
    name: str
    pages: int

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server is, and what it has executed (``gtid_executed`` as it says it)."""

    uuid: str
    version: str
    gtid_executed: str


def identity(server: Asked) -> Identity:
    rows = server.query(
        "SELECT @@server_uuid AS uuid, VERSION() AS version, @@global.gtid_executed AS gtid_executed"
    )
    return Identity(rows[0]["uuid"], rows[0]["version"], rows[0]["gtid_executed"])


def last_applied_us(server: Asked) -> int | None:
    """When the transaction that the appliers finished last was committed where it came from: microseconds
    since 1970; None since the server's start.
    """
    rows = server.query(
        "SELECT MAX(last_applied_transaction_immediate_commit_timestamp) > 0 AS known, CAST(1000000 *"
        " UNIX_TIMESTAMP(MAX(last_applied_transaction_immediate_commit_timestamp)) AS SIGNED) AS at_us"
        " FROM performance_schema.replication_applier_status_by_worker WHERE channel_name = ''"
    )
    return int(rows[0]["at_us"]) if rows[0]["known"] else None


def tables(server: Asked) -> tuple[Table, ...]:
    """Every base table outside of the virtual schemas, by name; the partitions of a table count together."""
    stats = server.query(
        "SELECT database_name AS s, table_name AS t, clustered_index_size + sum_of_other_index_sizes AS pages"
        " FROM mysql.innodb_table_stats"
    )
    pages: dict[tuple[str, str], int] = {}
    for row in stats:
        # Partitions are counted under "table#p#partition", in either case.
        name = row["t"].lower().find("#p#")
        key = row["s"], row["t"] if name < 0 else row["t"][:name]
        pages[key] = pages.get(key, 0) + int(row["pages"])
    rows = server.query(
        "SELECT table_schema AS s, table_name AS t FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND engine IS NOT NULL"
        " AND table_schema NOT IN ('performance_schema', 'information_schema') ORDER BY 1, 2"
    )
    return tuple(Table(row["s"], row["t"], pages.get((row["s"], row["t"]), 0)) for row in rows)


def check_table(server: Asked, table: Table) -> str | None:
    """What CHECK TABLE found wrong, None when the table is sound. It reads every page of every index."""
    rows = server.query(f"CHECK TABLE {_quoted(table.schema)}.{_quoted(table.name)}")
    kinds = {row["Msg_type"].lower() for row in rows}
    status = {row["Msg_text"] for row in rows if row["Msg_type"].lower() == "status"}
    # An engine that cannot check itself says so in a note, and has no status.
    if "error" not in kinds and status <= {"OK", "Table is already up to date"}:
        return None
    return "; ".join(f"{row['Msg_type']}: {row['Msg_text']}" for row in rows)


def forget_sources(server: Asked, *, version: tuple[int, int, int]) -> None:
    """RESET REPLICA ALL: the server knows of no source any more, on any channel."""
    # The word came with 8.0.22, and the old one went with 8.4.
    server.query("RESET REPLICA ALL" if version >= (8, 0, 22) else "RESET SLAVE ALL")


def remembered_sources(server: Asked) -> tuple[str, ...]:
    """Hosts that the server would replicate from after a restart: what is in the table that it starts from.

    SHOW REPLICA STATUS would not do: it hides a channel whose relay logs were not found at the start.
    """
    rows = server.query("SELECT host AS host FROM mysql.slave_master_info ORDER BY 1")
    return tuple(str(row["host"]) for row in rows)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
