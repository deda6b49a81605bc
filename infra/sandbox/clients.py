"""The threads of a load: clients that survive any outage, and one that changes definitions."""

from __future__ import annotations

import itertools
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pymysql

from fleet.clock import Clock
from infra.sandbox.ddl import DDL_KINDS, Connection, DdlEvent, DdlKind, DdlRunner
from infra.sandbox.latency import Latencies
from infra.sandbox.ledger import LedgerFile

Connect: TypeAlias = Callable[[], Connection]

_CONFLICTS = (1205, 1213)  # lock wait timeout, deadlock: the transaction is gone, the connection is not
_PAUSE_SECONDS = 0.2
_CHURN_EVERY = 4
_CHURN_KEPT = 200


class Pulse:
    """When anybody last committed, and the longest time in which nobody did."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Start over."""
        with self._lock:
            self._began = self._last = self._clock.monotonic()
            self._longest = 0.0

    def beat(self) -> None:
        """Somebody committed."""
        with self._lock:
            now = self._clock.monotonic()
            self._longest = max(self._longest, now - self._last)
            self._last = now

    def take(self) -> tuple[float, float]:
        """Seconds since the last take, and the longest silence in them, one that still lasts included."""
        with self._lock:
            now = self._clock.monotonic()
            taken = now - self._began, max(self._longest, now - self._last)
            self._began, self._longest = now, 0.0
            return taken


@dataclass
class Window:
    """What one client counted since statistics were last taken."""

    latencies: Latencies = field(default_factory=Latencies)
    transactions: int = 0
    conflicts: int = 0
    errors: Counter[int] = field(default_factory=Counter[int])
    longest_statement: float = 0.0


class Client:
    """One client: transaction after transaction, each tried until it is known to be committed."""

    def __init__(
        self,
        number: int,
        connect: Connect,
        books: int,
        accounts: int,
        *,
        ledger: Path,
        pulse: Pulse,
        clock: Clock,
    ) -> None:
        self._number = number
        self._connect = connect
        self._books = books
        self._accounts = accounts
        self._ledger = LedgerFile(ledger, number)
        self._pulse = pulse
        self._clock = clock
        self._connection: Connection | None = None
        # True while nobody knows whether the next number is committed: at first, and after each error.
        self._uncertain = True
        self._random = random.Random()
        self._lock = threading.Lock()
        self._window = Window()

    def run(self, stopping: threading.Event, interval_seconds: float) -> None:
        """Work until told to stop; with an interval, at that pace, and late ones at once."""
        due = self._clock.monotonic() + self._random.random() * interval_seconds
        while not stopping.is_set():
            if interval_seconds:
                if stopping.wait(max(0.0, due - self._clock.monotonic())):
                    break
            else:
                due = self._clock.monotonic()
            if self._transact(stopping):
                with self._lock:
                    self._window.transactions += 1
                    self._window.latencies.record(self._clock.monotonic() - due)
            due += interval_seconds

    def take_window(self) -> Window:
        """What was counted, which begins anew."""
        with self._lock:
            taken, self._window = self._window, Window()
            return taken

    def close(self) -> None:
        """Close connection and file."""
        self._disconnect()
        self._ledger.close()

    def _transact(self, stopping: threading.Event) -> bool:
        sequence = self._ledger.last_sequence + 1
        while not stopping.is_set():
            try:
                if not self._is_known_to_be_there(sequence):
                    self._move_money(sequence)
            except (pymysql.MySQLError, OSError) as error:
                self._after(error, stopping)
                continue
            self._ledger.append(sequence, self._clock.now())
            self._pulse.beat()
            return True
        return False

    def _after(self, error: Exception, stopping: threading.Event) -> None:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if number in _CONFLICTS and self._connection is not None:
            with suppress(pymysql.MySQLError, OSError):
                self._connection.rollback()
                with self._lock:
                    self._window.conflicts += 1
                return
        with self._lock:
            self._window.errors[number] += 1
        self._uncertain = True
        self._disconnect()
        stopping.wait(_PAUSE_SECONDS)

    def _is_known_to_be_there(self, sequence: int) -> bool:
        if not self._uncertain:
            return False
        rows = self._execute(
            "SELECT 1 FROM `load`.ledger WHERE client = %s AND sequence = %s", (self._number, sequence)
        )
        self._uncertain = False
        return bool(rows)

    def _move_money(self, sequence: int) -> None:
        book = self._random.randint(1, self._books)
        debited, credited = self._random.sample(range(1, self._accounts + 1), 2)
        amount = self._random.randint(1, 100)
        self._execute("BEGIN")
        # In ascending order, so that two clients seldom wait for each other in a circle.
        for account, moved in sorted([(debited, -amount), (credited, amount)]):
            self._execute(
                f"UPDATE `load`.accounts_{book} SET balance = balance + %s, touched = touched + 1, pad = %s"
                " WHERE id = %s",
                (moved, secrets.token_hex(60), account),
            )
        self._execute(
            "INSERT INTO `load`.ledger (client, sequence, book, debited, credited, amount)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (self._number, sequence, book, debited, credited, amount),
        )
        if sequence % _CHURN_EVERY == 0:
            self._churn(sequence)
        self._execute("COMMIT")

    def _churn(self, sequence: int) -> None:
        self._execute(
            "INSERT INTO `load`.churn (client, body) VALUES (%s, %s)",
            (self._number, secrets.token_hex(self._random.randint(10, 200))),
        )
        if sequence > _CHURN_EVERY * _CHURN_KEPT:
            self._execute("DELETE FROM `load`.churn WHERE client = %s ORDER BY id LIMIT 1", (self._number,))

    def _execute(self, statement: str, args: tuple[Any, ...] | None = None) -> Any:
        if self._connection is None:
            self._connection = self._connect()
        began = self._clock.monotonic()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, args)
                return cursor.fetchall()
        finally:
            took = self._clock.monotonic() - began
            with self._lock:
                self._window.longest_statement = max(self._window.longest_statement, took)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(pymysql.MySQLError, OSError):
                self._connection.close()
            self._connection = None


class DdlThread:
    """Changes of definitions, in turn or on demand, on a connection that is replaced after an error."""

    def __init__(self, connect: Connect, books: int, clock: Clock) -> None:
        self._connect = connect
        self._books = books
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._runner: DdlRunner | None = None
        self._events: list[DdlEvent] = []
        self._events_lock = threading.Lock()

    def run(self, stopping: threading.Event, every_seconds: float) -> None:
        """One change after the other, each kind in turn, until told to stop."""
        for kind in itertools.cycle(DDL_KINDS):
            if stopping.wait(every_seconds):
                return
            self.run_one(kind)

    def run_one(self, kind: DdlKind) -> DdlEvent:
        """One change now."""
        with self._lock:
            event = self._run(kind)
        with self._events_lock:
            self._events.append(event)
        return event

    def take(self) -> tuple[DdlEvent, ...]:
        """What happened since this was last asked; does not wait for a change that is under way."""
        with self._events_lock:
            taken, self._events = self._events, []
        return tuple(taken)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(pymysql.MySQLError, OSError):
                self._connection.close()
        self._connection = self._runner = None

    def _run(self, kind: DdlKind) -> DdlEvent:
        began_at = self._clock.now()
        try:
            if self._connection is None:
                self._connection = self._connect()
            if self._runner is None:
                self._runner = DdlRunner(self._connection, books=self._books, clock=self._clock)
        except (pymysql.MySQLError, OSError) as error:
            self.close()
            return DdlEvent(kind, began_at, 0.0, str(error))
        event = self._runner.run(kind)
        if event.error:
            self.close()
        return event
