"""``python -m benchmarks.oltp``: a steady load in a process of its own; it writes down every latency.

Each client has its timetable: a transaction that had to wait for the one before it is late from when it was
due, so a server that stands still for a second is seen by all the transactions of that second. A transaction
is like sysbench's: ten reads by key, a range, an update of an indexed and one of another column, committed.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pymysql

from benchmarks.dataset import SCHEMA, TABLES

CLIENTS = 4


def main(socket: str, report: str, rows: str, per_second: str) -> None:
    """Run until SIGTERM, then write ``[[due, latency], ...]`` to ``report``; ``due`` is a monotonic time."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    interval = CLIENTS / float(per_second)
    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [
            threads.submit(_client, socket, number, int(rows), interval, stopped) for number in range(CLIENTS)
        ]
        seen = [pair for client in clients for pair in client.result()]
    Path(report).write_text(json.dumps(seen))


def _client(
    socket: str, number: int, rows: int, interval: float, stopped: threading.Event
) -> list[tuple[float, float]]:
    source = random.Random(number)
    seen: list[tuple[float, float]] = []
    connection = pymysql.connect(unix_socket=socket, user="root", database=SCHEMA)
    try:
        due = time.monotonic() + interval * number / CLIENTS
        while not stopped.wait(max(0.0, due - time.monotonic())):
            with connection.cursor() as cursor:
                _transaction(cursor, source, rows)
            connection.commit()
            seen.append((due, time.monotonic() - due))
            due += interval
    except BaseException:
        stopped.set()
        raise
    finally:
        connection.close()
    return seen


def _transaction(cursor: Any, source: random.Random, rows: int) -> None:
    table = f"sbtest{source.randrange(TABLES) + 1}"
    for _ in range(10):
        cursor.execute(f"SELECT c FROM {table} WHERE id = %s", (source.randrange(rows) + 1,))
    first = source.randrange(rows) + 1
    cursor.execute(f"SELECT SUM(k) FROM {table} WHERE id BETWEEN %s AND %s", (first, first + 99))
    cursor.execute(f"UPDATE {table} SET k = k + 1 WHERE id = %s", (source.randrange(rows) + 1,))
    text = f"{source.getrandbits(390):0119d}"
    cursor.execute(f"UPDATE {table} SET c = %s WHERE id = %s", (text, source.randrange(rows) + 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
