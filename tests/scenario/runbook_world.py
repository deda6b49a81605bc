"""A sandbox in which things go wrong: a symptom for each chapter of RUNBOOK.md, and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.server import MysqlServer
from tests.scenario.doors import Door, wait_for

Values: TypeAlias = dict[str, str]
"""What a reader puts in place of the values of the page: of lines such as ``gtid=...``."""


class World:
    """A shard of two servers, a bucket with versions, a mirror; a full, and an archive that runs by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "sandbox"
        self.config = self.place / "backstay.toml"
        self.door = Door(self.config, folder)
        self.text = ""

    def begin(self) -> None:
        """Start it, and fill it."""
        folder = self.folder
        self.door.run("sandbox", "up", "--replicas", "1")
        self.text = self.config.read_text()
        self.text = self.with_setting("mirror", f'url = "file://{folder}/mirror"')
        # How full this machine's disk is, is no matter here.
        self.text = self.with_setting("alerts", "disk_percent = 100.0")
        self.text = self.with_setting("proof", f'directory = "{folder}/proofs"')
        self.config.write_text(self.text)
        self.fleet = SandboxFleet.load(self.place)
        self._write_client_options()
        self.sql("CREATE DATABASE shop")
        self.sql("CREATE TABLE shop.orders (id INT PRIMARY KEY, what VARCHAR(20), price INT)")
        self.sql("INSERT INTO shop.orders VALUES (1, 'sail', 100), (2, 'oar', 20), (3, 'anchor', 70)")
        self.sql("CREATE TABLE shop.stock (id INT AUTO_INCREMENT PRIMARY KEY)")
        for command in (("init",), ("backup", "full", "s1"), ("archive", "run", "--once")):
            self.door.run(*command)
        self.door.run("mirror", "run", "--once")

    def close(self) -> None:
        self.door.json("sandbox", "down", "--dir", str(self.place))

    @property
    def environment(self) -> dict[str, str]:
        """What a shell of the reader has."""
        programs = f"{Path(sys.executable).parent}:{self.fleet.state.bin}"
        return {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "COLUMNS": "80",
            "BACKSTAY_CONFIG": str(self.config),
        }

    @property
    def places(self) -> dict[str, str]:
        """Where things lie here, and where a reader has them."""
        return {
            str(self.place): "/etc/backstay",
            f"{self.folder}/disk": "/var/lib/backstay/proofs",
            str(self.folder): "/srv",
        }

    def server(self, name: str) -> MysqlServer:
        return self.fleet.server(name)

    def sql(self, statement: str, server: str = "s1-a") -> list[dict[str, Any]]:
        return self.server(server).query(statement)

    def write(self) -> None:
        """A transaction more."""
        self.sql("INSERT INTO shop.stock VALUES ()")

    def archive(self) -> None:
        self.door.run("archive", "run", "--once")

    def caught_up(self) -> None:
        self.fleet.shard("s1").wait_caught_up()

    def revive(self) -> None:
        """Start what was killed."""
        self.door.run("sandbox", "up")
        self.fleet = SandboxFleet.load(self.place)

    def kill_store(self) -> None:
        assert self.fleet.store
        self.fleet.store.kill()

    def with_setting(self, section: str, line: str) -> str:
        """The configuration with a setting more."""
        head = f"[{section}]\n"
        text = self.text if head in self.text else f"{self.text}\n{head}"
        return text.replace(head, f"{head}{line}\n")

    def reset(self) -> None:
        """The configuration as it was."""
        self.config.write_text(self.text)

    def objects(self, part: str) -> list[str]:
        """Names in the repository that hold ``part``, sorted."""
        assert self.fleet.store
        found = self.fleet.store.client().list_objects_v2(Bucket="backstay", Prefix="fleet/")["Contents"]
        return sorted(each["Key"] for each in found if part in each["Key"])

    def overwrite(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """As somebody does who has the keys of the bucket."""
        assert self.fleet.store
        client = self.fleet.store.client()
        content: bytes = client.get_object(Bucket="backstay", Key=name)["Body"].read()
        client.put_object(Bucket="backstay", Key=name, Body=change(content))

    def delete(self, name: str) -> None:
        assert self.fleet.store
        self.fleet.store.client().delete_object(Bucket="backstay", Key=name)

    def found(self, *arguments: str) -> str:
        """The newest GTID that ``find`` names."""
        return self.door.json("find", "s1", *arguments)["transactions"][-1]["gtid"]

    def _write_client_options(self) -> None:
        groups = [("client", "s1-a"), ("client-s1-b", "s1-b")]
        text = "".join(f"[{name}]\nuser=root\nsocket={self.server(of).socket}\n" for name, of in groups)
        (self.folder / ".my.cnf").write_text(text)


def moment() -> str:
    """Now, with a second to itself: the store's clock tells no more."""
    time.sleep(1.1)
    at = datetime.now(UTC)
    time.sleep(1.1)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


Symptom: TypeAlias = Generator[Values | None]
"""Makes it, yields the values; goes on where the page says that somebody has done something by hand (one
``yield`` for each further block of commands), and takes back at last what is left of it."""


def nothing(world: World) -> Symptom:
    yield {}


def not_followed(world: World) -> Symptom:
    # The source finds out that somebody left when it has something to say to him.
    wait_for("the replica alone follows", 60, lambda: len(world.sql("SHOW REPLICAS")) == 1)
    yield {}


def not_archived(world: World) -> Symptom:
    world.write()
    yield {}


def all_archived(world: World) -> Symptom:
    world.archive()
    yield {}


def table_dropped(world: World) -> Symptom:
    world.sql("CREATE TABLE shop.carts (id INT PRIMARY KEY)")
    world.sql("INSERT INTO shop.carts VALUES (1), (2)")
    world.sql("DROP TABLE shop.carts")
    world.archive()
    yield {"gtid": world.found("--kind", "ddl", "--table", "shop.carts")}


def rows_changed(world: World) -> Symptom:
    before = moment()
    world.sql("UPDATE shop.orders SET price = 0")
    world.archive()
    yield {"before": before}


def versions_deleted(world: World) -> Symptom:
    since = moment()
    world.delete(world.objects("manifests/s1/")[-1])
    yield {"since": since}


def key_lost(world: World) -> Symptom:
    key, copy = world.place / "secrets/key", world.folder / "copy.key"
    key.rename(copy)
    yield {"key": str(key), "copy": str(copy)}


def no_backstay(world: World) -> Symptom:
    copy = world.folder / "copy"
    subprocess.run(["cp", "-r", world.folder / "mirror", copy], check=True)
    yield {"key": str(world.place / "secrets/key")}


def store_gone(world: World) -> Symptom:
    world.kill_store()
    try:
        yield {}
    finally:
        world.revive()


def store_comes_back(world: World) -> Symptom:
    world.kill_store()
    try:
        yield {}
    finally:
        world.revive()
    yield {}


def clock_ahead(world: World) -> Symptom:
    # The machine's clock is everybody's here: so each session of that server is told another time.
    world.sql("SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP(SYSDATE(6)) + 90'")
    try:
        yield {}
    finally:
        world.sql("SET GLOBAL init_connect = ''")
    yield {}


def replica_down(world: World) -> Symptom:
    world.server("s1-b").kill()
    try:
        yield {}
    finally:
        world.revive()
    world.caught_up()
    yield {}


def replica_stopped(world: World) -> Symptom:
    world.sql("STOP REPLICA SQL_THREAD", "s1-b")
    world.write()
    try:
        yield {}
    finally:
        world.sql("START REPLICA SQL_THREAD", "s1-b")
        world.caught_up()


def fresh_repository(world: World) -> Symptom:
    world.config.write_text(world.text.replace("s3://backstay/fleet", "s3://backstay/fresh"))
    try:
        world.door.run("init")
        yield {}
    finally:
        world.reset()


def mirror_behind(world: World) -> Symptom:
    world.write()
    world.archive()
    yield {}


def pack_damaged(world: World) -> Symptom:
    since = moment()
    pack = [name for name in world.objects("data/s1/") if name.endswith("-full/p00000000")][-1]
    world.overwrite(pack, _one_bit_other)
    try:
        yield {"since": since}
    finally:
        world.door.run("undelete", "--since", since, "--yes")


def _one_bit_other(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]


def manifest_damaged(world: World) -> Symptom:
    since = moment()
    world.overwrite(world.objects("manifests/s1/")[-1], lambda whole: whole[:-1])
    try:
        yield {"since": since}
    finally:
        world.door.run("undelete", "--since", since, "--yes")


def hour_is_too_long(world: World) -> Symptom:
    world.config.write_text(world.with_setting("targets", "rto_seconds = 1"))
    try:
        yield {}
    finally:
        world.reset()


def not_semi_sync(world: World) -> Symptom:
    world.config.write_text(world.with_setting("archive", 'mode = "local-sync"'))
    try:
        yield {}
    finally:
        world.sql("SET PERSIST rpl_semi_sync_source_enabled = OFF")
        world.reset()


@contextmanager
def small_disk(folder: Path) -> Generator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def disk_full(world: World) -> Symptom:
    with small_disk(world.folder) as disk:
        world.config.write_text(world.text.replace(f"{world.folder}/proofs", str(disk)))
        try:
            yield {"disk": str(disk)}
        finally:
            world.reset()
        yield {}


def config_broken(world: World) -> Symptom:
    world.config.write_text(world.text.replace("donor =", "donr ="))
    try:
        yield {}
    finally:
        world.reset()
    yield {}


def page_corrupt(world: World) -> Symptom:
    server = world.server("s1-b")
    world.caught_up()
    server.stop()
    (file,) = server.datadir.glob("shop/orders.ibd")
    content = bytearray(file.read_bytes())
    whole = bytes(content)
    content[4 * 16384 + 200] ^= 0xFF
    file.write_bytes(content)
    world.revive()
    try:
        yield {}
    finally:
        world.server("s1-b").stop()
        file.write_bytes(whole)
        world.revive()
        world.caught_up()


def binlogs_lost(world: World) -> Symptom:
    """Written, purged on both servers, and never archived."""
    world.archive()
    world.write()
    world.caught_up()
    for name in ("s1-a", "s1-b"):
        world.sql("FLUSH BINARY LOGS", name)
        newest = world.sql("SHOW BINARY LOGS", name)[-1]["Log_name"]
        wait_for("old binlogs go", 30, lambda of=name, to=newest: _purged(world, of, to))
    world.write()
    world.archive()
    yield {}


def _purged(world: World, server: str, newest: str) -> bool:
    world.sql(f"PURGE BINARY LOGS TO '{newest}'", server)
    return len(world.sql("SHOW BINARY LOGS", server)) == 1


def failed_over(world: World) -> Symptom:
    """The primary dies with a transaction that only the archive has; the replica takes over."""
    world.caught_up()
    world.sql("STOP REPLICA", "s1-b")
    world.sql("INSERT INTO shop.orders VALUES (9, 'compass', 40)")
    world.archive()
    world.server("s1-a").kill()
    world.sql("RESET REPLICA ALL", "s1-b")
    world.sql("SET GLOBAL super_read_only = OFF", "s1-b")
    world.sql("SET GLOBAL read_only = OFF", "s1-b")
    world.sql("INSERT INTO shop.stock VALUES ()", "s1-b")
    yield {}


SYMPTOMS: dict[str, Callable[[World], Symptom]] = {
    "Start here": not_followed,
    "archive-stopped": not_archived,
    "archive-lag": not_archived,
    "A table was dropped": table_dropped,
    "A deploy changed rows": rows_changed,
    "A shard is lost": not_archived,
    "Somebody deleted or encrypted the bucket": versions_deleted,
    "key-unusable": key_lost,
    "Without Backstay": no_backstay,
    "A region is lost, with its bucket": store_gone,
    "repository-unreachable": store_comes_back,
    "clock": clock_ahead,
    "server-unreachable": replica_down,
    "replication-lag": replica_stopped,
    "no-backup": fresh_repository,
    "backup-failed": nothing,
    "backup-overdue": nothing,
    "notify-failed": nothing,
    "mirror-lag": mirror_behind,
    "proof-failed": pack_damaged,
    "damage": pack_damaged,
    "proof-overdue": all_archived,
    "rto-over-target": hour_is_too_long,
    "retention-refused": manifest_damaged,
    "settings": nothing,
    "fell-to-async": not_semi_sync,
    "disk-full": disk_full,
    "The configuration was changed, and is wrong": config_broken,
    "scheduler-down": nothing,
    "A page of the donor is corrupt": page_corrupt,
    "archive-gap": binlogs_lost,
    "archive-branch": failed_over,
}
"""In the order in which they are played: some leave a trace that others would stumble over."""
