"""Commits that wait for the archive: released by its acknowledgement and by nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from tests.scenario.dumps import (
    PATIENCE_SECONDS,
    Archived,
    archive_connector,
    assert_same_file,
    close_file,
    current_file,
    idle,
    new_options,
    new_server,
    receive,
    up_to,
    wait_no_dumps,
)
from wire.binlog.dump import BinlogDump, StartAt, find_file
from wire.binlog_admin import SemiSyncState, semi_sync_state, source_state

pytestmark = pytest.mark.mysql

FOR_EVER_MS = 600_000


@pytest.fixture(scope="module")
def server(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[ScratchServer]:
    with new_server(mysql_distribution, scratch_directory) as source:
        source.query("CREATE DATABASE app")
        source.query("CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)")
        yield source


@pytest.fixture
def source(server: ScratchServer) -> Iterator[ScratchServer]:
    """Its commits wait for an acknowledgement, as long as it takes."""
    server.query(f"SET GLOBAL rpl_semi_sync_source_timeout = {FOR_EVER_MS}")
    server.query("SET GLOBAL rpl_semi_sync_source_enabled = ON")
    yield server
    server.query("SET GLOBAL rpl_semi_sync_source_enabled = OFF")
    wait_no_dumps(server)


def state(source: ScratchServer) -> SemiSyncState:
    session = archive_connector(source)()
    found = semi_sync_state(session)
    session.close()
    assert found is not None
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Commit:
    """One INSERT in a thread of its own."""

    def __init__(self, source: ScratchServer, value: str = "a") -> None:
        self._source, self._value = source, value
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.is_done = threading.Event()
        self._thread.start()

    def _run(self) -> None:
        self._source.query("INSERT INTO app.t (v) VALUES (%s)", (self._value,))
        self.is_done.set()


def open_dump(source: ScratchServer, *, semi_sync: bool = True) -> BinlogDump:
    start = StartAt(current_file(source), int(source.query("SHOW BINARY LOG STATUS")[0]["Position"]))
    return BinlogDump.open(archive_connector(source)(), start, new_options(semi_sync=semi_sync))


def wants_ack(archived: Archived) -> bool:
    assert archived.last is not None
    return archived.last.ack_wanted


def starting_at(dump: BinlogDump) -> Archived:
    """The first batch: the dump runs."""
    return receive(dump, lambda archived: True)


def test_a_commit_waits_until_the_archive_says_that_it_is_durable(source: ScratchServer) -> None:
    with open_dump(source) as dump:
        assert dump.has_semi_sync
        archived = starting_at(dump)
        wait_for(lambda: state(source).clients == 1)
        before = state(source)
        assert before.is_on
        commit = Commit(source)
        receive(dump, wants_ack, archived)
        wait_for(lambda: state(source).waiting == 1)
        assert not commit.is_done.is_set()
        batch = archived.last
        assert batch is not None

        # A position before the commit's end does not release it.
        dump.acknowledge(batch.file, batch.end - 1)
        receive(dump, lambda archived: archived.last is not None and not archived.last.data, archived)
        assert not commit.is_done.is_set()

        dump.acknowledge(batch.file, batch.end)
        assert commit.is_done.wait(PATIENCE_SECONDS)
        assert state(source).unacknowledged == before.unacknowledged


def test_one_acknowledgement_releases_all_before_it(source: ScratchServer) -> None:
    first = current_file(source)
    with BinlogDump.open(archive_connector(source)(), StartAt(first, 0), new_options(semi_sync=True)) as dump:
        archived = receive(dump, idle)
        wait_for(lambda: state(source).clients == 1)
        # Others that wait behind the first one are in the next groups: each group is flagged once.
        commits = [Commit(source, "x" * 3000) for _ in range(8)]
        acks = 0
        while not all(commit.is_done.is_set() for commit in commits):
            batch = next(dump.batches())
            archived.add(batch)
            if batch.ack_wanted:
                acks += 1
                # As the archiver does it: from another thread than the one that reads.
                answer = threading.Thread(target=dump.acknowledge, args=(batch.file, batch.end))
                answer.start()
                answer.join()
        assert 1 <= acks <= len(commits)
        source.query("SET GLOBAL rpl_semi_sync_source_enabled = OFF")
        closed = close_file(source)
        receive(dump, up_to(closed), archived)
    assert_same_file(source, closed, archived)


def test_without_an_answer_commits_go_on_after_the_timeout_and_the_source_says_so(
    source: ScratchServer,
) -> None:
    with open_dump(source) as dump:
        archived = starting_at(dump)
        wait_for(lambda: state(source).clients == 1)
        source.query("SET GLOBAL rpl_semi_sync_source_timeout = 100")
        before = state(source).unacknowledged
        commit = Commit(source)
        receive(dump, wants_ack, archived)
        assert commit.is_done.wait(PATIENCE_SECONDS)
        fallen = state(source)
        assert (fallen.is_enabled, fallen.is_on) == (True, False)
        assert fallen.unacknowledged == before + 1

        # It goes on again when the archive has caught up.
        source.query(f"SET GLOBAL rpl_semi_sync_source_timeout = {FOR_EVER_MS}")
        assert archived.last is not None
        dump.acknowledge(archived.last.file, archived.last.end)
        for _ in range(50):
            late = Commit(source)
            receive(dump, lambda archived: archived.last is not None and bool(archived.last.data), archived)
            dump.acknowledge(archived.last.file, archived.last.end)
            while not late.is_done.wait(0.02):
                archived.add(next(dump.batches()))
                dump.acknowledge(archived.last.file, archived.last.end)
            if state(source).is_on:
                break
        assert state(source).is_on


def test_an_archive_that_does_not_answer_is_no_semi_sync_replica(source: ScratchServer) -> None:
    with open_dump(source, semi_sync=False) as dump:
        assert not dump.has_semi_sync
        archived = starting_at(dump)
        assert state(source).clients == 0
        source.query("SET GLOBAL rpl_semi_sync_source_enabled = OFF")
        done = Commit(source).is_done
        assert done.wait(PATIENCE_SECONDS)
        receive(dump, lambda archived: archived.last is not None and bool(archived.last.data), archived)
        assert not wants_ack(archived)


def test_asking_for_the_file_after_a_failover_acknowledges_nothing(source: ScratchServer) -> None:
    commit = Commit(source)
    wait_for(lambda: state(source).waiting == 1)
    session = archive_connector(source)()
    have = source_state(session).gtid_executed
    session.close()
    assert find_file(archive_connector(source), new_options(semi_sync=True), have) == current_file(source)
    assert state(source).waiting == 1
    assert not commit.is_done.is_set()
    source.query("SET GLOBAL rpl_semi_sync_source_enabled = OFF")
    assert commit.is_done.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_source_without_semi_sync_is_archived_all_the_same(server: ScratchServer, is_loaded: bool) -> None:
    if not is_loaded:
        wait_no_dumps(server)
        server.query("UNINSTALL PLUGIN rpl_semi_sync_source")
    try:
        with open_dump(server) as dump:
            # Loaded is enough for its header, even while it is off.
            assert dump.has_semi_sync is is_loaded
            archived = starting_at(dump)
            server.query("INSERT INTO app.t (v) VALUES ('b')")
            receive(dump, lambda archived: archived.last is not None and bool(archived.last.data), archived)
            assert not wants_ack(archived)
            dump.acknowledge(archived.last.file, archived.last.end)  # type: ignore[union-attr]
        if not is_loaded:
            session = archive_connector(server)()
            assert semi_sync_state(session) is None
            session.close()
    finally:
        if not is_loaded:
            wait_no_dumps(server)
            server.query("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")
