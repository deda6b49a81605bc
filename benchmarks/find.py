"""``python -m benchmarks.find``: how long it takes to find a transaction among a million, from files.

Makes an archive of synthetic transactions in a folder, some minutes' binlogs of a busy shard over 40 tables,
and asks it as ``backstay find`` does: every query begins with nothing read, the files out of the page cache.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from fleet.transaction import Gtid, Kind, Transaction
from repository.archive.archive import ShardArchive
from repository.archive.find import Query, find
from repository.archive.ledger import EpochFacts
from repository.archive.line import Line
from repository.archive.segment import MAGIC, SegmentDraft
from repository.keys import FileSource, Keyring, create_key_file
from repository.layout import BinlogFile
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore

Answer = TypeVar("Answer")

SERVER = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVENT_BYTES = 300
FILE_BYTES = 1024 * 1024 * 1024
PER_SECOND = 2000
TABLES = [f"shop.table_{number:02d}" for number in range(40)]
EMPTY = GtidSet()

QUERIES = {
    "a rare table": Query(tables=("shop.dropped",)),
    "a table, all of its deletes": Query(tables=("shop.table_07",), kinds=Kind.DELETE),
    "one minute": Query(between=(BEGAN + timedelta(seconds=200), BEGAN + timedelta(seconds=260))),
    "text of a statement": Query(text="drop table"),
    "larger than 64 KiB": Query(bigger_than=64 * 1024),
}


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="backstay-find-", dir=arguments.dir))
    try:
        _measure(folder, arguments.transactions, arguments.segment_mb * 1024 * 1024)
    finally:
        shutil.rmtree(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.find", description=__doc__)
    parser.add_argument("--transactions", type=int, default=1_000_000)
    parser.add_argument("--segment-mb", type=int, default=64, help="MiB of events in an object")
    parser.add_argument("--dir", type=Path, help="where the repository lies meanwhile (default: temporary)")
    return parser.parse_args()


def _measure(folder: Path, count: int, segment_bytes: int) -> None:
    console = Console(highlight=False)
    create_key_file(folder / "backup.key")
    keyring = Keyring([FileSource("bench", folder / "backup.key")])
    root = folder / "repository"
    Repository.create(FilesystemStore(root), keyring, SystemClock())
    made = _fill(
        ShardArchive(Repository.open(FilesystemStore(root), keyring), "s1", level=1), count, segment_bytes
    )
    table = Table(title=f"find in {count:,} transactions, {made} segments of {segment_bytes >> 20} MiB")
    for column in ("query", "found", "line s", "find s", "sum s"):
        table.add_column(column, justify="left" if column == "query" else "right")
    for name, query in QUERIES.items():
        _out_of_cache(root)
        archive = ShardArchive(Repository.open(FilesystemStore(root), keyring), "s1")
        line, line_seconds = _timed(lambda archive=archive: Line.of(archive))
        found, seconds = _timed(lambda line=line, query=query: sum(1 for _ in find(line, query)))
        figures = (line_seconds, seconds, line_seconds + seconds)
        table.add_row(name, f"{found:,}", *(f"{figure:.3f}" for figure in figures))
    console.print(table)


def _timed(call: Callable[[], Answer]) -> tuple[Answer, float]:
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def _fill(archive: ShardArchive, count: int, segment_bytes: int) -> int:
    """Put ``count`` transactions; how many segments that made."""
    first = EpochFacts("first", SERVER, "s1-a", inherited=EMPTY, parent=None, branch=EMPTY, skipped=EMPTY)
    archive.open_epoch(first, SystemClock())
    noise = os.urandom(1 << 20)
    segments = 0
    file, at, previous = 0, FILE_BYTES, EMPTY
    pending: list[Transaction] = []
    start = 0
    for number, (transaction_bytes, build) in enumerate(_transactions(count), start=1):
        if at - start >= segment_bytes or at >= FILE_BYTES:
            segments += _put(archive, file, start, at, previous, pending, noise)
            pending, start = [], at
            if at >= FILE_BYTES:
                previous = _up_to(number - 1)
                file, at, start = file + 1, 126, 0
        pending.append(build(number, at))
        at += transaction_bytes
    return segments + _put(archive, file, start, at, previous, pending, noise)


def _put(
    archive: ShardArchive,
    file: int,
    start: int,
    end: int,
    previous: GtidSet,
    pending: list[Transaction],
    noise: bytes,
) -> int:
    if not pending:
        return 0
    # A quarter of the bytes cannot be compressed: rows are so, more or less.
    size = end - start
    data = bytearray(size)
    for at in range(0, size, 4 << 20):
        piece = noise[: max(0, size - at)]
        data[at : at + len(piece)] = piece
    if start == 0:
        data[:4] = MAGIC
    draft = SegmentDraft(
        file=BinlogFile(1, SERVER, f"binlog.{file:06d}", int(BEGAN.timestamp()) + file),
        start=start,
        data=data[:size],
        closed=None,
        previous_gtids=previous,
        gtids_before=_up_to(pending[0].gtid.number - 1),
        transactions=pending,
    )
    archive.put(archive.seal(draft))
    return 1


def _up_to(number: int) -> GtidSet:
    return GtidSet.parse(f"{SERVER}:1-{number}") if number else EMPTY


def _transactions(count: int) -> Iterator[tuple[int, Callable[[int, int], Transaction]]]:
    """Sizes, and what makes the transaction when its number and place are known."""
    chance = random.Random(1)
    began_us = int(BEGAN.timestamp()) * 10**6
    sets = [(table,) for table in TABLES]
    sets += [tuple(sorted(chance.sample(TABLES, 2))) for _ in range(200)]
    kinds = [Kind.INSERT, Kind.UPDATE, Kind.DELETE, Kind.INSERT | Kind.UPDATE]
    dropped = count * 2 // 3
    for turn in range(count):
        is_drop = turn == dropped
        size = 200_000 if turn % 100_003 == 50_000 else EVENT_BYTES + chance.randrange(300)
        tables = ("shop.dropped",) if is_drop else sets[chance.randrange(len(sets))]
        kind = Kind.DDL if is_drop else kinds[chance.randrange(4)]
        statement = "DROP TABLE `dropped`" if is_drop else ""
        committed = began_us + turn * 10**6 // PER_SECOND

        def build(
            number: int,
            at: int,
            committed: int = committed,
            size: int = size,
            kind: Kind = kind,
            tables: tuple[str, ...] = tables,
            statement: str = statement,
        ) -> Transaction:
            return Transaction(Gtid(SERVER, "", number), committed, at, size, kind, tables, statement)

        yield size, build


def _out_of_cache(root: Path) -> None:
    os.sync()
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
