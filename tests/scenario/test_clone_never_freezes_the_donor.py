"""A sink that stands still must not reach the donor's clients: the clone lets go, and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fleet.blocks import Block, Stage
from fleet.errors import Cancelled, CloneInterrupted
from infra.sandbox.scratch import ScratchServer
from tests.clones import Forgetting
from tests.scenario.copies import allow_plain, assert_free, big_table, change_pages, client_of, sessions_left
from wire.clone.client import CloneOptions

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

STALL_SECONDS = 12.0
LONGEST_STATEMENT_SECONDS = 5.0


class Stalling(Forgetting):
    """Stands still from the ``nth`` block of ``stage`` on, for ``seconds``."""

    def __init__(self, stage: Stage, seconds: float, nth: int = 10) -> None:
        super().__init__()
        self._stage, self._seconds, self._left = stage, seconds, nth
        self.is_stalled = threading.Event()
        self._room_at = 0.0

    def put(self, block: Block, stream: int) -> None:
        with self.lock:
            self._left -= block.stage is self._stage
            if self._left == 0 and not self.is_stalled.is_set():
                self._room_at = time.monotonic() + self._seconds
                self.is_stalled.set()
        while not self.has_room():
            time.sleep(0.02)
        super().put(block, stream)

    def has_room(self) -> bool:
        return time.monotonic() >= self._room_at


@contextmanager
def clients(scratch: ScratchServer, sink: Stalling) -> Iterator[dict[str, float]]:
    """People at work during the stall: the slowest of each kind of statement, in seconds."""
    slowest: dict[str, float] = {}
    over = threading.Event()

    def work(*statements: str) -> None:
        connection = scratch.connect(database="app")
        sink.is_stalled.wait(30)
        while not over.is_set():
            for statement in statements:
                began = time.monotonic()
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                kind = statement.split()[0]
                slowest[kind] = max(slowest.get(kind, 0.0), time.monotonic() - began)
            over.wait(0.05)
        connection.close()

    threads = [
        # The table in flight, to and fro: this waits for the clone to close the file.
        threading.Thread(target=work, args=("RENAME TABLE items TO moved", "RENAME TABLE moved TO items")),
        # Others need the dictionary locks that it would hold meanwhile.
        threading.Thread(target=work, args=("FLUSH LOCAL TABLES other", "UPDATE other SET n = n + 1")),
        threading.Thread(target=work, args=("CREATE TABLE fresh (id INT)", "DROP TABLE fresh")),
    ]
    for thread in threads:
        thread.start()
    try:
        yield slowest
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.parametrize("tls", [True, False])
def test_no_statement_waits_long_while_the_sink_stands_still(
    scratch_server: ScratchServer, tls: bool
) -> None:
    big_table(scratch_server, rows=150_000)
    scratch_server.query("CREATE TABLE app.other (id INT PRIMARY KEY, n INT)")
    scratch_server.query("INSERT INTO app.other VALUES (1, 0)")
    how = None if tls else allow_plain(scratch_server)
    # The first twenty blocks belong to files that come before the big table.
    sink = Stalling(Stage.FILE, STALL_SECONDS, nth=20)
    with clients(scratch_server, sink) as slowest:
        outcome = client_of(scratch_server, tls=how).run(sink)
    assert outcome.resumes == 1
    assert set(slowest) == {"RENAME", "FLUSH", "UPDATE", "CREATE", "DROP"}
    assert max(slowest.values()) < LONGEST_STATEMENT_SECONDS, slowest
    assert max(slowest.values()) > 0.5, f"nothing was pinned when the sink stood still: {slowest}"


def test_a_stall_in_the_page_stage_holds_nobody_either(scratch_server: ScratchServer) -> None:
    big_table(scratch_server, rows=50_000)
    scratch_server.query("CREATE TABLE app.other (id INT PRIMARY KEY, n INT)")

    class Sink(Stalling):
        def before_ack(self, stage: Stage) -> None:
            if stage is Stage.FILE:
                change_pages(scratch_server, rows=50_000)

    sink = Sink(Stage.PAGE, 6.0, nth=2)
    with clients(scratch_server, sink) as slowest:
        outcome = client_of(scratch_server).run(sink)
    assert outcome.resumes == 1
    assert max(slowest.values()) < LONGEST_STATEMENT_SECONDS, slowest


def test_a_stall_that_lasts_too_long_ends_the_clone_and_frees_the_donor(
    scratch_server: ScratchServer,
) -> None:
    big_table(scratch_server, rows=20_000)
    sink = Stalling(Stage.FILE, 8.0)
    began = time.monotonic()
    with pytest.raises(CloneInterrupted, match="was not taken for") as interrupted:
        client_of(scratch_server, CloneOptions(stall_seconds=0.5, resume_wait_seconds=2)).run(sink)
    assert interrupted.value.retryable
    assert time.monotonic() - began < 6
    assert sessions_left(scratch_server) == 0
    assert_free(scratch_server)


def test_cancel_is_heard_while_the_clone_waits_for_room(scratch_server: ScratchServer) -> None:
    big_table(scratch_server, rows=20_000)
    sink = Stalling(Stage.FILE, 10.0)
    client = client_of(scratch_server, CloneOptions(stall_seconds=0.5))
    timer = threading.Timer(2.5, client.cancel)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        client.run(sink)
    timer.join()
    assert time.monotonic() - began < 6
    assert_free(scratch_server)
