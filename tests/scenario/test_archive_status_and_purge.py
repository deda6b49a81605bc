"""What status says of an archive, and which binlogs the gate lets go."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from backup.archive.purge import plan_purge, purge
from backup.archive.status import archive_status, spool_use
from fleet.clock import SystemClock
from fleet.errors import ServerRefused
from fleet.model import Fleet
from infra.sandbox.scratch import ScratchServer
from repository.archive.archive import ShardArchive
from repository.repository import Repository
from tests.scenario.archiving import (
    Archiver,
    archive_fleet,
    content,
    executed,
    prepare_table,
    wait_archived,
    wait_until,
)
from tests.scenario.fleets import repository_of

pytestmark = pytest.mark.mysql


def test_status_and_purge_of_a_server_with_some_binlogs(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path)
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")

    (before,) = archive_status(fleet, repository).shards
    assert (before.epoch, before.last, before.files) == (None, None, 0)
    assert before.lag is not None
    assert before.lag.transactions == executed(scratch_server).count()

    prepare_table(scratch_server)
    with Archiver(fleet, repository):
        for number in range(4):
            scratch_server.query(f"INSERT INTO app.items VALUES ('{number}', '')")
            scratch_server.query("FLUSH BINARY LOGS")
        wait_archived(archive, scratch_server)
        (now,) = archive_status(fleet, repository, ["s1"]).shards
        wait_until(
            lambda: not archive_status(fleet, repository, ["s1"]).shards[0].spool.bytes, "nothing waits"
        )
        # Though a spool file lies there still.
        assert spool_use(fleet, repository.repository_id, "s1").bytes
    assert now.epoch is not None
    assert (now.epoch.number, now.epoch.reason, now.epoch.server) == (1, "first", "scratch")
    assert now.last is not None
    assert now.last.gtid.number == executed(scratch_server).count()
    assert now.lag is not None
    assert (now.lag.transactions, now.lag.seconds, now.lag.mode_holds) == (0, 0.0, None)
    assert (now.window, now.windows, now.backups) == (None, (), 0)
    assert (now.gaps, now.branches, now.open_notes) == ((), (), ())

    # What was written after the archiver's end: behind, by one transaction.
    began = time.time()
    scratch_server.query("INSERT INTO app.items VALUES ('late', '')")
    (late,) = archive_status(fleet, repository).shards
    assert late.lag is not None
    assert late.lag.transactions == 1
    assert late.lag.seconds is not None
    # Counted from its own commit, not from the one before it.
    assert 0 < late.lag.seconds <= time.time() - began

    _purge_story(scratch_server, fleet, repository, archive)


def _purge_story(scratch: ScratchServer, fleet: Fleet, repository: Repository, archive: ShardArchive) -> None:
    plan = plan_purge(fleet, "s1", repository)
    names = [row["Log_name"] for row in scratch.query("SHOW BINARY LOGS")]
    assert [file.name for file in plan.going] == names[:-2]
    with pytest.raises(ServerRefused, match="BINLOG_ADMIN"):
        purge(fleet, plan, repository, clock=SystemClock(), cancelled=threading.Event())
    scratch.allow_purging()
    second = next(file for file in archive.files(1) if file.name.file == names[1])
    object_name = next(
        path for path in Path(fleet.repository.url.removeprefix("file://")).rglob(f"{names[1]}.*/*")
    )
    kept = object_name.read_bytes()
    object_name.chmod(0o600)
    object_name.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    outcome = purge(fleet, plan, repository, clock=SystemClock(), cancelled=threading.Event())
    assert [file.name for file in outcome.purged] == names[:1]
    assert f"{names[1]} cannot be read back" in outcome.stopped_by
    object_name.write_bytes(kept)
    assert content(archive, second)
    outcome = purge(
        fleet,
        plan_purge(fleet, "s1", repository),
        repository,
        clock=SystemClock(),
        cancelled=threading.Event(),
    )
    assert not outcome.stopped_by
    assert [row["Log_name"] for row in scratch.query("SHOW BINARY LOGS")] == names[-2:]
    assert not plan_purge(fleet, "s1", repository).going
