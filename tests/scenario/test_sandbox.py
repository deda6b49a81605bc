"""A sandbox comes up, is what it says, and leaves nothing, however it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleet import config
from fleet.clock import SystemClock
from fleet.errors import SandboxFailed, UsageError
from infra.sandbox import processes
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.state import claimed

UP = """
import sys
from pathlib import Path
from infra.sandbox.fleet import SandboxFleet
SandboxFleet.up(Path(sys.argv[1]), replicas=1, progress=lambda line: print(line, flush=True))
"""


def start_up_and_kill_it_at(directory: Path, line: str) -> None:
    """Run ``up`` in a process of its own and kill -9 it as soon as it says ``line``."""
    with subprocess.Popen(
        [sys.executable, "-c", UP, str(directory)], stdout=subprocess.PIPE, text=True
    ) as up:
        assert up.stdout is not None
        for said in up.stdout:
            if line in said:
                break
        else:
            pytest.fail(f"up never said {line!r}")
        up.send_signal(signal.SIGKILL)
        up.wait()


@pytest.mark.mysql
@pytest.mark.s3
def test_two_shards_of_three_are_up_in_less_than_a_minute(
    mysql_distribution: MysqlDistribution, scratch_directory: Path
) -> None:
    directory = scratch_directory / "large"
    began = time.monotonic()
    fleet = SandboxFleet.up(directory, shards=2, regions=2, distribution=mysql_distribution)
    took = time.monotonic() - began
    try:
        status = SandboxFleet.load(directory).status()
        assert [(one.name, one.role, one.region) for one in status.servers[:3]] == [
            ("s1-a", "primary", "us-east"),
            ("s1-b", "replica", "us-east"),
            ("s1-c", "replica", "us-west"),
        ]
        assert all(one.answers for one in status.servers)
        assert all(
            one.replication and one.replication.applying for one in status.servers if one.role == "replica"
        )
        assert status.store_running
        # One password opens all shards, as the config has one account.
        for server in fleet.servers:
            backup = fleet.accounts.backup
            server.connect(user=backup.user, password=backup.password, ssl={"ca": server.tls.ca}).close()
        assert len(config.load(fleet.config_path).shards) == 2
    finally:
        fleet.down()
    assert processes.find_owned(directory) == []
    assert not directory.exists()
    assert took < 60


@pytest.mark.mysql
@pytest.mark.s3
def test_what_the_primary_commits_the_replicas_have(sandbox: SandboxFleet) -> None:
    (shard,) = sandbox.shards
    shard.set_semi_sync(enabled=True)
    try:
        shard.primary.query("CREATE DATABASE replicated")
        shard.primary.query("CREATE TABLE replicated.t (id INT PRIMARY KEY)")
        shard.primary.query("INSERT INTO replicated.t VALUES (1), (2)")
        acknowledged = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_yes_tx'"
        assert int(shard.primary.query(acknowledged)[0]["Value"]) >= 3
        shard.wait_caught_up()
        for replica in shard.replicas:
            assert replica.query("SELECT COUNT(*) AS n FROM replicated.t")[0]["n"] == 2
            assert replica.query("SELECT @@super_read_only AS ro")[0]["ro"] == 1
            assert replica.query("SHOW REPLICA STATUS")[0]["Source_SSL_Allowed"] == "Yes"
    finally:
        shard.set_semi_sync(enabled=False)
        shard.primary.query("DROP DATABASE replicated")


@pytest.mark.mysql
@pytest.mark.s3
def test_secrets_are_in_private_files_only(sandbox: SandboxFleet) -> None:
    secrets = sorted((sandbox.directory / "secrets").iterdir())
    assert {"key", "backstay-password", "s3-secret-key"} <= {file.name for file in secrets}
    assert {file.stat().st_mode & 0o777 for file in secrets} == {0o600}
    assert len((sandbox.directory / "secrets" / "key").read_bytes()) == 32
    assert sandbox.accounts.backup.password not in sandbox.config_path.read_text()


@pytest.mark.mysql
@pytest.mark.s3
def test_a_server_that_was_started_again_is_found_by_others(sandbox: SandboxFleet) -> None:
    replica = sandbox.shards[0].replicas[0]
    replica.stop()
    assert not SandboxFleet.load(sandbox.directory).server(replica.name).is_running()
    replica.start()
    assert SandboxFleet.load(sandbox.directory).server(replica.name).process == replica.process


@pytest.mark.mysql
@pytest.mark.s3
def test_a_running_sandbox_is_not_started_over(sandbox: SandboxFleet) -> None:
    with pytest.raises(SandboxFailed, match=r"runs in .* already"):
        SandboxFleet.up(sandbox.directory)
    assert all(server.is_running() for server in sandbox.servers)


@pytest.mark.mysql
@pytest.mark.s3
def test_what_is_dead_of_a_running_sandbox_comes_back_with_its_data(sandbox: SandboxFleet) -> None:
    replica = sandbox.shards[0].replicas[0]
    before = replica.query("SELECT @@server_uuid AS uuid")
    primary = sandbox.shards[0].primary.process
    replica.kill()
    told: list[str] = []
    revived = SandboxFleet.up(sandbox.directory, progress=told.append)
    assert told == [f"starting again: server {replica.name}"]
    assert revived.server(replica.name).query("SELECT @@server_uuid AS uuid") == before
    assert revived.shards[0].primary.process == primary
    replica.process = revived.server(replica.name).process
    sandbox.shards[0].wait_caught_up()


@pytest.mark.mysql
@pytest.mark.s3
@pytest.mark.parametrize("line", ["starting 2 servers", "answers on port", "starting replication"])
def test_after_a_killed_up_the_next_up_starts_clean(
    line: str, scratch_directory: Path, mysql_distribution: MysqlDistribution
) -> None:
    directory = scratch_directory / "killed"
    start_up_and_kill_it_at(directory, line)
    left = processes.find_owned(directory)
    fleet = SandboxFleet.up(directory, replicas=0, store="file", distribution=mysql_distribution)
    try:
        assert not any(processes.is_alive(process) for process in left)
        assert len(processes.find_owned(directory)) == 1
        assert fleet.shards[0].primary.query("SELECT COUNT(*) AS n FROM mysql.user WHERE user = 'backstay'")
        assert config.load(fleet.config_path).repository.url == (directory / "repository").as_uri()
    finally:
        fleet.down()
    assert processes.find_owned(directory) == []


@pytest.mark.mysql
@pytest.mark.s3
def test_after_a_killed_up_down_leaves_nothing(
    scratch_directory: Path, mysql_distribution: MysqlDistribution
) -> None:
    directory = scratch_directory / "killed"
    start_up_and_kill_it_at(directory, "answers on port")
    assert processes.find_owned(directory)
    SandboxFleet.load(directory).down()
    assert processes.find_owned(directory) == []
    assert not directory.exists()


@pytest.mark.mysql
def test_an_up_that_fails_leaves_nothing(
    scratch_directory: Path, mysql_distribution: MysqlDistribution
) -> None:
    directory = scratch_directory / "failed"
    with pytest.raises(SandboxFailed, match="no-such-option"):
        SandboxFleet.up(
            directory, store="file", distribution=mysql_distribution, options={"no-such-option": "1"}
        )
    assert processes.find_owned(directory) == []
    assert not directory.exists()


@pytest.mark.mysql
def test_a_directory_with_a_very_long_path_will_do(
    scratch_directory: Path, mysql_distribution: MysqlDistribution
) -> None:
    directory = scratch_directory / ("deep" * 20) / ("down" * 20)
    fleet = SandboxFleet.up(directory, replicas=0, store="file", distribution=mysql_distribution)
    socket = fleet.shards[0].primary.socket
    try:
        assert fleet.shards[0].primary.query("SELECT 1 AS one") == [{"one": 1}]
    finally:
        fleet.down()
    assert not socket.exists()


def test_two_commands_at_once_are_refused(tmp_path: Path) -> None:
    with claimed(tmp_path, SystemClock()), pytest.raises(SandboxFailed, match="another command is at work"):
        SandboxFleet.up(tmp_path)


def test_somebody_elses_files_are_not_taken_for_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    with pytest.raises(SandboxFailed, match="holds no sandbox: there is secrets"):
        SandboxFleet.up(tmp_path)
    with pytest.raises(SandboxFailed, match="there is no sandbox"):
        SandboxFleet.load(tmp_path)
    assert (tmp_path / "secrets").exists()


def test_numbers_that_make_no_fleet_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two regions need at least one replica"):
        SandboxFleet.up(tmp_path / "none", replicas=0, regions=2)
    assert not (tmp_path / "none").exists()
