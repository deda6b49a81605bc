"""What the transaction reader tells of a binlog file, beside what the server that wrote it says itself."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from fleet.gtid import GtidSet
from fleet.transaction import Gtid, Kind, Transaction
from infra.sandbox.replication import replicate_from, wait_caught_up
from tests.binlogs import COMPRESSED, PLAIN, STORIES, TAGGED, XA_STORY, Story, prepare, tell
from tests.scenario.dumps import new_server
from wire.binlog.events import ChecksumAlgorithm, EventType, parse_gtid_event
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk, whole_events

if TYPE_CHECKING:
    from infra.sandbox.distribution import MysqlDistribution
    from infra.sandbox.scratch import ScratchServer

pytestmark = pytest.mark.mysql

PIECE = 10_000
ROWS = {
    "Write_rows": Kind.INSERT,
    "Update_rows": Kind.UPDATE,
    "Update_rows_partial": Kind.UPDATE,
    "Delete_rows": Kind.DELETE,
}


class Seen(NamedTuple):
    """A transaction by SHOW BINLOG EVENTS: the kinds of its rows and the tables that were mapped."""

    start: int
    end: int
    kinds: Kind
    tables: frozenset[str]


def in_pieces(data: bytes) -> Iterator[tuple[memoryview, int]]:
    at, size = 0, PIECE
    while at < len(data):
        end = whole_events(memoryview(data)[: at + size], at or 4)
        if end <= max(at, 4):
            size *= 2
            continue
        yield memoryview(data)[at:end], at
        at, size = end, PIECE


def read(data: bytes) -> list[Transaction]:
    reader = TransactionReader()
    return [found for piece, start in in_pieces(data) for found in reader.feed(piece, start)]


def seen_by(server: ScratchServer, file: str) -> list[Seen]:
    transactions: list[Seen] = []
    for event in server.query(f"SHOW BINLOG EVENTS IN '{file}'"):
        kind, end = event["Event_type"], event["End_log_pos"]
        if "gtid" in kind.lower() and kind != "Previous_gtids":
            transactions.append(Seen(event["Pos"], end, Kind.EMPTY, frozenset()))
        elif transactions and kind not in ("Rotate", "Stop"):
            last = transactions[-1]
            tables = re.findall(r"^table_id: \d+ \((.*)\)$", event["Info"]) if kind == "Table_map" else []
            rows = ROWS.get(kind, Kind.EMPTY)
            # Events inside of a payload all have its position.
            transactions[-1] = Seen(
                last.start, max(end, last.end), last.kinds | rows, last.tables | set(tables)
            )
    return transactions


def now(server: ScratchServer) -> int:
    return int(server.query("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) AS now")[0]["now"])


def current_file(server: ScratchServer) -> str:
    return str(server.query("SHOW BINARY LOG STATUS")[0]["File"])


def executed(server: ScratchServer) -> GtidSet:
    return GtidSet.parse(server.query("SELECT @@gtid_executed AS gtids")[0]["gtids"])


def union(transactions: list[Transaction]) -> GtidSet:
    return GtidSet(origin for found in transactions for origin in found.gtid.as_set())


def agrees(server: ScratchServer, file: str, found: list[Transaction]) -> None:
    """Places, kinds of rows and mapped tables are those that the server shows."""
    seen = seen_by(server, file)
    assert [(t.start, t.start + t.length) for t in found] == [(s.start, s.end) for s in seen]
    for ours, theirs in zip(found, seen, strict=True):
        rows = ours.kinds & (Kind.INSERT | Kind.UPDATE | Kind.DELETE)
        if not ours.kinds & Kind.STATEMENT:
            assert rows == theirs.kinds
        assert theirs.tables <= set(ours.tables)
        if not ours.kinds & (Kind.STATEMENT | Kind.DDL):
            assert theirs.tables == set(ours.tables)


def test_gtids_times_tables_and_kinds_of_every_story(scratch_server: ScratchServer) -> None:
    for story in STORIES:
        prepare(scratch_server, story)
        file, before, began = current_file(scratch_server), executed(scratch_server), now(scratch_server)
        tell(scratch_server, story)
        ended = now(scratch_server)
        found = read((scratch_server.datadir / file).read_bytes())
        assert [(t.kinds, t.tables) for t in found] == [(step.kinds, step.tables) for step in story.steps]
        assert union(found) == executed(scratch_server) - before
        assert began <= found[0].committed_at_us
        assert found[-1].committed_at_us <= ended
        agrees(scratch_server, file, found)


def test_great_and_concurrent_transactions(scratch_server: ScratchServer) -> None:
    """One of 40 MB in one event, one of many events, and eight writers at once; compressed and not."""
    prepare(scratch_server, Story("great", ()))
    scratch_server.query("CREATE DATABASE great")
    scratch_server.query("CREATE TABLE great.t (id INT PRIMARY KEY AUTO_INCREMENT, text LONGTEXT)")
    scratch_server.query("INSERT INTO great.t (text) VALUES (REPEAT('x', 40000000))")
    scratch_server.query("SET GLOBAL binlog_transaction_compression = ON")
    scratch_server.query("UPDATE great.t SET text = REPEAT('y', 40000000)")
    scratch_server.query("DELETE FROM great.t")
    scratch_server.query("INSERT INTO great.t (text) VALUES " + ",".join(["(REPEAT('z', 90))"] * 5000))
    scratch_server.query("SET GLOBAL binlog_transaction_compression = OFF")
    scratch_server.query("UPDATE great.t SET text = CONCAT(text, text)")
    writers = [threading.Thread(target=_write, args=(scratch_server,)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    file = current_file(scratch_server)
    found = read((scratch_server.datadir / file).read_bytes())
    assert len(found) == 7 + 8 * 50
    assert max(transaction.length for transaction in found) > 40_000_000
    assert found[3].length < 1_000_000
    assert found[3].kinds == Kind.UPDATE
    assert union(found) <= executed(scratch_server)
    assert union(found).count() == len(found)
    agrees(scratch_server, file, found)
    assert all(a.committed_at_us <= b.committed_at_us for a, b in pairwise(found))


def test_a_replicas_log_tells_the_same_transactions_with_times_of_its_own(
    mysql_distribution: MysqlDistribution, scratch_directory: Path
) -> None:
    with ExitStack() as stack:
        source, replica = (
            stack.enter_context(new_server(mysql_distribution, scratch_directory, {"server-id": number}))
            for number in ("101", "102")
        )
        follow(replica, source)
        begun = executed(source)
        for story in (PLAIN, COMPRESSED, TAGGED, XA_STORY):
            prepare(source, story)
            tell(source, story)
        wait_caught_up(replica, source)
        told = {transaction.gtid: transaction for transaction in every_transaction(source)}
        copied = every_transaction(replica)
        assert union(copied) == executed(source) - begun
        originals = original_times(replica)
        for copy in copied:
            original = told[copy.gtid]
            assert copy.committed_at_us >= original.committed_at_us == originals[copy.gtid]
            # A replica logs the rows of what its source logged as a statement.
            if not original.kinds & Kind.STATEMENT:
                assert (copy.kinds, copy.tables) == (original.kinds, original.tables)


def follow(replica: ScratchServer, source: ScratchServer) -> None:
    """Replicate all from now on; what the two servers did for themselves stays theirs."""
    replica.query("RESET BINARY LOGS AND GTIDS")
    replica.query(f"SET GLOBAL gtid_purged = '{executed(source).one_line()}'")
    replicate_from(replica, source, source.accounts.replication)


def files_of(server: ScratchServer) -> list[bytes]:
    names = [row["Log_name"] for row in server.query("SHOW BINARY LOGS")]
    return [(server.datadir / name).read_bytes() for name in names]


def every_transaction(server: ScratchServer) -> list[Transaction]:
    reader = TransactionReader()
    return [found for data in files_of(server) for found in reader.feed(data, 0)]


def original_times(server: ScratchServer) -> dict[Gtid, int]:
    """When each transaction was committed where it began, by its GTID event."""
    found = [
        parse_gtid_event(data[at : at + length], ChecksumAlgorithm.CRC32)
        for data in files_of(server)
        for at, kind, length in walk(data, 4)
        if kind in (EventType.GTID, EventType.TAGGED_GTID)
    ]
    return {event.gtid: event.original_commit_us for event in found}


def _write(server: ScratchServer) -> None:
    connection = server.connect()
    try:
        with connection.cursor() as cursor:
            for _ in range(50):
                cursor.execute("INSERT INTO great.t (text) VALUES ('w')")
    finally:
        connection.close()
