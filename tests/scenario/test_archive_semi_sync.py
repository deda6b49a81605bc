"""Commits that wait for the archive: in the spool, or in the store; and what is told when they do not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from backup.archive.status import archive_status
from infra.sandbox.scratch import ScratchServer
from repository.archive.archive import ShardArchive
from repository.stores.opening import open_store
from tests.scenario.archive_process import start_archiver
from tests.scenario.archiving import (
    Archiver,
    Writers,
    archive_fleet,
    archived,
    content,
    executed,
    prepare_table,
    settled,
    wait_archived,
    wait_until,
)
from tests.scenario.fleets import repository_of
from tests.scenario.test_archive_survives import BreakableStore

pytestmark = pytest.mark.mysql


def enable(scratch: ScratchServer, *, timeout_ms: int) -> None:
    scratch.query("SET GLOBAL rpl_semi_sync_source_timeout = %s", (timeout_ms,))
    scratch.query("SET GLOBAL rpl_semi_sync_source_enabled = 1")


def wait_in_sync(scratch: ScratchServer) -> None:
    def is_on() -> bool:
        rows = scratch.query("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_%'")
        status = {row["Variable_name"]: row["Value"] for row in rows}
        return status["Rpl_semi_sync_source_clients"] == "1" and status["Rpl_semi_sync_source_status"] == "ON"

    wait_until(is_on, "the source waits for the archive")


class Insert:
    """One commit in a thread of its own."""

    def __init__(self, scratch: ScratchServer, key: str) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(scratch, key), daemon=True)
        self._thread.start()

    def is_done(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def _run(self, scratch: ScratchServer, key: str) -> None:
        scratch.query("INSERT INTO app.items VALUES (%s, '')", (key,))
        self._done.set()


def test_with_store_sync_a_commit_returns_when_it_is_in_the_store(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path, mode="store-sync")
    repository_of(fleet)
    store = BreakableStore(open_store(fleet.repository))
    repository = repository_of(fleet, store)  # type: ignore[arg-type]
    prepare_table(scratch_server)
    enable(scratch_server, timeout_ms=60_000)
    with Archiver(fleet, repository) as archiver:
        wait_in_sync(scratch_server)
        Insert(scratch_server, "easy").is_done(30)
        wanted = executed(scratch_server)
        assert not wanted - archived(ShardArchive(repository, "s1"))
        store.gone.set()
        hard = Insert(scratch_server, "hard")
        archiver.wait_for("store")
        assert not hard.is_done(0.5)
        store.gone.clear()
        assert hard.is_done(30)
        assert not executed(scratch_server) - archived(ShardArchive(repository, "s1"))
        (status,) = archive_status(fleet, repository).shards
        assert status.lag is not None
        assert status.lag.mode_holds
    assert "fell-to-async" not in archiver.kinds()


def test_with_local_sync_a_commit_waits_for_the_spool_and_not_for_the_store(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path, mode="local-sync")
    repository_of(fleet)
    store = BreakableStore(open_store(fleet.repository))
    repository = repository_of(fleet, store)  # type: ignore[arg-type]
    archive = ShardArchive(repository, "s1")
    prepare_table(scratch_server)
    enable(scratch_server, timeout_ms=60_000)
    with Archiver(fleet, repository, grace_seconds=0.5):
        wait_in_sync(scratch_server)
        wait_archived(archive, scratch_server)
        store.gone.set()
        for number in range(5):
            assert Insert(scratch_server, f"spooled {number}").is_done(30)
        wanted = executed(scratch_server)
        rows = scratch_server.query("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_yes_tx'")
        assert int(rows[0]["Value"]) >= 5
        scratch_server.kill()
    # Source and archiver are gone, and the store never had it: the spool has.
    store.gone.clear()
    assert wanted - archived(archive)
    with Archiver(fleet, repository):
        wait_until(lambda: not wanted - archived(archive), "what was acknowledged is stored")


def test_each_fall_to_async_is_recorded_with_its_beginning_and_its_end(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path, mode="store-sync")
    repository_of(fleet)
    store = BreakableStore(open_store(fleet.repository))
    repository = repository_of(fleet, store)  # type: ignore[arg-type]
    archive = ShardArchive(repository, "s1")
    prepare_table(scratch_server)
    enable(scratch_server, timeout_ms=300)
    with Archiver(fleet, repository) as archiver:
        wait_in_sync(scratch_server)
        if "fell-to-async" in archiver.kinds():
            archiver.wait_for("recovered")
        known = archiver.kinds().count("fell-to-async")
        store.gone.set()
        assert Insert(scratch_server, "released").is_done(30)
        assert archiver.wait_for("fell-to-async", known + 1).is_alarm
        store.gone.clear()
        wait_until(
            lambda: any(note.ended_at for note in archive.notes() if note.kind == "fell-to-async"),
            "the end of the fall is recorded",
        )
        wait_until(
            lambda: not archive_status(fleet, repository).shards[0].open_notes, "no fall is open any more"
        )
    falls = [note for note in archive.notes() if note.kind == "fell-to-async"]
    begun = [note for note in falls if note.ended_at is None]
    ended = [note for note in falls if note.ended_at is not None]
    assert {note.at for note in begun} <= {note.at for note in ended}


@pytest.mark.parametrize("mode", ["local-sync", "store-sync"])
def test_what_was_acknowledged_is_never_lost_when_source_and_archiver_die_together(
    scratch_server: ScratchServer, tmp_path: Path, mode: str
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path, mode=mode)
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")
    prepare_table(scratch_server)
    enable(scratch_server, timeout_ms=60_000)
    process = start_archiver(fleet, tmp_path)
    wait_in_sync(scratch_server)
    with Writers(scratch_server, count=8) as writers:
        writers.wait_for(400)
        scratch_server.kill()
        process.kill()
    process.wait()
    if mode == "local-sync":
        # The spool's machine has lived: its next archiver stores what it holds.
        with Archiver(fleet, repository) as archiver:
            archiver.wait_for("waiting")
    stored = b"".join(content(archive, file) for file in settled(archive, 1))
    missing = [key for key in writers.acknowledged if key.encode() not in stored]
    assert not missing
