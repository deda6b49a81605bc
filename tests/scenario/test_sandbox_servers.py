"""The servers that other tests stand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymysql
import pytest

from infra.sandbox import processes
from infra.sandbox.accounts import Credentials
from infra.sandbox.objectstore import SeaweedServer
from infra.sandbox.scratch import ScratchServer, close_scratch_directory


def connect(
    server: ScratchServer, account: Credentials, **arguments: Any
) -> pymysql.connections.Connection[Any]:
    """A connection over TCP, with the server's certificate and name checked."""
    assert server.tls is not None
    tls = {"ca": str(server.tls.ca), "check_hostname": True, "verify_mode": True}
    settings = {"host": server.host, "port": server.port, "user": account.user, "password": account.password}
    return pymysql.connect(**{"ssl": tls, "autocommit": True, **settings, **arguments})


@pytest.mark.mysql
def test_a_scratch_server_is_a_donor_as_production_has_it(scratch_server: ScratchServer) -> None:
    row = scratch_server.query(
        "SELECT @@gtid_mode AS gtid_mode, @@binlog_format AS format, @@log_bin AS log_bin,"
        " (SELECT GROUP_CONCAT(plugin_name ORDER BY plugin_name) FROM information_schema.plugins"
        "   WHERE plugin_status = 'ACTIVE'"
        " AND (plugin_name = 'clone' OR plugin_name LIKE 'rpl_%')) AS plugins"
    )[0]
    assert (row["gtid_mode"], row["format"], row["log_bin"]) == ("ON", "ROW", 1)
    assert row["plugins"] == "clone,rpl_semi_sync_replica,rpl_semi_sync_source"


@pytest.mark.mysql
def test_the_backup_account_sees_what_preflight_asks_and_no_row(scratch_server: ScratchServer) -> None:
    for statement in (
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
        "CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE = MyISAM",
    ):
        scratch_server.query(statement)
    connection = connect(scratch_server, scratch_server.accounts.backup)
    try:
        with connection.cursor() as cursor:
            for statement in (
                "SELECT * FROM performance_schema.log_status",
                "SELECT * FROM performance_schema.clone_status",
                "SELECT * FROM performance_schema.clone_progress",
                "SELECT * FROM performance_schema.replication_connection_status",
                "SELECT * FROM performance_schema.replication_applier_status_by_worker",
                "SHOW REPLICA STATUS",
                "SHOW BINARY LOGS",
                "SELECT space FROM information_schema.innodb_tablespaces WHERE encryption = 'Y'",
                "SELECT path FROM information_schema.innodb_datafiles",
            ):
                cursor.execute(statement)
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE engine = 'MyISAM'")
            assert cursor.fetchall() == (("old",),)
            with pytest.raises(pymysql.err.OperationalError, match="SELECT command denied"):
                cursor.execute("SELECT * FROM shop.orders")
    finally:
        connection.close()


@pytest.mark.mysql
def test_without_tls_the_backup_account_is_refused(scratch_server: ScratchServer) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        connect(scratch_server, scratch_server.accounts.backup, ssl=None, ssl_disabled=True)


@pytest.mark.mysql
@pytest.mark.parametrize(
    "scratch_server", [{"innodb-page-size": None, "max-allowed-packet": "4M"}], indirect=True
)
def test_a_killed_server_starts_again_with_all_it_acknowledged(scratch_server: ScratchServer) -> None:
    scratch_server.query("CREATE DATABASE shop")
    before = scratch_server.query("SELECT @@gtid_executed AS executed, @@max_allowed_packet AS packet")[0]
    scratch_server.kill()
    assert not scratch_server.is_running()
    scratch_server.start()
    assert (
        scratch_server.query("SELECT @@gtid_executed AS executed, @@max_allowed_packet AS packet")[0]
        == before
    )
    assert before["packet"] == 4 << 20


@pytest.mark.mysql
def test_what_a_dead_test_run_left_is_found_and_killed(scratch_server: ScratchServer, tmp_path: Path) -> None:
    abandoned = processes.spawn(
        ["/bin/sleep", "1000"], owner=tmp_path, output=tmp_path / "output", environ={"PATH": "/bin"}
    )
    assert processes.find_owned(tmp_path) == [abandoned]
    close_scratch_directory(tmp_path)
    assert not processes.is_alive(abandoned)
    assert scratch_server.is_running()


def test_a_process_is_found_from_the_moment_it_was_started(tmp_path: Path) -> None:
    for _ in range(20):
        started = processes.spawn(
            ["/bin/sleep", "1000"], owner=tmp_path, output=tmp_path / "output", environ={"PATH": "/bin"}
        )
        assert processes.find_owned(tmp_path) == [started]
        processes.kill(started)


@pytest.mark.s3
def test_a_frozen_store_answers_again_when_thawed(seaweed: SeaweedServer) -> None:
    seaweed.create_bucket("frozen-trial")
    client = seaweed.client(read_timeout=1, retries={"total_max_attempts": 1})
    client.put_object(Bucket="frozen-trial", Key="a", Body=b"1")
    seaweed.freeze()
    try:
        with pytest.raises(Exception, match=r"[Tt]imeout|timed out"):
            client.get_object(Bucket="frozen-trial", Key="a")
    finally:
        seaweed.thaw()
    assert client.get_object(Bucket="frozen-trial", Key="a")["Body"].read() == b"1"
    assert client.get_bucket_versioning(Bucket="frozen-trial")["Status"] == "Enabled"
    client.close()


@pytest.mark.s3
def test_a_stopped_store_keeps_its_keys_ports_and_objects(seaweed: SeaweedServer) -> None:
    seaweed.create_bucket("kept")
    client = seaweed.client()
    client.put_object(Bucket="kept", Key="a", Body=b"1" * 100_000)
    seaweed.stop()
    again = SeaweedServer(seaweed.directory)
    assert (again.endpoint, again.access_key, again.secret_key) == (
        seaweed.endpoint,
        seaweed.access_key,
        seaweed.secret_key,
    )
    seaweed.start()
    assert client.get_object(Bucket="kept", Key="a")["Body"].read() == b"1" * 100_000
    client.close()
