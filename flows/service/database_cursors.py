"""SQLite cursors that let go of a statement where it failed, not where the garbage collector finds them.

Prefect's server has one thread for all that it answers, and one for each connection to its database. Nobody
there closes a cursor whose statement was refused ("database is locked"): it hangs on the error, in a cycle,
until a collection, and that runs in whatever thread allocates. Resetting the statement then waits for the
connection's mutex; the connection may be waiting for the lock of another one; and that one goes on only when
the thread that collects does. Nothing was answered for the 60 seconds of SQLite's busy timeout (seen with
Prefect 3.8.8, SQLAlchemy 2.0.58, aiosqlite 0.22.1, Python 3.11.7: every few minutes with many runs at once).
Python 3.12 lets go by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


class LettingGoCursor(sqlite3.Cursor):
    """Closed, in the thread that used it, by the first error."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        with self._closed_if_it_fails():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        with self._closed_if_it_fails():
            return super().executemany(*arguments)

    @contextmanager
    def _closed_if_it_fails(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error:
            self.close()
            raise


class LettingGoConnection(sqlite3.Connection):
    """Every cursor of it is a ``LettingGoCursor``, unless another kind is asked for."""

    def cursor(self, factory: Callable[[sqlite3.Connection], Any] | None = None) -> Any:
        return super().cursor(factory or LettingGoCursor)


def let_go() -> None:
    """Have every SQLite connection that SQLAlchemy makes from now on, in this process, be one of these."""
    event.listen(Engine, "do_connect", _ask_for_one)


def _ask_for_one(dialect: Any, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
    if dialect.name == "sqlite":
        parameters["factory"] = LettingGoConnection
