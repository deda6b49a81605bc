"""A steady load for days that are some seconds long: updates of random rows, rows appended; and its moments.

A moment is the state of the data between two transactions: what restores to it must bring.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.changes import EVERY_TABLE, Change, append, update
from benchmarks.dataset import SCHEMA
from infra.sandbox.dataset import checksums
from infra.sandbox.server import MysqlServer

AT_ONCE = 25  # updates in a transaction


@dataclass(frozen=True)
class Moment:
    """The load stood still: what the server had executed; and what its tables held, where that was asked."""

    day: int
    at: datetime
    gtids: str
    sums: Mapping[str, int | None] | None = None


class Pace:
    """How a day's changes are spread over it. Pure."""

    def __init__(self, a_day: Change, day_seconds: float) -> None:
        self.batches = max(1, a_day.updates // AT_ONCE)
        self.interval = day_seconds / self.batches
        self._a_day = a_day

    def appends(self, batch: int) -> int:
        """Rows to append with the ``batch``-th transaction: to every table at once, so that it is seldom."""
        tables = len(EVERY_TABLE)
        if batch % tables:
            return 0
        return max(tables, round(self._a_day.appends * tables / self.batches))


class SteadyLoad:
    """A client with a timetable, from ``start`` to ``stop``."""

    def __init__(self, server: MysqlServer, rows: int, pace: Pace) -> None:
        self._server = server
        self._rows = rows
        self._pace = pace
        self._between = threading.Lock()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """End; raises what ended it before."""
        self._stopped.set()
        self._thread.join()
        if self._error:
            raise self._error

    def moment(self, day: int, *, with_sums: bool) -> Moment:
        """Stand still between two transactions, and note what there is."""
        connection = self._server.connect()
        try:
            with self._between, connection.cursor() as cursor:
                cursor.execute("SELECT @@GLOBAL.gtid_executed")
                gtids = str(cursor.fetchone()[0]).replace("\n", "")
                at = datetime.now(UTC)
                return Moment(day, at, gtids, checksums(connection) if with_sums else None)
        finally:
            connection.close()

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
        due = time.monotonic()
        batch = 0
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            with self._between:
                update(cursor, source, AT_ONCE, self._rows, EVERY_TABLE)
                append(cursor, source, self._pace.appends(batch), EVERY_TABLE)
            batch += 1
            # What a busy moment held up is not made up for in one go.
            due = max(due + self._pace.interval, time.monotonic() - 1.0)
