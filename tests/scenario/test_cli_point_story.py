"""A table is dropped; it is found, and brought back, by what a user types. And a standby takes over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from fleet.gtid import GtidSet
from infra.sandbox.distribution import MysqlDistribution
from tests.scenario.doors import Door, wait_for

pytestmark = pytest.mark.mysql


class Shard:
    """A sandbox of one server, whose repository is a folder; everything is done by commands."""

    def __init__(self, door: Door, place: str) -> None:
        self.door = door
        self.place = place

    def sql(self, statement: str) -> list[dict[str, str | None]]:
        return self.door.json("sandbox", "sql", "--dir", self.place, "s1", statement)["rows"]

    def executed(self) -> str:
        (row,) = self.sql("SELECT @@gtid_executed AS executed")
        return row["executed"] or ""

    def is_archived(self) -> bool:
        (status,) = self.door.json("archive", "status")["shards"]
        return status["epoch"] is not None and status["lag"]["transactions"] == 0


def rows_of(left: dict[str, Any], statement: str) -> tuple[tuple[Any, ...], ...]:
    with closing(pymysql.connect(unix_socket=left["socket"], user="root")) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall()


@pytest.fixture(scope="module")
def shard(scratch_directory: Path, mysql_distribution: MysqlDistribution) -> Iterator[Shard]:
    """With a backup, then transactions, a table dropped among them, all of it archived by a daemon."""
    folder = scratch_directory / "point"
    place = folder / "fleet"
    folder.mkdir()
    door = Door(place / "backstay.toml", folder)
    door.run("sandbox", "up", "--dir", str(place), "--replicas", "0", "--store", "file")
    try:
        shard = Shard(door, str(place))
        shard.sql("CREATE DATABASE shop")
        shard.sql("CREATE TABLE shop.orders (id INT PRIMARY KEY, what VARCHAR(20))")
        shard.sql("CREATE TABLE shop.stock (id INT PRIMARY KEY)")
        shard.sql("INSERT INTO shop.orders VALUES (1, 'sail'), (2, 'oar')")
        door.run("init")
        door.run("backup", "full", "s1")
        yield shard
    finally:
        door.json("sandbox", "down", "--dir", str(place))


@pytest.fixture(scope="module")
def dropped(shard: Shard) -> str:
    """The GTID of the transaction that dropped shop.orders."""
    with shard.door.start("archive", "run", "--json") as archiver:
        try:
            shard.sql("INSERT INTO shop.orders VALUES (3, 'anchor')")
            shard.sql("DROP TABLE shop.orders")
            shard.sql("INSERT INTO shop.stock VALUES (1), (2)")
            wait_for("all of it is archived", 120, shard.is_archived)
        finally:
            archiver.send_signal(signal.SIGTERM)
        out, err = archiver.communicate(timeout=60)
    # To be stopped is how it ends: no failure, and in a pipe no word on the way.
    assert (archiver.returncode, err) == (0, "")
    assert '"transactions"' in out
    found = shard.door.json("find", "s1", "--kind", "ddl", "--table", "shop.orders")["transactions"]
    return found[-1]["gtid"]


def test_the_archiver_stands_where_the_server_does(shard: Shard, dropped: str) -> None:
    (ran,) = shard.door.json("archive", "run", "--once")["shards"]
    assert ran["transactions"] == 0
    assert "none: all that s1-a has executed is archived" in shard.door.run("archive", "status")
    (plan,) = shard.door.json("archive", "purge", "--dry-run")["plans"]
    assert [file["goes"] for file in plan["files"]] == [False]
    assert "refused" not in shard.door.run("archive", "purge")
    assert "archive s1" in shard.door.run("check")


def test_what_dropped_the_table_is_shown(shard: Shard, dropped: str) -> None:
    assert "DROP TABLE" in shard.door.run("find", "s1", "--kind", "ddl")
    assert "DROP TABLE" in shard.door.run("show", "s1", dropped)


def test_the_table_is_back_as_it_was_just_before(shard: Shard, dropped: str) -> None:
    door, into = shard.door, shard.door.directory / "before"
    options = ("restore", "s1", "--into", str(into), "--before-gtid", dropped)
    planned = door.json(*options, "--dry-run")
    assert planned["stop_before"] == dropped
    assert [one["gtid"] for one in planned["neighbours"] if one["place"] == "stop"] == [dropped]
    assert f"stop  {dropped}" in door.run(*options, "--dry-run")
    assert not into.exists()
    restored = door.json(*options, "--leave", "running")
    try:
        assert restored["stopped_before"] == dropped
        assert rows_of(restored["left"], "SELECT what FROM shop.orders ORDER BY id") == (
            ("sail",),
            ("oar",),
            ("anchor",),
        )
        assert rows_of(restored["left"], "SELECT COUNT(*) FROM shop.stock") == ((0,),)
    finally:
        os.kill(restored["left"]["pid"], signal.SIGTERM)


def test_the_table_alone_is_back_as_sql_and_on_a_server(shard: Shard, dropped: str) -> None:
    door, directory = shard.door, shard.door.directory
    work, sql = directory / "work", directory / "orders.sql"
    options = ("restore", "s1", "--table", "shop.orders", "--into", str(work), "--sql", str(sql))
    refused = door.json(*options, "--latest", expect=36)["error"]
    assert refused["hint"] == f"The last point that has it is --before-gtid {dropped}."
    planned = door.json(*options, "--before-gtid", dropped, "--dry-run")
    assert (planned["transactions"], planned["stop_before"]) == (1, dropped)
    assert "shop.orders" in door.run(*options, "--before-gtid", dropped, "--dry-run")
    assert not work.exists()
    restored = door.json(*options, "--before-gtid", dropped, "--leave", "running")
    try:
        assert [(one["table"], one["rows"]) for one in restored["tables"]] == [("shop.orders", 3)]
        assert "anchor" in sql.read_text()
        assert rows_of(restored["left"], "SELECT COUNT(*) FROM shop.orders") == ((3,),)
        assert rows_of(restored["left"], "SHOW TABLES FROM shop LIKE 'orders'") == (("orders",),)
    finally:
        os.kill(restored["left"]["pid"], signal.SIGTERM)


def test_everything_up_to_now_is_there_but_what_dropped_it(shard: Shard, dropped: str) -> None:
    into = shard.door.directory / "without"
    options = ("--latest", "--skip-gtid", dropped, "--leave", "running")
    restored = shard.door.json("restore", "s1", "--into", str(into), *options)
    try:
        assert restored["skipped"] == dropped
        assert GtidSet.parse(restored["gtid_executed"]) == GtidSet.parse(shard.executed())
        assert rows_of(restored["left"], "SELECT COUNT(*) FROM shop.orders") == ((3,),)
        assert rows_of(restored["left"], "SELECT COUNT(*) FROM shop.stock") == ((2,),)
    finally:
        os.kill(restored["left"]["pid"], signal.SIGTERM)


def test_the_plan_of_all_shards_names_the_moment_of_each(shard: Shard, dropped: str) -> None:
    into = shard.door.directory / "all"
    (planned,) = shard.door.json("restore", "--all", "--latest", "--into", str(into), "--dry-run")["shards"]
    assert planned["target"] == str(into / "s1")
    told = shard.door.run("restore", "--all", "--latest", "--into", str(into), "--dry-run")
    assert "All shards stand at that very moment" in told
    assert not into.exists()


def test_a_standby_follows_and_is_promoted(shard: Shard, dropped: str) -> None:
    door, into = shard.door, str(shard.door.directory / "standby")

    def has_all() -> bool:
        status = door.json("standby", "status", into)
        return status["state"] == "following" and status["lag_transactions"] == 0

    with door.start("standby", "s1", "--into", into, "--json") as standby:
        try:
            wait_for("the standby is there", 120, (Path(into) / ".backstay-standby.json").exists)
            wait_for("the standby has all", 120, has_all)
            assert "follows the archive" in door.run("standby", "status", into)
            promoted = door.json("standby", "promote", into)
            standby.communicate(timeout=60)
        except BaseException:
            standby.kill()
            raise
    try:
        assert GtidSet.parse(promoted["gtid_executed"]) == GtidSet.parse(shard.executed())
        assert rows_of(promoted["left"], "SELECT @@super_read_only, @@log_bin") == ((0, 1),)
        assert standby.returncode == 0
    finally:
        os.kill(promoted["left"]["pid"], signal.SIGTERM)
    assert door.json("standby", "status", into, expect=40)["error"]["kind"] == "NotFound"
