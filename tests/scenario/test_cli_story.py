"""The command line from an empty repository to a proven restore, on real servers, as a user types it."""

from __future__ import annotations

import os
import signal
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from cli.toml import to_toml
from fleet.gtid import GtidSet
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.fleet import SandboxFleet
from tests.scenario.doors import Door, wait_for

pytestmark = pytest.mark.mysql


@pytest.fixture(scope="module")
def door(sandbox: SandboxFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The sandbox's shard, with an empty repository in a folder of this module's own."""
    folder = tmp_path_factory.mktemp("story")
    document = tomllib.loads(sandbox.config_path.read_text())
    document["repository"] = {"url": (folder / "repository").as_uri()}
    document["keys"] = [{"id": "story", "provider": "file", "file": str(folder / "story.key")}]
    # Beside the sandbox's own, because the paths in it are relative.
    config = sandbox.directory / "story.toml"
    config.write_text(to_toml(document))
    config.chmod(0o600)
    primary = sandbox.shards[0].primary
    primary.query("CREATE DATABASE story")
    primary.query("CREATE TABLE story.words (id INT PRIMARY KEY AUTO_INCREMENT, word LONGTEXT)")
    primary.query("INSERT INTO story.words (word) VALUES ('backstay'), (REPEAT('halyard ', 100000))")
    sandbox.shards[0].wait_caught_up()
    yield Door(config, folder)
    config.unlink()
    primary.query("DROP DATABASE story")
    sandbox.shards[0].wait_caught_up()


def test_from_an_empty_repository_to_a_proven_restore(door: Door, sandbox: SandboxFleet) -> None:
    assert "there is no repository at" in door.run("check", expect=41)
    door.run("init", "--new-key", "story.key")
    assert "an object was written, read and deleted" in door.run("check")

    (plan,) = door.json("backup", "full", "--all", "--dry-run")["plans"]
    assert plan["donor"] in {"s1-b", "s1-c"}
    assert door.json("backup", "list")["backups"] == []

    (taken,) = door.json("backup", "full", "--all")["backups"]
    executed = sandbox.shards[0].primary.query("SELECT @@gtid_executed AS executed")[0]["executed"]
    assert GtidSet.parse(taken["gtid_low"]) <= GtidSet.parse(executed)
    (listed,) = door.json("backup", "list", "s1")["backups"]
    assert (listed["label"], listed["proven"]) == (taken["label"], False)
    assert door.json("verify", "s1")["sound"]

    into = door.directory / "restored"
    assert "fetch" in door.run("restore", "s1", "--into", str(into), "--dry-run")
    assert not into.exists()
    assert "GTID set" in door.run("restore", "s1", "--into", str(into), "--check", "all")
    assert "proven on MySQL" in door.run("backup", "show", "s1")
    assert door.json("backup", "list")["backups"][0]["proven"]


def test_a_directory_that_holds_data_is_rewritten_only_with_consent(door: Door) -> None:
    into = door.directory / "restored"
    assert (into / "mysql.ibd").exists(), "this story goes on where the one before ended"
    refused = door.json("restore", "s1", "--into", str(into), expect=30)
    assert "--delta" in refused["error"]["hint"]
    assert "compare" in door.run("restore", "s1", "--into", str(into), "--delta", expect=2)

    restored = door.json("restore", "s1", "--into", str(into), "--delta", "--yes", "--leave", "running")
    try:
        assert restored["mode"] == "delta"
        assert restored["equal_bytes"] > restored["data_bytes"] // 2
        with closing(pymysql.connect(unix_socket=restored["left"]["socket"], user="root")) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT word, LENGTH(word) FROM story.words ORDER BY id LIMIT 1")
            assert cursor.fetchall() == (("backstay", 8),)
            cursor.execute("SELECT @@super_read_only, @@gtid_executed")
            assert cursor.fetchall() == ((1, restored["gtid_executed"]),)
    finally:
        os.kill(restored["left"]["pid"], signal.SIGTERM)


def test_sigterm_in_the_middle_leaves_no_backup_and_a_free_donor(door: Door, sandbox: SandboxFleet) -> None:
    slow = door.config.with_name("slow.toml")
    document = tomllib.loads(door.config.read_text())
    document["backup"] |= {"rate_bytes_per_second": 4_000_000, "donors": ["s1-c"]}
    slow.write_text(to_toml(document))
    slow.chmod(0o600)
    donor = sandbox.server("s1-c")
    before = len(door.json("backup", "list")["backups"])

    def is_cloned() -> bool:
        return any(row["Command"].lower() == "clone" for row in donor.query("SHOW PROCESSLIST"))

    try:
        with door.start("-c", str(slow), "backup", "full", "s1") as process:
            wait_for("the clone begins", 30, is_cloned)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=30)
        assert (process.returncode, err.splitlines()[0]) == (143, "error: the backup was cancelled")
        wait_for("the donor is free", 5, lambda: not is_cloned())
        assert len(door.json("backup", "list")["backups"]) == before
    finally:
        slow.unlink()


def test_the_servers_of_a_fleet_that_is_up_are_listed(sandbox: SandboxFleet, door: Door) -> None:
    status = door.json("sandbox", "status", "--dir", str(sandbox.directory))
    assert [server["name"] for server in status["servers"]] == ["s1-a", "s1-b", "s1-c"]
    assert all(server["answers"] for server in status["servers"])
    assert str(sandbox.config_path) in door.run("sandbox", "status", "--dir", str(sandbox.directory))


def test_a_sandbox_comes_up_bears_a_load_and_goes(
    door: Door, scratch_directory: Path, mysql_distribution: MysqlDistribution
) -> None:
    place = ("--dir", str(scratch_directory / "door"))
    up = door.json("sandbox", "up", *place, "--replicas", "0", "--store", "file")
    assert [server["role"] for server in up["servers"]] == ["primary"]
    assert door.json("sandbox", "up", *place, expect=50)["error"]["kind"] == "SandboxFailed"
    made = door.run(
        "sandbox", "sql", *place, "s1", "CREATE TABLE mysql.notes (id INT PRIMARY KEY, note BLOB)"
    )
    assert made == "Done on s1-a.\n"
    door.run("sandbox", "sql", *place, "s1", "INSERT INTO mysql.notes VALUES (1, 'one'), (2, NULL)")
    notes = door.json("sandbox", "sql", *place, "s1", "SELECT * FROM mysql.notes ORDER BY id")
    assert notes == {"server": "s1-a", "rows": [{"id": "1", "note": "one"}, {"id": "2", "note": None}]}
    assert "1064" in door.json("sandbox", "sql", *place, "s1", "SELEC", expect=50)["error"]["message"]
    (loaded,) = door.json("sandbox", "load", *place, "--seconds", "2", "--clients", "2")["shards"]
    assert loaded["statistics"]["transactions"] == loaded["check"]["transactions"] > 0
    assert (loaded["check"]["unbalanced"], loaded["check"]["lost"]) == ([], [])
    (scratch_directory / "door/notes.txt").write_text("mine")
    assert door.json("sandbox", "down", *place) == {"directory": place[1], "left": ["notes.txt"]}
    assert [path.name for path in (scratch_directory / "door").iterdir()] == ["notes.txt"]
    refused = door.json("sandbox", "up", *place, "--store", "file", expect=50)["error"]
    assert "is not empty and holds no sandbox: there is notes.txt" in refused["message"]
    assert [path.name for path in (scratch_directory / "door").iterdir()] == ["notes.txt"]
    assert door.json("sandbox", "status", *place, expect=50)["error"]["kind"] == "SandboxFailed"
