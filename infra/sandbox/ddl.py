"""Changes of definitions while the load runs: every kind that a clone must cope with."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

import pymysql

from fleet.clock import Clock, SystemClock

Connection: TypeAlias = "pymysql.connections.Connection[Any]"
DdlKind = Literal["create", "drop", "rename", "truncate", "add-column", "add-index", "rebuild", "undo"]
DDL_KINDS: tuple[DdlKind, ...] = (
    "create", "rename", "add-column", "add-index", "truncate", "undo", "rebuild", "drop",
)  # fmt: skip

UNDO_TABLESPACE = "load_undo"
_ER_TABLESPACE_EXISTS = 3120
_MOST_TABLES = 4
_UNDO_WAIT_SECONDS = 5.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class DdlEvent:
    """One change: when it began, how long its slowest statement took, and the server's error if it failed."""

    kind: DdlKind
    began_at: datetime
    seconds: float
    error: str | None


class DdlRunner:
    """Runs changes on one connection, over tables ``load.ddl_<n>`` of its own and over the load's accounts.

    Not thread-safe. Tables that an earlier runner left are taken over.
    """

    def __init__(self, connection: Connection, *, books: int, clock: Clock | None = None) -> None:
        self._connection = connection
        self._books = itertools.cycle(range(1, books + 1))
        self._clock: Clock = clock or SystemClock()
        self._slowest = 0.0
        with connection.cursor() as cursor:
            cursor.execute("SHOW TABLES FROM `load` LIKE 'ddl\\_%'")
            self._tables: list[str] = [row[0] for row in cursor.fetchall()]
        last = max((int(table.removeprefix("ddl_")) for table in self._tables), default=0)
        self._numbers = itertools.count(last + 1)
        self._make_undo_tablespace()

    def run(self, kind: DdlKind) -> DdlEvent:
        """Make one change and say how it went; an error of the server is part of the answer."""
        began_at = self._clock.now()
        self._slowest = 0.0
        error: str | None = None
        try:
            self._steps()[kind]()
        except pymysql.MySQLError as raised:
            error = f"{raised.args[0]}: {raised.args[-1]}"
        return DdlEvent(kind, began_at, self._slowest, error)

    def _steps(self) -> dict[DdlKind, Callable[[], None]]:
        return {
            "create": self._create,
            "drop": self._drop,
            "rename": self._rename,
            "truncate": self._truncate,
            "add-column": self._add_column,
            "add-index": self._add_index,
            "rebuild": self._rebuild,
            "undo": self._truncate_undo,
        }

    def _create(self) -> None:
        if len(self._tables) >= _MOST_TABLES:
            self._drop()
        table = f"ddl_{next(self._numbers)}"
        self._execute(f"CREATE TABLE `load`.{table} (id INT PRIMARY KEY, balance BIGINT, pad VARCHAR(200))")
        self._tables.append(table)
        self._fill(table)

    def _drop(self) -> None:
        table = self._oldest()
        self._execute(f"DROP TABLE `load`.{table}")
        self._tables.remove(table)

    def _rename(self) -> None:
        table, new = self._oldest(), f"ddl_{next(self._numbers)}"
        self._execute(f"RENAME TABLE `load`.{table} TO `load`.{new}")
        self._tables[self._tables.index(table)] = new

    def _truncate(self) -> None:
        table = self._oldest()
        self._execute(f"TRUNCATE TABLE `load`.{table}")
        self._fill(table)

    def _add_column(self) -> None:
        self._execute(f"ALTER TABLE `load`.{self._oldest()} ADD COLUMN c{next(self._numbers)} INT DEFAULT 7")

    def _add_index(self) -> None:
        # On a table that the clients write to all the while.
        table = f"`load`.accounts_{next(self._books)}"
        self._execute(f"ALTER TABLE {table} ADD INDEX by_touched (touched)")
        self._execute(f"ALTER TABLE {table} DROP INDEX by_touched")

    def _rebuild(self) -> None:
        self._execute(f"ALTER TABLE `load`.accounts_{next(self._books)} ENGINE = InnoDB")

    def _truncate_undo(self) -> None:
        self._execute(f"ALTER UNDO TABLESPACE {UNDO_TABLESPACE} SET INACTIVE")
        deadline = self._clock.monotonic() + _UNDO_WAIT_SECONDS
        while self._undo_state() != "empty" and self._clock.monotonic() < deadline:
            self._clock.sleep(_POLL_SECONDS)
        self._execute(f"ALTER UNDO TABLESPACE {UNDO_TABLESPACE} SET ACTIVE")

    def _undo_state(self) -> str:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT state FROM information_schema.innodb_tablespaces WHERE name = %s", (UNDO_TABLESPACE,)
            )
            return str(cursor.fetchall()[0][0])

    def _make_undo_tablespace(self) -> None:
        try:
            self._execute(f"CREATE UNDO TABLESPACE {UNDO_TABLESPACE} ADD DATAFILE '{UNDO_TABLESPACE}.ibu'")
        except pymysql.MySQLError as error:
            if error.args[0] != _ER_TABLESPACE_EXISTS:
                raise

    def _oldest(self) -> str:
        if not self._tables:
            self._create()
        return self._tables[0]

    def _fill(self, table: str) -> None:
        self._execute(
            f"INSERT INTO `load`.{table} (id, balance, pad) SELECT id, balance, pad FROM `load`.accounts_1"
        )

    def _execute(self, statement: str) -> None:
        began = self._clock.monotonic()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            self._slowest = max(self._slowest, self._clock.monotonic() - began)
