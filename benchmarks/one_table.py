"""``python -m benchmarks one-table``: one small table out of a large shard, beside a restore of all of it.

Once as it was at the backup, and once at the end of the archive, after transactions on all tables of which
one in twenty was the small table's. What comes is compared with the donor's table.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.cases import Workplace
from benchmarks.dataset import SCHEMA, TABLES, groups, rest, rows_for
from benchmarks.peers import clear
from benchmarks.shelf import Shelf, joined
from benchmarks.story import Aim, Sheet, Step, Told, megabytes, ratio, shown, step_named

TABLE = f"{SCHEMA}.small"
TABLE_ROWS = 20_000
TRANSACTIONS = 20_000
ONE_IN = 20
AT_BACKUP, AT_END = "as of the backup", "at the end"
TITLES = {"table": "one table", "shard": "the shard"}
COLUMNS = ("wall s", "/ shard", "CPU s", "read MB", "/ shard", "log MB", "replayed", "peak MB")

Say = Callable[[str], None]


def play(place: Workplace, size_bytes: int, rounds: int, say: Say) -> Told:
    """A backup, transactions, and then the table and the shard at both points, ``rounds`` times."""
    rows = rows_for(size_bytes)
    _make_table(place)
    shelf = Shelf(place, "one-table", archived=True)
    shelf.begin()
    say("taking the full")
    steps = [shelf.take("before", "backup", "full", "backup")]
    sums = {AT_BACKUP: _sum(place)}
    moment = datetime.now(UTC)
    say(f"{TRANSACTIONS:,} transactions")
    _transactions(place, rows)
    sums[AT_END] = _sum(place)
    steps.append(shelf.take("before", "archive", "archive", "archive"))
    if not any(step.error for step in steps):
        steps += _restores(shelf, moment, rounds, say)
    return Told(
        "one-table",
        {
            "the table": f"{TABLE_ROWS:,} rows, one of {TABLES + 1}",
            "till the end": f"{TRANSACTIONS:,} transactions",
        },
        tuple(steps),
        (sheet(steps),),
        tuple(aims(steps)),
        failures=tuple(other_rows(steps, sums)),
    )


def _restores(shelf: Shelf, moment: datetime, rounds: int, say: Say) -> Iterator[Step]:
    target = shelf.place.scratch("one-table-target")
    measured: dict[tuple[str, str], list[Step]] = {}
    for _ in range(rounds):
        for part, name, verb, words in (
            (AT_BACKUP, "table", "table", (moment.isoformat(), TABLE)),
            (AT_BACKUP, "shard", "restore", ()),
            (AT_END, "table", "table", ("latest", TABLE)),
            (AT_END, "shard", "point", ()),
        ):
            say(f"{TITLES[name]}, {part}")
            step = shelf.bring(part, name, TITLES[name], verb, target, *words)
            measured.setdefault((part, name), []).append(step)
            clear(target)
    yield from (joined(each) for each in measured.values())


def _make_table(place: Workplace) -> None:
    connection = place.donor.server.connect(database=SCHEMA)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {TABLE} LIKE sbtest1")
            cursor.execute(f"INSERT INTO {TABLE} SELECT * FROM sbtest1 LIMIT {TABLE_ROWS}")
            rest(cursor)
    finally:
        connection.close()


def _transactions(place: Workplace, rows: int) -> None:
    """Small ones, one row each, without a sync for each: only what they leave is of interest."""
    source = random.Random(1)
    connection = place.donor.server.connect(database=SCHEMA)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0, GLOBAL sync_binlog = 0")
            for number in range(TRANSACTIONS):
                _transaction(cursor, source, number, rows)
            cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1, GLOBAL sync_binlog = 1")
    finally:
        connection.close()


def _transaction(cursor: Any, source: random.Random, number: int, rows: int) -> None:
    small = number % ONE_IN == 0
    table = TABLE if small else f"sbtest{number % TABLES + 1}"
    cursor.execute(
        f"UPDATE {table} SET k = k + 1, c = %s WHERE id = %s",
        (groups(source, 10), source.randrange(min(rows, TABLE_ROWS) if small else rows) + 1),
    )


def _sum(place: Workplace) -> int:
    return int(place.donor.server.query(f"CHECKSUM TABLE {TABLE}")[0]["Checksum"])


def sheet(steps: Sequence[Step]) -> Sheet:
    """The table beside the shard, at both points."""
    rows: list[tuple[str, ...]] = []
    backup = step_named(steps, AT_BACKUP, "shard")
    # To both points the same backup leads, all of which is read.
    all_bytes = backup.report.get("read_bytes") if backup else None
    for part in (AT_BACKUP, AT_END):
        whole = step_named(steps, part, "shard")
        for name, title in TITLES.items():
            step = step_named(steps, part, name)
            if step is None or step.usage is None:
                continue
            told = step.report
            read_bytes = told.get("read_bytes") if name == "table" else all_bytes
            rows.append(
                (
                    f"{title}, {part}",
                    shown(step.seconds),
                    shown(ratio(step.seconds, whole.seconds if whole else None), 2),
                    shown(step.usage.cpu_seconds),
                    megabytes(read_bytes),
                    shown(ratio(read_bytes, all_bytes), 2),
                    megabytes(told.get("log_bytes")),
                    shown(told.get("transactions"), 0),
                    shown(step.usage.peak_bytes / 1e6, 0),
                )
            )
    return Sheet("one table", ("", *COLUMNS), tuple(rows))


def aims(steps: Sequence[Step]) -> Iterator[Aim]:
    """As of the backup, bytes and time are under 0.15 of a full restore's."""
    table, whole = (step_named(steps, AT_BACKUP, name) for name in TITLES)
    read_bytes = seconds = None
    if table and whole:
        read_bytes = ratio(table.report.get("read_bytes"), whole.report.get("read_bytes"))
        seconds = ratio(table.seconds, whole.seconds)
    yield Aim("one small table beside the whole shard: bytes fetched", read_bytes, 0.15)
    yield Aim("one small table beside the whole shard: wall time", seconds, 0.15)


def other_rows(steps: Sequence[Step], sums: dict[str, int]) -> Iterator[str]:
    """Where the table that came is not the donor's as it was."""
    for step in steps:
        if step.name == "table" and step.usages and step.report.get("checksum") != sums[step.part]:
            yield f"{TABLE} {step.part} has checksum {step.report.get('checksum')}, not {sums[step.part]}"
