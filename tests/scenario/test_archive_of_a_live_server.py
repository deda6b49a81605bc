"""The archive of a server under load is its binlogs, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.sandbox.scratch import ScratchServer
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from tests.scenario.archiving import (
    Archiver,
    Writers,
    archive_fleet,
    archived,
    assert_byte_equal,
    executed,
    prepare_table,
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
    assert archiver.kinds() == ["began", "following", "stopped"]
    assert not list((tmp_path / "spool").rglob("*.spool"))
    assert archiver.outcome is not None
    (outcome,) = archiver.outcome.shards
    assert outcome.transactions >= 600


def test_a_source_that_stops_crashes_and_comes_back_is_archived_to_the_last_byte(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path)
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")
    prepare_table(scratch_server)
    with Archiver(fleet, repository) as archiver:
        wait_archived(archive, scratch_server)
        scratch_server.stop()
        archiver.wait_for("waiting")
        scratch_server.start()
        scratch_server.query("INSERT INTO app.items VALUES ('after the stop', '')")
        wait_archived(archive, scratch_server)
        scratch_server.kill()
        scratch_server.start()
        scratch_server.query("INSERT INTO app.items VALUES ('after the crash', '')")
        wait_archived(archive, scratch_server)
        archiver.wait_for("torn-tail")
    assert assert_byte_equal(archive, scratch_server) >= 3
    assert archiver.kinds().count("torn-tail") == 1
    assert [note.kind for note in archive.notes()] == ["torn-tail"]
    line = Line.of(archive)
    assert (len(line.epochs), line.gaps) == (1, ())


def test_compressed_transactions_xa_and_files_without_checksums_are_archived_as_they_are(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = archive_fleet(scratch_server, tmp_path)
    repository = repository_of(fleet)
    archive = ShardArchive(repository, "s1")
    prepare_table(scratch_server)
    with Archiver(fleet, repository):
        for checksum in ("NONE", "CRC32"):
            scratch_server.query("SET GLOBAL binlog_checksum = %s", (checksum,))
            connection = scratch_server.connect()
            with connection.cursor() as cursor:
                cursor.execute("SET binlog_transaction_compression = ON")
                cursor.execute(f"INSERT INTO app.items VALUES ('zip {checksum}', REPEAT('z', 400))")
                cursor.execute("SET binlog_transaction_compression = OFF")
                cursor.execute(f"XA START '{checksum}'")
                cursor.execute(f"INSERT INTO app.items VALUES ('xa {checksum}', '')")
                cursor.execute(f"XA END '{checksum}'")
                cursor.execute(f"XA PREPARE '{checksum}'")
                cursor.execute(f"XA COMMIT '{checksum}'")
                cursor.execute("SET gtid_next = 'AUTOMATIC:tagged'")
                cursor.execute(f"INSERT INTO app.items VALUES ('tagged {checksum}', '')")
            connection.close()
            scratch_server.query("FLUSH BINARY LOGS")
        wait_archived(archive, scratch_server)
    assert assert_byte_equal(archive, scratch_server) >= 3
    line = Line.of(archive)
    assert line.gtids | line.first_gtids == executed(scratch_server)
    assert line.gtids.has_tags()
