"""Data as sysbench makes it, made quickly: tables ``sbtest1`` to ``sbtest8`` of digits, one index each.

Two things differ from sysbench. The pads come from a pool, so that the data compresses about 3:1, as the
data of real applications does (sysbench's own gives 2.5:1). And every table holds the same rows; as each page
carries the number of its tablespace, no tool that is measured here can see that.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.sandbox.server import MysqlServer

SCHEMA = "sbtest"
TABLES = 8
PADS = 1000
SEED_ROWS = 250_000
ROW_BYTES = 265  # of data file a row: its page's share and its index entry, as seen
_GROUP = 11
_COLUMNS = """(
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    k INT NOT NULL DEFAULT 0,
    c CHAR(120) NOT NULL DEFAULT '',
    pad CHAR(60) NOT NULL DEFAULT ''
)"""


def rows_for(size_bytes: int) -> int:
    """Rows a table, so that all tables together fill about ``size_bytes`` of data files."""
    return max(1000, size_bytes // TABLES // ROW_BYTES)


def lines(count: int, seed: int = 1) -> Iterator[str]:
    """``count`` rows ``k <tab> c <tab> pad`` for LOAD DATA, always the same ones for a seed."""
    source = random.Random(seed)
    pads = [groups(source, 5) for _ in range(PADS)]
    for _ in range(count):
        number = source.getrandbits(30)
        yield f"{number % count + 1}\t{groups(source, 10)}\t{pads[number % PADS]}\n"


def make(server: MysqlServer, size_bytes: int, scratch: Path, say: Callable[[str], None]) -> None:
    """Fill ``server`` with about ``size_bytes`` of data, by two threads, and wait until it rests."""
    rows = rows_for(size_bytes)
    seeds = min(rows, SEED_ROWS)
    say(f"making {TABLES} tables of {rows:,} rows")
    text = scratch / "seed.txt"
    with text.open("w") as file:
        file.writelines(lines(seeds))
    connection = server.connect(local_infile=True)
    try:
        with connection.cursor() as cursor:
            # The one statement that is logged: a donor without any transaction would be no real one.
            cursor.execute(f"CREATE DATABASE {SCHEMA}")
            cursor.execute("SET sql_log_bin = OFF")
            cursor.execute("SET GLOBAL local_infile = ON")
            cursor.execute(f"CREATE TABLE {SCHEMA}.seed {_COLUMNS}")
            cursor.execute(f"LOAD DATA LOCAL INFILE '{text}' INTO TABLE {SCHEMA}.seed (k, c, pad)")
            cursor.execute("SET GLOBAL local_infile = OFF")
            text.unlink()
            _in_threads(server, rows, seeds)
            cursor.execute(f"DROP TABLE {SCHEMA}.seed")
            rest(cursor)
    finally:
        connection.close()


def rest(cursor: Any) -> None:
    """Wait until the purge is done and no page is dirty: the first run must not pay for the loading."""
    cursor.execute("SELECT @@innodb_max_dirty_pages_pct")
    usual = cursor.fetchone()[0]
    cursor.execute("SET GLOBAL innodb_max_dirty_pages_pct = 0")
    for _ in range(600):
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
        if int(cursor.fetchone()[1]) < 10:
            break
        cursor.execute("DO SLEEP(0.1)")
    cursor.execute("SET GLOBAL innodb_max_dirty_pages_pct = %s", (usual,))


def groups(source: random.Random, count: int) -> str:
    """``count`` groups of eleven random digits, joined by ``-``, as sysbench fills its columns."""
    digits = str(source.getrandbits(37 * count)).zfill(_GROUP * count)[-_GROUP * count :]
    return "-".join(digits[start : start + _GROUP] for start in range(0, len(digits), _GROUP))


def _in_threads(server: MysqlServer, rows: int, seeds: int) -> None:
    failures: list[BaseException] = []

    def fill(numbers: range) -> None:
        try:
            _fill(server, numbers, rows, seeds)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            failures.append(error)

    threads = [threading.Thread(target=fill, args=(range(1 + part, TABLES + 1, 2),)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _fill(server: MysqlServer, numbers: range, rows: int, seeds: int) -> None:
    connection = server.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"USE {SCHEMA}")
            cursor.execute("SET sql_log_bin = OFF, transaction_isolation = 'READ-COMMITTED'")
            for number in numbers:
                cursor.execute(f"CREATE TABLE sbtest{number} {_COLUMNS}")
                for done in range(0, rows, seeds):
                    part = min(seeds, rows - done)
                    cursor.execute(
                        f"INSERT INTO sbtest{number} (k, c, pad) SELECT k, c, pad FROM seed LIMIT {part}"
                    )
                cursor.execute(f"ALTER TABLE sbtest{number} ADD INDEX k_{number} (k)")
    finally:
        connection.close()
