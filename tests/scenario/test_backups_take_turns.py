"""Backups of a real server in their turn: one of a shard, so many of a region, all within one budget."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from backup.full import take_full_backup
from backup.result import BackupResult
from fleet.clock import SystemClock
from fleet.errors import ToolError
from fleet.progress import Silent
from infra.sandbox.scratch import ScratchServer
from repository.catalog import Catalog
from repository.held_turn import HeldTurn
from repository.turns import TurnTerms, turn
from tests.scenario.fleets import fill, fleet_of, repository_of, wait_free
from tests.scenario.incrementals import AtStage

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

MIB = 1024 * 1024
SHARD = TurnTerms("shard", "s1")


def take(scratch: ScratchServer, folder: Path, pipe: Connection) -> None:
    """A slow backup that tells when it copies, and how it ends."""
    fleet = fleet_of(
        scratch,
        folder=folder,
        backup={"donor": "primary", "retries": 2, "rate_bytes_per_second": 12 * MIB},
    )
    copying = AtStage("file", lambda: pipe.send("copying"), at_bytes=MIB)
    try:
        pipe.send(take_full_backup(fleet, "s1", repository=repository_of(fleet), progress=copying).label)
    except ToolError as error:
        pipe.send((type(error).__name__, error.message))


def is_stopped(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(task.read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


def test_a_backup_that_stood_still_past_its_turn_is_not_completed(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fill(scratch_server, 8000)
    repository = repository_of(fleet_of(scratch_server, folder=tmp_path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pipe, theirs = context.Pipe()
    frozen = context.Process(target=take, args=(scratch_server, tmp_path, theirs))
    frozen.start()
    try:
        assert frozen.pid is not None
        assert pipe.poll(60)
        assert pipe.recv() == "copying"
        os.kill(frozen.pid, signal.SIGSTOP)
        while not is_stopped(frozen.pid):
            time.sleep(0.01)
        for path in (tmp_path / "repository/turns/shard/s1").iterdir():
            os.utime(path, (time.time() - 200, time.time() - 200))
        with turn(repository, SHARD) as held:
            os.kill(frozen.pid, signal.SIGCONT)
            assert pipe.poll(120)
            kind, message = pipe.recv()
            assert kind == "TurnTaken"
            assert f"the turn of shard s1 was lost: by {os.uname().nodename}:{os.getpid()} since" in message
            held.check()
    finally:
        frozen.kill()
        frozen.join(10)
        pipe.close()
        theirs.close()
    assert Catalog(repository).backups("s1") == []
    wait_free(scratch_server, 6)
    result = take_full_backup(fleet_of(scratch_server, folder=tmp_path), "s1", repository=repository)
    assert [found.label for found in Catalog(repository).backups("s1")] == [result.label]


class Told(Silent):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.heard = threading.Event()

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.heard.set()


def test_a_backup_waits_for_a_place_in_its_region_and_says_for_whom(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fill(scratch_server, 100)
    fleet = fleet_of(scratch_server, folder=tmp_path, budget={"backups_per_region": 1})
    repository = repository_of(fleet)
    region = scratch_server.server.region
    told, results = Told(), list[BackupResult]()
    waiting = threading.Thread(
        target=lambda: results.append(take_full_backup(fleet, "s1", repository=repository, progress=told))
    )
    with turn(repository, TurnTerms("region", f"{region}.0")):
        waiting.start()
        assert told.heard.wait(60)
        assert f"for its turn: region {region}.0 is taken by" in told.notes[0]
        assert Catalog(repository).backups("s1") == []
    waiting.join(60)
    assert [found.label for found in Catalog(repository).backups("s1")] == [results[0].label]


def test_the_budget_is_shared_by_all_backups_that_are_at_work(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fill(scratch_server, 4000)
    fleet = fleet_of(scratch_server, folder=tmp_path)
    repository = repository_of(fleet)
    stored = take_full_backup(fleet, "s1", repository=repository).stored_bytes
    budgeted = fleet_of(scratch_server, folder=tmp_path, budget={"bytes_per_second": int(stored / 1.5)})
    other = HeldTurn(repository, TurnTerms("shard", "s2"), SystemClock())
    assert other.take() is None
    # Half of the budget is another's.
    assert take_full_backup(budgeted, "s1", repository=repository).seconds > 2.2
