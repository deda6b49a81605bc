"""What may happen to an archiver, and what its archive then is: whole, without a gap that is not told."""

from __future__ import annotations

import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from backup.archive.status import archive_status
from fleet.errors import ArchiverReplaced, SpoolFull, StoreUnreachable
from fleet.repository_config import RepositoryConfig
from infra.sandbox.objectstore import SeaweedServer
from infra.sandbox.scratch import ScratchServer
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.stores.opening import open_store
from tests.scenario.archive_process import start_archiver
from tests.scenario.archiving import (
    Archiver,
    Writers,
    archive_fleet,
    archived,
    assert_byte_equal,
    executed,
    prepare_table,
    wait_archived,
    wait_until,
)
from tests.scenario.fleets import bucket_section, repository_of

pytestmark = pytest.mark.mysql


class BreakableStore:
    """A real store that can be gone for a while."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.gone = threading.Event()
        self.refused = 0
        self.puts_left: int | None = None

    def put(self, *arguments: Any, **options: Any) -> Any:
        # Of segments as they come: what is composed meanwhile does not count.
        if self.puts_left is not None and threading.current_thread().name == "archive-upload":
            self.puts_left -= 1
            if self.puts_left < 0:
                self.gone.set()
        return self.__getattr__("put")(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if self.gone.is_set():
            self.refused += 1
            raise StoreUnreachable("the store does not answer")
        return getattr(self._store, name)


def test_an_archiver_that_is_killed_again_and_again_leaves_no_gap(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path, mode="async")
    archive = ShardArchive(repository_of(fleet), "s1")
    dice = random.Random(20260301)
    with Writers(scratch_server, pause_seconds=0.002) as writers:
        for round_number in range(5):
            process = start_archiver(fleet, tmp_path)
            # From the first moments of its start to well into its work.
            writers.wait_for(round(dice.uniform(50, 900)))
            process.kill()
            process.wait()
            if round_number % 2:
                scratch_server.query("FLUSH BINARY LOGS")
    process = start_archiver(fleet, tmp_path)
    wait_archived(archive, scratch_server)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert_byte_equal(archive, scratch_server)
    line = Line.of(archive)
    assert (line.gaps, line.branches) == ((), ())
    assert line.gtids | line.first_gtids >= executed(scratch_server)
    assert [note.kind for note in archive.notes()] == []


def test_a_store_that_is_gone_for_a_while_costs_nothing_but_spool(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path)
    repository_of(fleet)
    store = BreakableStore(open_store(fleet.repository))
    repository = repository_of(fleet, store)  # type: ignore[arg-type]
    archive = ShardArchive(repository, "s1")
    with Archiver(fleet, repository) as archiver:
        archiver.wait_for("following")
        prepare_table(scratch_server)
        wait_archived(archive, scratch_server)
        store.gone.set()
        with Writers(scratch_server) as writers:
            writers.wait_for(300)
            scratch_server.query("FLUSH BINARY LOGS")
            # The source's connection breaks meanwhile as well: it is taken up where the spool ends.
            for row in scratch_server.query("SHOW PROCESSLIST"):
                if row["Command"].startswith("Binlog Dump"):
                    scratch_server.query("KILL %s", (row["Id"],))
            archiver.wait_for("following", 2)
            writers.wait_for(300)
        archiver.wait_for("store")
        assert store.refused
        assert list((tmp_path / "spool").rglob("*.spool"))
        store.gone.clear()
        archiver.wait_for("recovered")
        wait_archived(archive, scratch_server)
    assert assert_byte_equal(archive, scratch_server) >= 2
    assert not list((tmp_path / "spool").rglob("*.spool"))


def test_what_only_the_spool_holds_is_stored_by_the_next_run_though_the_source_is_gone(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path)
    repository_of(fleet)
    store = BreakableStore(open_store(fleet.repository))
    repository = repository_of(fleet, store)  # type: ignore[arg-type]
    archive = ShardArchive(repository, "s1")
    prepare_table(scratch_server)
    with Archiver(fleet, repository, grace_seconds=0.5) as archiver:
        archiver.wait_for("following")
        wait_archived(archive, scratch_server)
        store.gone.set()
        scratch_server.query("INSERT INTO app.items VALUES ('precious', '')")
        archiver.wait_for("store")
        wanted = executed(scratch_server)
        scratch_server.kill()
    assert wanted - archived(ShardArchive(repository_of(fleet), "s1"))
    store.gone.clear()
    with Archiver(fleet, repository) as archiver:
        archiver.wait_for("waiting")
        wait_until(lambda: not wanted - archived(archive), "the spool's events are stored")


def test_an_archiver_on_another_machine_goes_on_in_the_middle_of_a_transaction(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path, segment_bytes=64 * 1024)
    repository_of(fleet)
    prepare_table(scratch_server)
    scratch_server.query(
        "INSERT INTO app.items SELECT CONCAT('wide ', n), REPEAT(n % 10, 400) FROM"
        " (WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 1000)"
        " SELECT a.n * 1000 + b.n AS n FROM r a JOIN r b WHERE a.n <= 24) numbers"
    )
    scratch_server.query("INSERT INTO app.items VALUES ('behind', '')")
    ends: list[int] = []
    for machine in range(3):
        # Each machine has a spool of its own, and dies after a few segments.
        mine = fleet.model_copy(
            update={"archive": fleet.archive.model_copy(update={"spool_directory": tmp_path / str(machine)})}
        )
        store = BreakableStore(open_store(fleet.repository))
        store.puts_left = 2
        with Archiver(mine, repository_of(mine, store), grace_seconds=0.2) as archiver:  # type: ignore[arg-type]
            archiver.wait_for("store")
        archive = ShardArchive(repository_of(fleet), "s1")
        ends.append(sum(file.end for file in archive.files(1)))
        assert Line.of(archive).gtids | Line.of(archive).first_gtids < executed(scratch_server)
    assert ends == sorted(set(ends)), "each of them stored some more of the transaction"
    with Archiver(fleet, repository_of(fleet)):
        wait_archived(archive, scratch_server)
    assert_byte_equal(archive, scratch_server)
    line = Line.of(archive)
    assert (line.gtids | line.first_gtids, line.gaps) == (executed(scratch_server), ())


@pytest.mark.parametrize("when_full", ["wait", "stop"])
def test_the_spool_keeps_its_bound(scratch_server: ScratchServer, tmp_path: Path, when_full: str) -> None:
    fleet = archive_fleet(scratch_server, tmp_path, spool_max_bytes=200_000, when_full=when_full)
    repository_of(fleet)
    store = BreakableStore(open_store(fleet.repository))
    repository = repository_of(fleet, store)  # type: ignore[arg-type]
    archive = ShardArchive(repository, "s1")
    with Archiver(fleet, repository, grace_seconds=0.5) as archiver:
        archiver.wait_for("following")
        store.gone.set()
        with Writers(scratch_server) as writers:
            # Commits go on, whatever the archive does.
            writers.wait_for(1500)
        if when_full == "stop":
            error = archiver.wait_end()
            assert isinstance(error, SpoolFull)
            assert "200000 bytes" in error.message
            return
        archiver.wait_for("spool-full")
        assert sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*.spool")) < 2_000_000
        store.gone.clear()
        wait_archived(archive, scratch_server)
    assert_byte_equal(archive, scratch_server)


def test_a_purge_before_archiving_is_a_gap_named_with_its_transactions(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path)
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")
    prepare_table(scratch_server)
    with Archiver(fleet, repository):
        wait_archived(archive, scratch_server)
    before = executed(scratch_server)
    scratch_server.query("FLUSH BINARY LOGS")
    scratch_server.query("INSERT INTO app.items VALUES ('lost', '')")
    lost = executed(scratch_server) - before
    scratch_server.query("FLUSH BINARY LOGS")
    scratch_server.query("INSERT INTO app.items VALUES ('kept', '')")
    newest = scratch_server.query("SHOW BINARY LOGS")[-1]["Log_name"]
    scratch_server.query("PURGE BINARY LOGS TO %s", (newest,))
    with Archiver(fleet, repository) as archiver:
        assert lost.one_line() in archiver.wait_for("gap").text
        wanted = executed(scratch_server) - lost
        wait_until(lambda: not wanted - archived(archive), "what follows is archived")
        wait_until(archive.notes, "the gap is noted")
    (note,) = archive.notes()
    assert (note.kind, note.gtid_set) == ("gap", lost)
    (status,) = archive_status(fleet, repository).shards
    assert [gap.gtids for gap in status.gaps] == [lost.one_line()]
    assert status.lag is not None
    assert status.lag.transactions == 0


def test_a_reset_source_begins_a_new_epoch_and_never_mixes_with_the_old_one(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path)
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")
    prepare_table(scratch_server)
    with Archiver(fleet, repository) as archiver:
        wait_archived(archive, scratch_server)
        before = executed(scratch_server)
        scratch_server.query("RESET BINARY LOGS AND GTIDS")
        scratch_server.query("INSERT INTO app.items VALUES ('after', '')")
        archiver.wait_for("diverged")
        wait_until(lambda: len(archive.epochs()) == 2, "an epoch is opened")
        wait_until(lambda: archive.files(2), "the new epoch has a file")
        wait_until(lambda: not executed(scratch_server) - Line.of(archive).gtids, "the new epoch is archived")
        assert_byte_equal(archive, scratch_server, epoch=2)
    first, second = archive.epochs()
    assert (first.reason, second.reason) == ("first", "diverged")
    assert second.inherited == ""
    assert Line.of(archive, 1).gtids | Line.of(archive, 1).first_gtids == before
    assert Line.of(archive).branches


def test_of_two_archivers_the_later_one_takes_over_and_both_do_no_harm(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    here = archive_fleet(scratch_server, tmp_path)
    there = here.model_copy(
        update={"archive": here.archive.model_copy(update={"spool_directory": tmp_path / "elsewhere"})}
    )
    repository = repository_of(here)
    archive = ShardArchive(repository, "s1")
    with Archiver(here, repository) as first, Writers(scratch_server, pause_seconds=0.002) as writers:
        first.wait_for("following")
        writers.wait_for(100)
        with Archiver(there, repository) as second:
            error = first.wait_end()
            assert isinstance(error, ArchiverReplaced)
            assert error.exit_code == 42
            assert first.kinds()[-1] == "replaced"
            writers.wait_for(100)
            writers.stop()
            wait_archived(archive, scratch_server)
        assert "replaced" not in second.kinds()
    assert_byte_equal(archive, scratch_server)
    line = Line.of(archive)
    assert (len(line.epochs), line.gaps) == (1, ())


@pytest.mark.s3
def test_an_s3_store_that_is_frozen_holds_no_commit_up_and_gets_everything_later(
    scratch_server: ScratchServer, seaweed: SeaweedServer, tmp_path: Path
) -> None:
    section = bucket_section(seaweed, "archive", tmp_path)
    fleet = archive_fleet(scratch_server, tmp_path).model_copy(
        update={"repository": RepositoryConfig.model_validate(section)}
    )
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")
    with Archiver(fleet, repository) as archiver:
        archiver.wait_for("following")
        with Writers(scratch_server) as writers:
            writers.wait_for(100)
            seaweed.freeze()
            try:
                writers.wait_for(1000)
            finally:
                seaweed.thaw()
            scratch_server.query("FLUSH BINARY LOGS")
        wait_archived(archive, scratch_server)
    assert_byte_equal(archive, scratch_server)
    assert not Line.of(archive).gaps
