"""Real replicas, private as in a restore, pull binlog files from our source, and stop where they should."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import ArchiveGap, BinlogUnreadable, ReplayFailed, StoreUnreachable, ToolError
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from infra.sandbox.dataset import checksums, create_dataset
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from tests.binlogs import STORIES, prepare, tell
from tests.replicas import (
    Recording,
    Replica,
    closed_files,
    order_of,
    source_of,
    started_replica,
    union,
    wait_until,
)
from tests.sources import MIB, BinlogFile, FileFeed
from wire import replica_admin
from wire.binlog.events import EventType, parse_header
from wire.binlog.source import Piece
from wire.binlog.walk import whole_events

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

# One of them prepares something behind the binlog's back.
REPLAYABLE = [story for story in STORIES if not any("sql_log_bin" in sql for sql in story.session)]


@pytest.fixture(scope="module")
def recording(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Recording]:
    server = start_scratch_server(scratch_directory / "recorded", mysql_distribution, owner=scratch_directory)
    try:
        for name in ("sync_binlog", "innodb_flush_log_at_trx_commit"):
            server.query(f"SET GLOBAL {name} = 0")
        connection = server.connect()
        create_dataset(connection, 2)
        for story in REPLAYABLE:
            prepare(server, story)
            tell(server, story)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE plain.large (id INT PRIMARY KEY, bytes LONGBLOB)")
            cursor.execute("INSERT INTO plain.large VALUES (1, REPEAT('x', %s))", (17 * MIB,))
            cursor.execute("CREATE TABLE plain.gone (id INT PRIMARY KEY)")
            cursor.execute("INSERT INTO plain.gone VALUES (1), (2), (3)")
            cursor.execute("DROP TABLE plain.gone")
            cursor.execute("INSERT INTO plain.other VALUES (4711, 'after the drop')")
        files = closed_files(server)
        gtids = GtidSet.parse(server.query("SELECT @@gtid_executed AS g")[0]["g"])
        yield Recording(mysql_distribution.version, files, order_of(files), gtids, checksums(connection))
        connection.close()
    finally:
        server.remove()


@pytest.fixture
def replica(mysql_distribution: MysqlDistribution, tmp_path: Path) -> Iterator[Replica]:
    with started_replica(mysql_distribution, tmp_path / "data") as made:
        yield made


def test_all_files_arrive_with_all_that_is_odd_in_them(recording: Recording, replica: Replica) -> None:
    """Compressed, tagged, unchecked, XA, DDL, accounts, minimal rows, and a transaction beyond 16 MiB."""
    with source_of(recording, FileFeed(recording.files, piece_bytes=100_000)) as source:
        replica.follow(source)
        replica.wait_executed(recording.gtids)
        replica.wait_for_heartbeats()
        assert replica.state().executed == recording.gtids
        assert checksums(replica.connection) == recording.checksums
        assert source.statistics.transactions == len(recording.order)
        replica_admin.stop_replica(replica.server)
        replica_admin.reset_replica_all(replica.server)
        assert not replica.state().receiving
        assert replica.server.query("SELECT user FROM mysql.user WHERE user = 'application'")
        assert replica.server.query("SELECT * FROM mysql.slave_master_info") in ([], ())


def test_it_stops_exactly_before_a_transaction_and_nobody_can_make_it_run_on(
    recording: Recording, replica: Replica
) -> None:
    order = recording.order
    tagged = next(gtid for gtid in order if gtid.tag)
    drop = order[-2]
    for target in (order[len(order) // 3], tagged, drop):
        expected = union(order[: order.index(target)])
        with source_of(recording, hold_before=target) as source:
            replica.follow(source, before=target)
            replica.wait_executed(expected)
            # Somebody restarts it without the condition: nothing more is there.
            replica_admin.stop_replica(replica.server)
            replica_admin.start_replica(replica.server, source.user, source.password)
            replica.wait_for_heartbeats(3)
            state = replica.state()
            assert (state.executed, state.errors, state.applying) == (expected, (), True)
            assert source.statistics.held
            replica_admin.stop_replica(replica.server)
    assert replica.server.query("SELECT COUNT(*) AS n FROM plain.gone") == [{"n": 3}]


@pytest.mark.parametrize("tagged", [False, True])
def test_the_replica_stops_by_itself_too(recording: Recording, replica: Replica, tagged: bool) -> None:
    """UNTIL alone, with four workers and a source that would go on."""
    target = [gtid for gtid in recording.order if bool(gtid.tag) == tagged][1]
    with source_of(recording) as source:
        replica.follow(source, before=target)
        wait_until(lambda: not replica.state().applying)
        state = replica.state()
        assert state.errors == ()
        assert state.executed == union(recording.order[: recording.order.index(target)])


def test_a_drop_is_skipped_and_all_after_it_is_there(recording: Recording, replica: Replica) -> None:
    tagged = Gtid("77777777-7777-7777-7777-777777777777", "made_up", 1)
    drop = recording.order[-2]
    with source_of(recording) as source:
        for gtid in (drop, tagged):
            replica_admin.inject_empty(replica.server, gtid)
        assert replica_admin.gtid_executed(replica.server) == union((drop, tagged))
        replica.follow(source)
        replica.wait_executed(recording.gtids)
        assert replica.server.query("SELECT COUNT(*) AS n FROM plain.gone") == [{"n": 3}]
        assert replica.server.query("SELECT text FROM plain.other WHERE id = 4711")
        assert source.statistics.left_out == 1


def test_what_the_source_leaves_out_is_missing_and_nothing_else(
    recording: Recording, replica: Replica
) -> None:
    drop = recording.order[-2]
    feed = FileFeed([], follow=True)
    with source_of(recording, feed, leave_out=drop.as_set()) as source:
        replica.follow(source)
        # It waits, and believes the heartbeats, though it knows no file yet.
        replica.wait_for_heartbeats()
        feed.files.extend(recording.files)
        replica.wait_executed(recording.gtids - drop.as_set())
        replica.wait_for_heartbeats()
        assert replica.state().executed == recording.gtids - drop.as_set()
        assert replica.server.query("SELECT COUNT(*) AS n FROM plain.gone") == [{"n": 3}]


class Breaking(FileFeed):
    """Raises ``error`` in the middle of a transaction: in one file, and once more in a later one."""

    error: ToolError = StoreUnreachable("the store is away")

    def pieces(self, have: GtidSet, cancelled: threading.Event) -> Iterator[Piece | None]:
        usual = [file for file in self.files if any(kind == EventType.XID for _, kind, _ in file.events())]
        breaks_in = usual[(1, 3)[len(self.asked)]] if len(self.asked) < 2 else None
        for piece in super().pieces(have, cancelled):
            assert piece is not None
            if breaks_in and piece.file == breaks_in.name and piece.data[4] == EventType.XID:
                raise self.error
            yield piece


def test_a_stream_that_breaks_in_the_middle_of_a_transaction_goes_on(
    recording: Recording, replica: Replica
) -> None:
    feed = Breaking(recording.files, piece_bytes=1)
    with source_of(recording, feed, retry_seconds=0.1) as source:
        replica.follow(source)
        wait_until(lambda: recording.gtids <= replica.state().executed)
        assert len(feed.asked) == 3
        assert GtidSet() == feed.asked[0] < feed.asked[1] < feed.asked[2]
        assert checksums(replica.connection) == recording.checksums
        assert replica.state().executed == recording.gtids


def test_a_torn_transaction_is_rolled_back_whether_or_not_it_comes_again(
    recording: Recording, replica: Replica
) -> None:
    """A server died in the middle of one; another's files go on, and then the archive ends in one as well."""
    file = next(file for file in recording.files if file.data.count(b"night_shift"))
    before = recording.files[: recording.files.index(file)]
    rows = next(at for at, kind, _ in reversed(file.events()) if kind == EventType.WRITE_ROWS)
    torn = BinlogFile(file.name, file.data[: rows + parse_header(file.data, rows).length])
    last = order_of((torn,))[-1]
    feed = FileFeed([*before, torn, file, torn], from_the_first=True)
    expected = union(order_of((*before, file)))
    with source_of(recording, feed) as source:
        replica.follow(source)
        replica.wait_executed(expected)
        replica.wait_for_heartbeats()
        assert replica.state().executed == expected >= last.as_set()
        assert source.statistics.torn == 1
        began = time.monotonic()
        replica_admin.stop_replica(replica.server)
        replica_admin.reset_replica_all(replica.server)
        assert time.monotonic() - began < 30
    feed = FileFeed([*recording.files[len(before) :], torn_end(recording)], from_the_first=True)
    with source_of(recording, feed) as source:
        replica.follow(source)
        replica.wait_executed(recording.gtids)
        replica.wait_for_heartbeats()
        began = time.monotonic()
        # With a transaction left open this would take a minute.
        replica_admin.stop_replica(replica.server)
        assert time.monotonic() - began < 30
        assert checksums(replica.connection) == recording.checksums


def torn_end(recording: Recording) -> BinlogFile:
    """A file whose one transaction, of another server, has been begun and no more."""
    file = recording.files[-1]
    events = file.events()
    start = next(number for number, (_, kind, _) in enumerate(events) if kind == EventType.GTID)
    gtid = bytearray(events[start][2])
    gtid[20:36] = bytes.fromhex("77" * 16)
    gtid[-4:] = zlib.crc32(gtid[:-4]).to_bytes(4, "little")
    return BinlogFile("binlog.000001", file.data[: events[start][0]] + bytes(gtid))


class Tail:
    """Reads the binlog files of a server that writes them, as they grow."""

    def __init__(self, server: ScratchServer) -> None:
        self._server = server

    def pieces(self, have: GtidSet, cancelled: threading.Event) -> Iterator[Piece | None]:
        for number in range(1, 1000):
            file, position = self._server.datadir / f"binlog.{number:06}", 4
            while not cancelled.is_set():
                # The next one is looked for first, so that the end of this one is not missed.
                closed = (self._server.datadir / f"binlog.{number + 1:06}").exists()
                with file.open("rb") as opened:
                    opened.seek(position)
                    data = opened.read(os.fstat(opened.fileno()).st_size - position)
                if end := whole_events(data):
                    yield Piece(file.name, position, memoryview(data)[:end])
                    position += end
                elif closed:
                    break
                else:
                    yield None
                    cancelled.wait(0.01)


def test_a_replica_follows_a_server_that_goes_on_writing(
    mysql_distribution: MysqlDistribution, scratch_server: ScratchServer, replica: Replica
) -> None:
    recording = Recording(mysql_distribution.version, (), (), GtidSet(), {})
    with source_of(recording, Tail(scratch_server)) as source:
        replica.follow(source)
        scratch_server.query("CREATE DATABASE live")
        scratch_server.query("CREATE TABLE live.t (id INT PRIMARY KEY, text VARCHAR(20))")
        for number in range(60):
            if number % 20 == 10:
                scratch_server.query("FLUSH BINARY LOGS")
            scratch_server.query("INSERT INTO live.t VALUES (%s, 'x')", (number,))
            executed = scratch_server.query("SELECT @@gtid_executed AS g")[0]["g"]
            replica.wait_executed(GtidSet.parse(executed))
        assert replica.server.query("SELECT COUNT(*) AS n FROM live.t") == [{"n": 60}]
        assert source.statistics.connections == 1


def test_a_transaction_that_cannot_be_applied_is_named(recording: Recording, replica: Replica) -> None:
    target = recording.order[-1]
    with source_of(recording, hold_before=target) as source:
        replica.follow(source, before=target)
        replica.wait_executed(union(recording.order[:-1]))
        replica_admin.stop_replica(replica.server)
        replica_admin.open_for_writes(replica.server)
        replica.server.query("INSERT INTO plain.other VALUES (4711, 'in the way')")
        replica.server.query("SET GLOBAL super_read_only = 1")
    with source_of(recording) as source:
        replica.follow(source)
        wait_until(lambda: bool(replica.state().errors))
        wait_until(lambda: not replica.state().applying)
        first = replica.state().errors[0]
        assert (first.number, first.transaction) == (1062, target)
        assert first.thread.startswith("worker") and "4711" in first.text and "plain.other" in first.text


def test_a_delayed_replica_fetches_and_applies_when_it_is_told_to_up_to_a_transaction(
    recording: Recording, replica: Replica
) -> None:
    target = recording.order[-2]
    with source_of(recording) as source:
        replica_admin.change_source(replica.server, source.host, source.port, delay_seconds=3600)
        replica_admin.start_replica(replica.server, source.user, source.password)
        # Not all: a receiver waits when its relay logs have reached their bound.
        wait_until(lambda: replica.state().retrieved.count() > 20)
        assert replica.state().executed == GtidSet()
        replica.server.query("STOP REPLICA SQL_THREAD")
        replica.server.query("CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0")
        replica.server.query("START REPLICA SQL_THREAD UNTIL SQL_BEFORE_GTIDS = %s", (str(target),))
        wait_until(lambda: not replica.state().applying)
        assert replica.state().executed == union(recording.order[:-2])
        replica.server.query("START REPLICA SQL_THREAD")
        replica.wait_executed(recording.gtids)


def test_a_gap_is_told_by_the_receiver(recording: Recording, replica: Replica) -> None:
    with source_of(recording, FileFeed(recording.files[2:])) as source:
        replica.follow(source)
        wait_until(lambda: bool(replica.state().errors))
        (error,) = replica.state().errors
        assert (error.thread, error.number) == ("receiver", 13114)
        assert "are not in the archive" in error.text
        assert isinstance(source.statistics.failure, ArchiveGap)


def test_a_stream_that_fails_for_good_leaves_no_transaction_open(
    recording: Recording, replica: Replica
) -> None:
    feed = Breaking(recording.files, piece_bytes=1)
    feed.error = BinlogUnreadable("a lie in the archive")
    with source_of(recording, feed) as source:
        replica.follow(source)
        wait_until(lambda: bool(replica.state().errors))
        (error,) = replica.state().errors
        assert error.thread == "receiver" and "a lie in the archive" in error.text
        assert source.statistics.failure is feed.error
        replica.wait_executed(replica.state().retrieved, error)
        began = time.monotonic()
        replica_admin.stop_replica(replica.server)
        assert time.monotonic() - began < 30
        # The next try begins where the first broke off, and breaks off later.
        executed = replica.state().executed
        replica_admin.start_replica(replica.server, source.user, source.password)
        wait_until(lambda: len(feed.asked) == 2 and bool(replica.state().errors))
        assert feed.asked[1] == executed > GtidSet()


def test_a_replica_with_the_server_id_of_the_old_source_is_refused(
    recording: Recording, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    with (
        started_replica(mysql_distribution, tmp_path / "data", "--server-id=1") as replica,
        source_of(recording) as source,
    ):
        replica.follow(source)
        wait_until(lambda: bool(replica.state().errors))
        assert "the replica has server_id 1" in replica.state().errors[0].text
        assert isinstance(source.statistics.failure, ReplayFailed)
        assert replica.state().executed == GtidSet()


def test_mysqlbinlog_reads_from_our_source_as_from_a_server(
    recording: Recording, mysql_distribution: MysqlDistribution
) -> None:
    with source_of(recording) as source:
        command = [
            mysql_distribution.tool("mysqlbinlog"),
            "--no-defaults",
            "--read-from-remote-source=BINLOG-DUMP-GTIDS",
            "--host=127.0.0.1",
            f"--port={source.port}",
            f"--user={source.user}",
            "--ssl-mode=DISABLED",
            "--verify-binlog-checksum",
            "--to-last-log",
            "archive.000001",
        ]
        environ = os.environ | {"MYSQL_PWD": source.password}
        read = subprocess.run(command, capture_output=True, env=environ, check=True, timeout=120)
        assert len(re.findall(rb"GTID_NEXT= '[0-9a-f]{8}-", read.stdout)) == len(recording.order)
