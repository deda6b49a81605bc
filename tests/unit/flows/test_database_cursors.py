"""SQLite cursors that let go of a statement where it failed."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from flows.service.database_cursors import LettingGoConnection, _ask_for_one, let_go

BUSY_SECONDS = 2.0
PLAIN_ONES_WAIT = sys.version_info < (3, 12)
"""Seen with 3.11.2 and 3.11.7, and no more with 3.12.1 and 3.13.0."""

Refuse = Callable[[sqlite3.Cursor], object]

REFUSALS: dict[str, Refuse] = {
    "execute": lambda cursor: cursor.execute("INSERT INTO t VALUES (?)", (2,)),
    "executemany": lambda cursor: cursor.executemany("INSERT INTO t VALUES (?)", [(2,), (3,)]),
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """With a write-ahead log, as Prefect has it."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE t (x)")
    return path


@pytest.fixture
def other(database: Path) -> Iterator[sqlite3.Connection]:
    """Whose lock the others wait for."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        yield other


def seconds_to_forget_a_refused_cursor(
    connection: sqlite3.Connection, other: sqlite3.Connection, refuse: Refuse
) -> float:
    """In this thread, while another one waits on the same connection for a lock."""
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM t").fetchall()
    other.execute("INSERT INTO t VALUES (1)")
    cursor = connection.cursor()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        refuse(cursor)
    connection.execute("ROLLBACK")
    other.execute("BEGIN IMMEDIATE")
    refused: list[sqlite3.Error] = []

    def wait_for_the_lock() -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            refused.append(error)

    waiting = threading.Thread(target=wait_for_the_lock)
    waiting.start()
    time.sleep(0.3)
    began = time.monotonic()
    del cursor
    seconds = time.monotonic() - began
    other.execute("ROLLBACK")
    waiting.join()
    # Else nothing was waiting, and nothing is shown.
    assert (seconds > 1) == bool(refused)
    return seconds


@pytest.mark.parametrize("refuse", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize(
    ("kind", "waits"),
    [(sqlite3.Connection, PLAIN_ONES_WAIT), (LettingGoConnection, False)],
    ids=["plain", "letting-go"],
)
def test_a_refused_cursor_is_forgotten_without_waiting_for_its_connection(
    database: Path, other: sqlite3.Connection, refuse: Refuse, kind: type[sqlite3.Connection], *, waits: bool
) -> None:
    """The plain one is here to tell what for, and from which Python on none of this is needed any more."""
    with closing(
        sqlite3.connect(
            database, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None, factory=kind
        )
    ) as connection:
        seconds = seconds_to_forget_a_refused_cursor(connection, other, refuse)
    assert seconds > BUSY_SECONDS / 2 if waits else seconds < 0.5


def test_every_connection_that_an_engine_makes_closes_what_is_refused(
    database: Path, other: sqlite3.Connection
) -> None:
    """An engine as Prefect's server makes it."""
    let_go()
    try:
        kind, closed = asyncio.run(_refused_by_an_engine(database, other))
    finally:
        event.remove(Engine, "do_connect", _ask_for_one)
    assert issubclass(kind, LettingGoConnection)
    assert set(closed) == {True}


async def _refused_by_an_engine(
    database: Path, other: sqlite3.Connection
) -> tuple[type[sqlite3.Connection], list[bool]]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}", paramstyle="named")
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql("BEGIN")
            await connection.execute(text("SELECT count(*) FROM t"))
            other.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(OperationalError, match="locked") as caught:
                await connection.execute(text("INSERT INTO t VALUES (:x)"), {"x": 2})
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None
            return type(raw.driver_connection._conn), _cursors_closed(caught.value)
    finally:
        await engine.dispose()


def _cursors_closed(error: BaseException) -> list[bool]:
    """Of each cursor that hangs on the error."""
    found: list[bool] = []
    cause = error.__cause__
    assert cause is not None
    trace = cause.__traceback__
    while trace is not None:
        held = trace.tb_frame.f_locals.get("_cursor")
        if held is not None:
            try:
                held._cursor.fetchone()
            except sqlite3.ProgrammingError:
                found.append(True)
            else:
                found.append(False)
        trace = trace.tb_next
    return found
