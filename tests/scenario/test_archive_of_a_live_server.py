"""The archive of a server under load is its binlogs, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.sandbox.scratch import ScratchServer
from repository.archive.archive import ShardArchive
from tests.scenario.archiving import (
    Archiver,
    Writers,
    archive_fleet,
    archived,
    assert_byte_equal,
    executed,
    wait_archived,
)
from tests.scenario.fleets import repository_of

pytestmark = pytest.mark.mysql


def test_every_binlog_is_archived_byte_for_byte_while_it_is_written(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path)
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")
    with Archiver(fleet, repository) as archiver:
        with Writers(scratch_server) as writers:
            for _ in range(4):
                writers.wait_for(150)
                scratch_server.query("FLUSH BINARY LOGS")
        wait_archived(archive, scratch_server)
        assert_byte_equal(archive, scratch_server)
    assert assert_byte_equal(archive, scratch_server) >= 5
    assert not executed(scratch_server) - archived(archive)
    assert archiver.kinds() == ["epoch", "following", "stopped"]
    assert not list((tmp_path / "spool").rglob("*.spool"))
    assert archiver.outcome is not None
    (outcome,) = archiver.outcome.shards
    assert outcome.transactions >= 600
