"""A data set that holds what real schemas hold, of any size, and checksums to compare servers with.

Text is random words and random digits; pages of it compress about 3:1 with zstd, as those of real tables do.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pymysql

SCRIPT = Path(__file__).with_name("dataset.sql")
SCHEMAS = ("shop", "analytics", "media", "bulk", "odd-names.ü")
SYSTEM_SCHEMAS = ("mysql", "sys", "information_schema", "performance_schema")
UNDO_TABLESPACE = "dataset_undo"
SYSBENCH_TABLES = 4

Connection: TypeAlias = "pymysql.connections.Connection[Any]"
Progress = Callable[[str], None]

_MB = 1_000_000
_SEED_ROWS = 20_000
_DIGITS = bytes(ord("0") + value % 10 for value in range(256))
_SYLLABLES = (
    "ka",
    "re",
    "to",
    "mi",
    "lan",
    "ver",
    "ost",
    "ba",
    "söl",
    "fin",
    "gar",
    "hel",
    "nor",
    "qui",
    "wo",
)

# The seed's text, turned by another number of characters in every statement, so that no two rows are equal.
_SEED = (
    "(SELECT CONCAT(SUBSTRING(words, %(turn)s), LEFT(words, %(turn)s - 1)) AS words,"
    " CONCAT(SUBSTRING(digits, %(turn)s), LEFT(digits, %(turn)s - 1)) AS digits"
    " FROM bulk.seed WHERE id <= %(rows)s) AS seed"
)
_SBTEST = (
    "(k, c, pad) SELECT FLOOR(RAND() * 1e9),"
    " INSERT(INSERT(LEFT(digits, 119), 12, 1, '-'), 60, 1, '-'), RIGHT(digits, 59)"
)
_RESULTS = (
    "(user_id, created_at, score, answers, notes)"
    " SELECT FLOOR(RAND() * 1e6), '2024-01-01' + INTERVAL FLOOR(RAND() * 15e6) SECOND, RAND() * 100,"
    " JSON_OBJECT('right', FLOOR(RAND() * 50), 'text', LEFT(words, 60)), RIGHT(words, 300)"
)
_DOCUMENTS = (
    "(user_id, state, body)"
    " SELECT FLOOR(RAND() * 1e6), JSON_OBJECT('version', FLOOR(RAND() * 9), 'title', LEFT(words, 30)),"
    " CONCAT(words, digits, REVERSE(words))"
)
_IMAGES = f"(content) SELECT CONCAT({', '.join(['RANDOM_BYTES(1024)'] * 20)})"


@dataclass(frozen=True)
class Growth:
    """How a table is filled from the seed: its share of the whole, its limit, the size of a row on disk."""

    table: str
    columns_and_select: str
    share: float
    row_bytes: int
    most_bytes: int = 1 << 60


GROWTHS = (
    *(
        Growth(f"bulk.sbtest{number}", _SBTEST, 0.44 / SYSBENCH_TABLES, 245)
        for number in range(1, SYSBENCH_TABLES + 1)
    ),
    Growth("analytics.test_results", _RESULTS, 0.32, 560),
    Growth("media.documents", _DOCUMENTS, 0.16, 2500),
    Growth("media.images", _IMAGES, 0.02, 33_000),
    Growth("media.articles", "(title, body) SELECT LEFT(words, 60), words", 0.02, 3000, 8 * _MB),
    Growth("media.archive_8k", "(body) SELECT words", 0.02, 560, 16 * _MB),
    Growth("media.archive_4k", "(body) SELECT words", 0.02, 520, 16 * _MB),
    Growth("media.logs", "(body) SELECT words", 0.02, 1100, 24 * _MB),
)


def create_dataset(
    connection: Connection,
    megabytes: int = 20,
    *,
    binlog: bool = True,
    progress: Progress = lambda _: None,
) -> int:
    """Create the schemas of ``dataset.sql`` and fill them to about ``megabytes``; return the rows written.

    Runs as root on a server that has none of these schemas. ``binlog=False`` writes no binlog for the rows:
    quicker, for a lone server.
    """
    with connection.cursor() as cursor:
        there = _has_tablespace(cursor, UNDO_TABLESPACE)
        for statement in script(SCRIPT.read_text()):
            if not (there and statement.startswith("CREATE UNDO TABLESPACE")):
                cursor.execute(statement)
        if not binlog:
            cursor.execute("SET SESSION sql_log_bin = 0")
        try:
            rows = _fill_small_tables(cursor)
            rows += _fill_large_tables(cursor, megabytes * _MB, progress)
        finally:
            cursor.execute("SET SESSION sql_log_bin = 1")
    return rows


def drop_dataset(connection: Connection) -> None:
    """Drop what ``create_dataset`` made, as far as it is there; its undo tablespace, in use, stays."""
    with connection.cursor() as cursor:
        for schema in SCHEMAS:
            cursor.execute(f"DROP DATABASE IF EXISTS `{schema}`")
        if _has_tablespace(cursor, "shop_general"):
            cursor.execute("DROP TABLESPACE shop_general")


def checksums(connection: Connection) -> dict[str, int | None]:
    """A checksum of every user table, by ``schema.table``; None if the server could not read it.

    ``CHECKSUM TABLE``: equal on two servers that hold the same rows in tables of one definition and format.
    """
    names = user_tables(connection)
    odd = _tables_with_array_indexes(connection)
    plain = [name for name in names if name not in odd]
    found: dict[str, int | None] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(plain), 50):
            cursor.execute(f"CHECKSUM TABLE {', '.join(_quoted(name) for name in plain[start : start + 50])}")
            found |= {row[0]: row[1] for row in cursor.fetchall()}
        for name in odd:
            found[".".join(name)] = _checksum_by_rows(cursor, name)
    return dict(sorted(found.items()))


def user_tables(connection: Connection) -> list[tuple[str, str]]:
    """Schema and name of every table that is no view and not the server's own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN %s ORDER BY 1, 2",
            (SYSTEM_SCHEMAS,),
        )
        return [(schema, table) for schema, table in cursor.fetchall()]


def _has_tablespace(cursor: Any, name: str) -> bool:
    cursor.execute("SELECT 1 FROM information_schema.innodb_tablespaces WHERE name = %s", (name,))
    return bool(cursor.fetchall())


def _tables_with_array_indexes(connection: Connection) -> list[tuple[str, str]]:
    # Of a table with an index over a JSON array, CHECKSUM TABLE answers with another number every time (seen
    # on 9.7.4): it takes in the index's hidden column, whose value is a pointer.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT table_schema, table_name FROM information_schema.statistics"
            " WHERE expression LIKE '%% array)%%' AND table_schema NOT IN %s ORDER BY 1, 2",
            (SYSTEM_SCHEMAS,),
        )
        return [(schema, table) for schema, table in cursor.fetchall()]


def _checksum_by_rows(cursor: Any, name: tuple[str, str]) -> int:
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " ORDER BY ordinal_position",
        name,
    )
    columns = ", ".join(f"`{column.replace('`', '``')}`" for (column,) in cursor.fetchall())
    cursor.execute(f"SELECT COALESCE(SUM(CRC32(JSON_ARRAY({columns}))), 0) FROM {_quoted(name)}")
    return int(cursor.fetchone()[0])


def script(text: str) -> list[str]:
    """Statements of a file in which each ends at a semicolon before an empty line."""
    lines = (line for line in text.splitlines() if not line.startswith("--"))
    parts = (part.strip().removesuffix(";") for part in re.split(r";\n\s*\n", "\n".join(lines)))
    return [part for part in parts if part]


def _fill_small_tables(cursor: Any) -> int:
    countries = ["DE", "FR", "JP", "BR", "IN"]
    users = [
        (f"user{number}@mail.example", f"User {number}", _profile(countries[number % 5], number))
        for number in range(1, 501)
    ]
    orders = [(1 + number * 7 % 500, ("new", "paid")[number % 2]) for number in range(1, 1001)]
    items = [
        (order, line, f"product {order % 40}", 1 + order % 5, f"{order % 90}.{line}5")
        for order in range(1, 1001)
        for line in (1, 2)
    ]
    places = [(f"place {number}", f"POINT({number % 89} {number % 179})") for number in range(500)]
    odd = "`odd-names.ü`"
    rows = 0
    for statement, values in (
        ("INSERT INTO shop.users (email, name, profile) VALUES (%s, %s, %s)", users),
        ("INSERT INTO shop.orders (user_id, status) VALUES (%s, %s)", orders),
        (
            "INSERT INTO shop.order_items (order_id, line, product, quantity, price)"
            " VALUES (%s, %s, %s, %s, %s)",
            items,
        ),
        ("INSERT INTO shop.settings VALUES (%s, %s)", [(f"setting {n}", "x" * n * 90) for n in range(100)]),
        ("INSERT INTO shop.currencies VALUES (%s, %s)", [("EUR", 1.0), ("JPY", 163.5), ("BRL", 6.1)]),
        ("INSERT INTO media.places (name, at) VALUES (%s, ST_GeomFromText(%s, 4326))", places),
        ("INSERT INTO analytics.visits VALUES (%s, '2023-01-01' + INTERVAL %s DAY, 1)", _visits()),
        (f'INSERT INTO {odd}.`from, "to" & ß` VALUES (%s, %s)', [(n, f"ß{n}") for n in range(100)]),
        (f"INSERT INTO {odd}.`#sql-like@0024` VALUES (%s)", [(n,) for n in range(100)]),
        (f"INSERT INTO {odd}.versions VALUES (%s, %s, %s)", [(n, n, str(n)) for n in range(100)]),
    ):
        rows += cursor.executemany(statement, values)
    cursor.execute("CALL shop.send_paid_orders(100)")
    # Rows of several versions in one table: columns added and dropped without a rebuild.
    cursor.execute(f"ALTER TABLE {odd}.versions ADD COLUMN added INT DEFAULT 7 FIRST, ALGORITHM = INSTANT")
    cursor.execute(f"UPDATE {odd}.versions SET added = id WHERE id < 50")
    cursor.execute(f"ALTER TABLE {odd}.versions DROP COLUMN first_column, ALGORITHM = INSTANT")
    return rows


def _fill_large_tables(cursor: Any, size_bytes: int, progress: Progress) -> int:
    seed_rows = min(_SEED_ROWS, max(300, size_bytes // 8000))
    for chunk in _seed_chunks(seed_rows):
        cursor.executemany("INSERT INTO bulk.seed VALUES (%s, %s, %s)", chunk)
    for number in range(1, SYSBENCH_TABLES + 1):
        cursor.execute(
            f"CREATE TABLE bulk.sbtest{number} (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,"
            " k INT UNSIGNED NOT NULL, c CHAR(120) CHARACTER SET latin1 NOT NULL,"
            " pad CHAR(60) CHARACTER SET latin1 NOT NULL)"
        )
    rows = seed_rows
    for growth in GROWTHS:
        wanted = int(min(size_bytes * growth.share, growth.most_bytes) / growth.row_bytes) or 1
        progress(f"filling {growth.table} with {wanted} rows")
        for turn, start in enumerate(range(0, wanted, seed_rows)):
            rows += cursor.execute(
                f"INSERT INTO {growth.table} {growth.columns_and_select} FROM {_SEED}",
                {"rows": min(seed_rows, wanted - start), "turn": 2 + turn % 150},
            )
    # After the rows: sorting once is much quicker than inserting at random places.
    for number in range(1, SYSBENCH_TABLES + 1):
        cursor.execute(f"ALTER TABLE bulk.sbtest{number} ADD KEY (k)")
    cursor.execute("ALTER TABLE analytics.test_results ADD KEY (user_id, created_at)")
    return rows


def _seed_chunks(rows: int) -> Iterator[list[tuple[int, str, str]]]:
    random_words = random.Random(rows)
    vocabulary = [
        "".join(random_words.choices(_SYLLABLES, k=random_words.randint(1, 4))) for _ in range(3000)
    ]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(vocabulary))))
    for start in range(1, rows + 1, 1000):
        yield [
            (
                number,
                os.urandom(160).translate(_DIGITS).decode(),
                " ".join(random_words.choices(vocabulary, cum_weights=weights, k=110))[:950],
            )
            for number in range(start, min(start + 1000, rows + 1))
        ]


def _profile(country: str, number: int) -> str:
    return json.dumps({"country": country, "age": 18 + number % 60, "tags": [number % 7, number % 11]})


def _visits() -> list[tuple[int, int]]:
    return [(user, 10 * user) for user in range(1, 101)]


def _quoted(name: tuple[str, str]) -> str:
    return ".".join("`" + part.replace("`", "``") + "`" for part in name)
