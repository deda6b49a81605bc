"""A steady load for days that are some seconds long: updates of random rows, rows appended; and its moments.

A day brings the changes of a day, however long it lasts: what is left is spread over the seconds left, and
with nothing left the load waits for the next day. A moment is the state of the data between two
transactions: what restores to it must bring.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.changes import EVERY_TABLE, Change, append, update
from benchmarks.dataset import SCHEMA
from infra.sandbox.dataset import checksums
from infra.sandbox.server import MysqlServer

AT_ONCE = 25  # updates in a transaction
_SHORTEST_PAUSE = 0.002
"""Seconds in which another one, who waits for the load to stand still, gets the word."""
_LOOK_AGAIN = 0.05

JUST_NOTED, AT_BACKUP, BETWEEN, LATEST = "noted", "at a backup", "between two backups", "the latest"


@dataclass(frozen=True)
class Moment:
    """The load stood still: what the server had executed; and what its tables held, where that was asked."""

    day: int
    at: datetime
    gtids: str
    sums: Mapping[str, int | None] | None = None
    kind: str = JUST_NOTED


class Pace:
    """How a day's changes are spread over it. Pure."""

    def __init__(self, a_day: Change) -> None:
        self.batches = max(1, a_day.updates // AT_ONCE)
        self._a_day = a_day

    def pause(self, left: int, seconds_left: float) -> float:
        """Seconds until the next of ``left`` transactions, if the day ends in ``seconds_left``."""
        return max(_SHORTEST_PAUSE, seconds_left / left) if left else _LOOK_AGAIN

    def appends(self, batch: int) -> int:
        """Rows to append with the ``batch``-th transaction: to every table at once, so that it is seldom."""
        tables = len(EVERY_TABLE)
        if batch % tables:
            return 0
        return max(tables, round(self._a_day.appends * tables / self.batches))


class SteadyLoad:
    """A client with a timetable, from ``start`` to ``stop``; it writes nothing before the first day."""

    def __init__(self, server: MysqlServer, rows: int, pace: Pace) -> None:
        self._server = server
        self._rows = rows
        self._pace = pace
        self._between = threading.Lock()
        self._left = 0
        self._day_ends = 0.0
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def new_day(self, seconds: float) -> None:
        """Bring the changes of one day more, within so many seconds."""
        with self._between:
            self._left += self._pace.batches
            self._day_ends = time.monotonic() + seconds

    def stop(self) -> None:
        """End; raises what ended it before."""
        self._stopped.set()
        self._thread.join()
        if self._error:
            raise self._error

    def moment(self, day: int, kind: str = JUST_NOTED) -> Moment:
        """Stand still between two transactions, and note what there is; with checksums, but for
        ``JUST_NOTED``.
        """
        with self.still(day, kind) as moment:
            return moment

    @contextmanager
    def still(self, day: int, kind: str) -> Generator[Moment]:
        """Stand still for as long as the body takes; the moment is all of that time."""
        with self._between:
            connection = self._server.connect()
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT @@GLOBAL.gtid_executed")
                    gtids = str(cursor.fetchone()[0]).replace("\n", "")
                at = datetime.now(UTC)
                sums = None if kind == JUST_NOTED else checksums(connection)
            finally:
                connection.close()
            yield Moment(day, at, gtids, sums, kind)

    def _run(self) -> None:
        try:
            connection = self._server.connect(database=SCHEMA)
            try:
                with connection.cursor() as cursor:
                    self._write(cursor)
            finally:
                connection.close()
        except BaseException as error:  # noqa: BLE001 (raised again by ``stop``)
            self._error = error

    def _write(self, cursor: Any) -> None:
        source = random.Random(1)
        batch = 0
        while not self._stopped.wait(self._pause()):
            with self._between:
                if not self._left:
                    continue
                update(cursor, source, AT_ONCE, self._rows, EVERY_TABLE)
                append(cursor, source, self._pace.appends(batch), EVERY_TABLE)
                self._left -= 1
            batch += 1

    def _pause(self) -> float:
        with self._between:
            return self._pace.pause(self._left, self._day_ends - time.monotonic())
