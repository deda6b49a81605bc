"""The donor need not send what did not change: with the base's bytes in the holes, the copy is exact."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fleet.blocks import Block, Extent, Stage
from fleet.clock import SystemClock
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.load import Load
from infra.sandbox.load import connector as load_connector
from infra.sandbox.scratch import ScratchServer
from tests.clones import Forgetting, Keeping
from tests.scenario.copies import (
    Proxy,
    assert_exact,
    assert_free,
    big_table,
    change_pages,
    client_of,
    connector,
    sessions_left,
    started,
)
from wire.admin import log_status
from wire.clone.client import AnnouncedFile, CloneClient, CloneOptions, CloneOutcome
from wire.page_tracking import PageList, changed_pages, switch_on

pytestmark = [pytest.mark.mysql, pytest.mark.slow]


def test_a_clone_without_the_unchanged_chunks_is_exact_on_its_base(
    scratch_server: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    """Under load with DDL, by the server's own list of changed pages; the network breaks in every stage."""
    track(scratch_server)
    for name in ("items", "cold"):
        big_table(scratch_server, name, rows=110_000)
    change_pages(scratch_server)
    base = Keeping(tmp_path / "base")
    old = client_of(scratch_server, CloneOptions(connections=2)).run(base)
    base.lay_out(old)
    chooser = Unchanged(scratch_server, old)
    sink = Cutting(tmp_path / "data")
    connect = load_connector(scratch_server, scratch_server.accounts.application)
    with Load(connect, tmp_path / "ledger", ddl_every_seconds=0.05), Proxy(scratch_server.port) as proxy:
        scratch_server.query("UPDATE app.items SET n = n + 1 WHERE id < 3000")
        wait_for_checkpoint(scratch_server, after=old.redo.checkpoint_lsn)
        sink.cut = proxy.cut
        options = CloneOptions(connections=2)
        client = CloneClient(connector(scratch_server, port=proxy.port), options, SystemClock(), skip=chooser)
        new = client.run(sink)
    assert chooser.calls == 1
    assert sink.stages_cut == set(Stage) and new.resumes >= 3
    assert new.why_not_skipped is None and new.skipped_bytes == chooser.bytes >= 32 * 1024 * 1024
    names = {file.space_id: file.name for file in old.files if file.space_id}
    for index, space_id, begin, length in chooser.holes:
        with (tmp_path / "base" / names[space_id]).open("rb") as file:
            for place in range(begin, begin + length, 1 << 20):
                file.seek(place)
                sink.fill(index, place, file.read(min(1 << 20, begin + length - place)))
    sink.lay_out(new)
    with started(tmp_path, mysql_distribution) as server:
        assert_exact(server, scratch_server)


def test_a_chooser_that_fails_leaves_the_donor_free(scratch_server: ScratchServer) -> None:
    def fail(files: Sequence[AnnouncedFile]) -> frozenset[int]:
        raise ZeroDivisionError(f"{len(files)} files")

    sink = Forgetting()
    with pytest.raises(ZeroDivisionError):
        CloneClient(connector(scratch_server), CloneOptions(), SystemClock(), skip=fail).run(sink)
    assert sink.bytes == 0 and sessions_left(scratch_server) == 0
    assert_free(scratch_server)


def test_a_donor_that_dropped_the_snapshot_sends_everything(scratch_server: ScratchServer) -> None:
    """Another clone begins while the chooser thinks: the donor gives up the one that is waiting."""
    asked: list[int] = []

    def wait_too_long(files: Sequence[AnnouncedFile]) -> frozenset[int]:
        asked.append(len(files))
        assert_free(scratch_server, within_seconds=8)
        return frozenset({files[-1].first_chunk})

    sink = Forgetting()
    outcome = CloneClient(connector(scratch_server), CloneOptions(), SystemClock(), skip=wait_too_long).run(
        sink
    )
    assert len(asked) == 1
    assert outcome.skipped_bytes == 0 and outcome.resumes == 0
    assert outcome.why_not_skipped is not None and "did not go on without them" in outcome.why_not_skipped
    assert sink.calls.count("ack FILE") == 1


def test_a_donor_that_never_waits_is_not_even_asked(scratch_server: ScratchServer) -> None:
    scratch_server.query("SET GLOBAL clone_donor_timeout_after_network_failure = 0")

    def refuse(files: Sequence[AnnouncedFile]) -> frozenset[int]:
        raise AssertionError(files)

    client = CloneClient(connector(scratch_server), CloneOptions(), SystemClock(), skip=refuse)
    outcome = client.run(Forgetting())
    assert outcome.why_not_skipped == "the donor has clone_donor_timeout_after_network_failure = 0"


def track(scratch: ScratchServer) -> None:
    """Page tracking on, and the account may read its list."""
    scratch.query("GRANT INSERT ON mysql.component TO 'backstay'@'%'")
    scratch.query("GRANT FILE, SYSTEM_VARIABLES_ADMIN ON *.* TO 'backstay'@'%'")
    with closing(connector(scratch)()) as session:
        switch_on(session)


def wait_for_checkpoint(scratch: ScratchServer, *, after: int) -> None:
    """Until then the server knows no list that begins so late."""
    deadline = time.monotonic() + 30
    with closing(connector(scratch)()) as session:
        while log_status(session).lsn_checkpoint <= after:
            assert time.monotonic() < deadline
            time.sleep(0.05)


class Unchanged:
    """Leaves out the chunks of the base's files that have no changed page."""

    def __init__(self, scratch: ScratchServer, base: CloneOutcome) -> None:
        self.calls = 0
        self.bytes = 0
        self.holes: list[tuple[int, int, int, int]] = []
        """Index, space id, offset and length of what is left out."""
        self._scratch = scratch
        self._base = base

    def __call__(self, files: Sequence[AnnouncedFile]) -> frozenset[int]:
        self.calls += 1
        with closing(connector(self._scratch)()) as session:
            pages = changed_pages(session, self._base.redo.checkpoint_lsn)
        known = {file.space_id: file.size for file in self._base.files if file.space_id}
        chunks: set[int] = set()
        for file in files:
            if file.space_id in known and known[file.space_id] >= file.size:
                chunks.update(self._unchanged(file, pages))
        return frozenset(chunks)

    def _unchanged(self, file: AnnouncedFile, pages: PageList) -> list[int]:
        assert file.page_size is not None and file.space_id is not None
        found: list[int] = []
        for chunk in range(file.first_chunk, file.last_chunk + 1):
            begin = (chunk - file.first_chunk) * file.chunk_bytes
            length = min(file.chunk_bytes, file.size - begin)
            first, last = begin // file.page_size, (begin + length) // file.page_size - 1
            if not pages.has_any(file.space_id, first, last):
                found.append(chunk)
                self.bytes += length
                self.holes.append((file.index, file.space_id, begin, length))
        return found


class Cutting(Keeping):
    """Breaks the network once in each stage."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.cut: Callable[[], object] = lambda: None
        self.stages_cut: set[Stage] = set()

    def put(self, block: Block, stream: int) -> None:
        stage = block.stage
        super().put(block, stream)
        self._cut_once(stage)

    def before_ack(self, stage: Stage) -> None:
        super().before_ack(stage)
        self._cut_once(stage)

    def _cut_once(self, stage: Stage) -> None:
        if stage not in self.stages_cut:
            self.stages_cut.add(stage)
            self.cut()

    def fill(self, index: int, begin: int, data: bytes) -> None:
        """Bytes of the FILE stage that were not sent; ``lay_out`` checks that they were not."""
        extent = Extent(index, begin, len(data))
        super().put(Block(Stage.FILE, (extent,), memoryview(data), lambda: None), 0)
