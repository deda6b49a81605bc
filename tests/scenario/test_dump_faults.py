"""Every way in which a source ends or refuses a dump, provoked for real: each has an error of its own."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import (
    ArchiverReplaced,
    BinlogUnreadable,
    ProtocolViolation,
    ServerRefused,
    ServerUnreachable,
    ServerUnsupported,
    SourceDiverged,
    ToolError,
)
from fleet.gtid import GtidSet
from infra.sandbox import processes
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from tests.scenario.dumps import (
    archive_connector,
    close_file,
    current_file,
    event_ends,
    idle,
    new_options,
    new_server,
    receive,
    up_to,
    wait_no_dumps,
)
from wire.admin import missing_privileges
from wire.binlog.dump import BinlogDump, BinlogGone, DumpOptions, StartAt, find_file
from wire.binlog_admin import (
    ARCHIVE_PRIVILEGES,
    PURGE_PRIVILEGES,
    binlog_files,
    binlog_settings,
    connected_replicas,
    purge_binary_logs_to,
    source_state,
)
from wire.session import open_session

pytestmark = pytest.mark.mysql


@pytest.fixture(scope="module")
def source(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[ScratchServer]:
    with new_server(mysql_distribution, scratch_directory) as server:
        server.query("CREATE DATABASE app")
        server.query("CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)")
        yield server


def insert(source: ScratchServer, rows: int = 3) -> None:
    for _ in range(rows):
        source.query("INSERT INTO app.t (v) VALUES (REPEAT('x', 300))")


def executed(source: ScratchServer) -> GtidSet:
    return GtidSet.parse(source.query("SELECT @@global.gtid_executed AS g")[0]["g"])


def first_error(source: ScratchServer, start: StartAt, options: DumpOptions | None = None) -> ToolError:
    """What a dump from ``start`` raises, at its beginning or later."""
    with (
        pytest.raises(ToolError) as raised,
        BinlogDump.open(archive_connector(source)(), start, options or new_options()) as dump,
    ):
        receive(dump, idle)
    return raised.value


def refused_start(source: ScratchServer, **options: str | None) -> ToolError:
    """What a dump raises from the same server, started with these options."""
    source.kill()
    source.start(**options)
    return first_error(source, StartAt("binlog.000001", 0))


def test_a_purged_file_is_a_gap_and_its_transactions_are_named(source: ScratchServer) -> None:
    have = executed(source)
    first = current_file(source)
    close_file(source)
    insert(source, 2)
    lost = executed(source) - have
    close_file(source)
    wait_no_dumps(source)
    source.query(f"PURGE BINARY LOGS TO '{current_file(source)}'")

    by_file = first_error(source, StartAt(first, 0))
    assert isinstance(by_file, BinlogGone)
    assert by_file.missing is None
    assert f"{first} from 4" in by_file.message
    with pytest.raises(BinlogGone) as by_gtid:
        find_file(archive_connector(source), new_options(), have)
    assert by_gtid.value.missing == lost
    assert by_gtid.value.exit_code == 35
    # Nothing is missing for an archive that has them.
    assert find_file(archive_connector(source), new_options(), executed(source)) == current_file(source)


def test_a_source_that_lost_its_tail_has_diverged(source: ScratchServer) -> None:
    end = int(source.query("SHOW BINARY LOG STATUS")[0]["Position"])
    assert isinstance(first_error(source, StartAt(current_file(source), end + 1000)), SourceDiverged)
    uuid = source.query("SELECT @@server_uuid AS u")[0]["u"]
    more = executed(source) | GtidSet.parse(f"{uuid}:1-999999")
    with pytest.raises(SourceDiverged, match="more GTIDs"):
        find_file(archive_connector(source), new_options(), more)


def test_a_file_of_the_same_name_but_another_birth_is_a_divergence(source: ScratchServer) -> None:
    name = current_file(source)
    with BinlogDump.open(archive_connector(source)(), StartAt(name, 0), new_options()) as dump:
        last = receive(dump, idle).last
    assert last is not None
    with BinlogDump.open(
        archive_connector(source)(), StartAt(name, last.end, last.created), new_options()
    ) as dump:
        assert next(dump.batches()).start == last.end
    error = first_error(source, StartAt(name, last.end, last.created - 1))
    assert isinstance(error, SourceDiverged)
    assert str(last.created) in error.message


def test_of_two_archivers_with_one_uuid_the_later_one_stays(source: ScratchServer) -> None:
    connect, options, start = archive_connector(source), new_options(), StartAt(current_file(source), 0)
    with BinlogDump.open(connect(), start, options) as first:
        receive(first, idle)
        with BinlogDump.open(connect(), start, options) as second:
            with pytest.raises(ArchiverReplaced):
                receive(first, up_to("never"))
            receive(second, idle)
            session = connect()
            (registered,) = connected_replicas(session)
            session.close()
            assert (registered.uuid, registered.host) == (options.replica_uuid, "backstay")
        # Others do not disturb it.
        with (
            BinlogDump.open(connect(), start, options) as third,
            BinlogDump.open(connect(), start, new_options(server_id=77)) as other,
        ):
            receive(other, idle)
            receive(third, idle)


def test_a_killed_session_is_worth_a_retry(source: ScratchServer) -> None:
    with BinlogDump.open(
        archive_connector(source)(), StartAt(current_file(source), 0), new_options()
    ) as dump:
        receive(dump, idle)
        # The newest: those that we left are there until the source wants to send them something.
        sessions = [row["Id"] for row in source.query("SHOW PROCESSLIST") if "Dump" in row["Command"]]
        source.query(f"KILL {max(sessions)}")
        with pytest.raises(ServerUnreachable) as raised:
            receive(dump, up_to("never"))
    assert raised.value.retryable


def test_a_frozen_source_is_noticed_after_three_heartbeats(source: ScratchServer) -> None:
    assert source.process is not None
    options = new_options(heartbeat_seconds=0.5, patience=3)
    with BinlogDump.open(archive_connector(source)(), StartAt(current_file(source), 0), options) as dump:
        processes.send(source.process, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(ServerUnreachable, match=r"silent for 1\.5 s"):
                receive(dump, up_to("never"))
            assert 1.4 < time.monotonic() - began < 30
        finally:
            processes.send(source.process, signal.SIGCONT)


def test_closing_it_ends_a_read_that_waits(source: ScratchServer) -> None:
    dump = BinlogDump.open(
        archive_connector(source)(), StartAt(current_file(source), 0), new_options(heartbeat_seconds=50.0)
    )
    batches, ended = dump.batches(), threading.Event()
    next(batches)

    def wait() -> None:
        for _ in batches:
            pass
        ended.set()

    reader = threading.Thread(target=wait, daemon=True)
    reader.start()
    dump.close()
    assert ended.wait(10)
    reader.join(10)
    dump.acknowledge("binlog.000001", 4)
    dump.close()


def test_damaged_binlogs_are_never_handed_on(source: ScratchServer) -> None:
    name = current_file(source)
    insert(source, 4)
    close_file(source)
    path = source.datadir / name
    whole = path.read_bytes()
    ends = event_ends(whole)
    flipped = bytearray(whole)
    flipped[ends[6] + 40] ^= 1
    longer = bytearray(whole)
    longer[ends[6] + 12] = 0x7F
    shorter = bytearray(whole)
    shorter[ends[6] + 9] = 5
    undescribed = bytearray(whole)
    undescribed[4 + 4] = 2
    broken = {
        "checksum": flipped,
        "truncated": whole[: ends[6] + 30],
        "max_allowed_packet": longer,
        "bogus data": shorter,
        "format_description_event": undescribed,
        "magic number": b"junk" + whole[4:],
    }
    try:
        for said, data in broken.items():
            path.write_bytes(data)
            error = first_error(source, StartAt(name, 0))
            assert isinstance(error, BinlogUnreadable)
            assert said in error.message
        path.unlink()
        assert isinstance(error := first_error(source, StartAt(name, 0)), BinlogUnreadable)
        assert "open log file" in error.message
        path.write_bytes(flipped)
        source.query("SET GLOBAL source_verify_checksum = ON")
        assert isinstance(error := first_error(source, StartAt(name, 0)), BinlogUnreadable)
        assert "crc" in error.message
    finally:
        source.query("SET GLOBAL source_verify_checksum = OFF")
        path.write_bytes(whole)


def test_a_position_inside_of_an_event_is_no_place_to_resume(source: ScratchServer) -> None:
    name = current_file(source)
    insert(source)
    end = event_ends((source.datadir / close_file(source)).read_bytes())[3]
    for position in (5, end + 1, end + 20):
        assert isinstance(first_error(source, StartAt(name, position)), BinlogUnreadable | ProtocolViolation)


def test_an_account_that_may_not_replicate_is_refused(source: ScratchServer) -> None:
    session = open_session(source.server, source.backup_account, connect_timeout=5, read_timeout=5)
    assert missing_privileges(session, ARCHIVE_PRIVILEGES) == ("REPLICATION SLAVE",)
    with pytest.raises(ServerRefused) as raised:
        BinlogDump.open(session, StartAt(current_file(source), 0), new_options())
    assert raised.value.hint is not None
    assert "REPLICATION SLAVE" in raised.value.hint


def test_servers_without_binlog_gtids_or_server_id_are_unsupported(
    mysql_distribution: MysqlDistribution, scratch_directory: Path
) -> None:
    with new_server(mysql_distribution, scratch_directory) as source:
        off = refused_start(source, log_bin=None, skip_log_bin="ON")
        assert isinstance(off, ServerUnsupported)
        assert "not open" in off.message
        error = refused_start(source, gtid_mode="OFF", enforce_gtid_consistency="OFF")
        assert isinstance(error, ServerUnsupported)
        assert "GTID_MODE" in error.message
        error = refused_start(source, server_id="0")
        assert isinstance(error, ServerUnsupported)
        assert "server_id" in error.message


def test_a_source_tells_about_its_binlogs_and_purges_them_if_allowed(source: ScratchServer) -> None:
    session = archive_connector(source)()
    assert missing_privileges(session, ARCHIVE_PRIVILEGES) == ()
    assert missing_privileges(session, PURGE_PRIVILEGES) == PURGE_PRIVILEGES
    settings = binlog_settings(session)
    assert (settings.sync_binlog, settings.binlog_row_metadata) == (1, "FULL")
    insert(source)
    old = close_file(source)
    kept = current_file(source)
    before = executed(source)
    assert {old, kept} <= {file.name for file in binlog_files(session)}
    with pytest.raises(ServerRefused, match="BINLOG_ADMIN"):
        purge_binary_logs_to(session, kept)
    session.close()

    source.allow_purging()
    wait_no_dumps(source)
    session = archive_connector(source)()
    purge_binary_logs_to(session, kept)
    assert [file.name for file in binlog_files(session)] == [kept]
    state = source_state(session)
    assert state.gtid_executed == executed(source)
    # What makes the grants is in the file that was kept.
    assert state.gtid_purged == before < state.gtid_executed
    with pytest.raises(ServerRefused, match="not found"):
        purge_binary_logs_to(session, "binlog.999999")
    session.close()


def test_reset_binary_logs_starts_the_same_names_again(source: ScratchServer) -> None:
    name = "binlog.000001"
    source.query("RESET BINARY LOGS AND GTIDS")
    connect = archive_connector(source)
    with BinlogDump.open(connect(), StartAt(name, 0), new_options()) as dump:
        old = receive(dump, idle).last
    assert old is not None
    while int(time.time()) <= old.created:
        time.sleep(0.05)
    source.query("RESET BINARY LOGS AND GTIDS")
    insert(source)
    error = first_error(source, StartAt(name, old.end, old.created))
    assert isinstance(error, SourceDiverged)
