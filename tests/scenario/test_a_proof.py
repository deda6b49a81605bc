"""A shard is proven: restored to now and deleted again; and what comes of it when something is wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drills.proof_source import ask_source
from fleet.config import load
from fleet.gtid import GtidSet
from infra.sandbox.distribution import MysqlDistribution
from restore.target import locked_by
from tests.scenario.doors import Door, wait_for

pytestmark = pytest.mark.mysql


class Shard:
    """A sandbox of one server, whose repository is a folder; everything is done by commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "fleet"
        self.proofs = folder / "proofs"
        self.door = Door(self.place / "backstay.toml", folder)

    def sql(self, statement: str) -> list[dict[str, str | None]]:
        return self.door.json("sandbox", "sql", "--dir", str(self.place), "s1", statement)["rows"]

    def records(self) -> list[dict[str, Any]]:
        found = self.door.json("proof", "list", "s1")["proofs"]
        return [each for each in found if each["purpose"] == "proof"]

    def left(self) -> list[str]:
        return sorted(path.name for path in self.proofs.glob("*"))

    def runs_a_server(self) -> bool:
        """A proof is at work, and its private server with it."""
        return any(path.is_dir() and locked_by(path) is not None for path in self.proofs.glob("*"))

    def packs(self) -> list[Path]:
        (data,) = self.place.rglob("data/s1")
        return sorted(data.rglob("*-full/p*"))


@pytest.fixture(scope="module")
def shard(scratch_directory: Path, mysql_distribution: MysqlDistribution) -> Iterator[Shard]:
    """A full, then writes that are archived, then two that are not."""
    folder = scratch_directory / "proof"
    folder.mkdir()
    shard = Shard(folder)
    place = str(shard.place)
    shard.door.run("sandbox", "up", "--dir", place, "--replicas", "0", "--store", "file")
    try:
        with shard.door.config.open("a") as config:
            config.write(f'\n[proof]\ndirectory = "{shard.proofs}"\n')
        shard.sql("CREATE DATABASE shop")
        shard.sql("CREATE TABLE shop.orders (id INT PRIMARY KEY, what VARCHAR(20))")
        shard.door.run("init")
        shard.door.run("backup", "full", "s1")
        shard.sql("INSERT INTO shop.orders VALUES (1, 'sail'), (2, 'oar')")
        shard.sql("INSERT INTO shop.orders VALUES (3, 'anchor')")
        shard.door.run("archive", "run", "--once")
        shard.sql("INSERT INTO shop.orders VALUES (4, 'rope')")
        shard.sql("INSERT INTO shop.orders VALUES (5, 'bell')")
        yield shard
    finally:
        shard.door.json("sandbox", "down", "--dir", place)


def test_a_shard_is_restored_to_now_and_the_loss_is_measured(shard: Shard) -> None:
    before = shard.sql("SELECT @@gtid_executed AS gtids")[0]["gtids"] or ""
    planned = shard.door.json("proof", "run", "--dry-run")
    assert (planned["shard"], planned["alone"]) == ("s1", None)
    assert not shard.proofs.exists()
    proven = shard.door.json("proof", "run")
    assert (proven["shard"], proven["proven"], proven["transactions"]) == ("s1", True, 2)
    assert (GtidSet.parse(before) - GtidSet.parse(proven["gtid_executed"])).count() == 2
    assert proven["rpo_transactions"] == 2
    assert 0 < proven["rpo_seconds"] < 900
    assert 0 < proven["rto_seconds"] <= proven["seconds"]
    assert shard.left() == []
    (record,) = shard.records()
    for key in ("label", "proven", "reached_at", "rto_seconds", "rpo_seconds", "rpo_transactions"):
        assert record[key] == proven[key]
    # It writes nothing to the shard, and no restored server is noted in its archive.
    assert shard.sql("SELECT @@gtid_executed AS gtids")[0]["gtids"] == before
    assert not list(shard.folder.rglob("repository/archive/s1/*/lives/*"))


def test_a_proof_that_is_killed_is_cleaned_up_by_the_next_and_one_may_be_kept(shard: Shard) -> None:
    with shard.door.start("proof", "run", "s1") as killed:
        wait_for("its server runs", 120, shard.runs_a_server)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=60)
    left = shard.left()
    assert len(left) == 2
    before = len(shard.records())
    with shard.door.start("proof", "run", "s1", "--keep", "--json") as process:
        out, told = process.communicate(timeout=240)
    proven = json.loads(out)
    assert proven["proven"]
    assert "deleting what a proof that was killed left behind" in told
    assert shard.left() == [Path(proven["kept"]).name]
    assert left[0] not in shard.left()
    assert (Path(proven["kept"]) / "shop" / "orders.ibd").exists()
    assert len(shard.records()) == before + 1
    shutil.rmtree(proven["kept"])


def test_a_proof_that_is_stopped_leaves_nothing_and_says_nothing(shard: Shard) -> None:
    before = shard.records()
    with shard.door.start("proof", "run") as stopped:
        wait_for("its server runs", 120, shard.runs_a_server)
        stopped.send_signal(signal.SIGTERM)
        stopped.communicate(timeout=60)
    assert stopped.returncode == 143
    assert shard.left() == []
    assert shard.records() == before


def test_a_disk_that_is_too_small_is_told_before_a_byte_is_fetched(shard: Shard, tmp_path: Path) -> None:
    before = shard.records()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs to mount a small tmpfs")
    config = shard.place / "small.toml"
    config.write_text(shard.door.config.read_text().replace(str(shard.proofs), str(tmp_path)))
    try:
        error = Door(config, shard.place).json("proof", "run", expect=31)["error"]
        left = list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert "are needed" in error["message"]
    assert "8.3" in error["message"]
    assert left == []
    assert shard.records() == before


@pytest.mark.parametrize("damage", ["a byte of a pack", "an index part is gone"])
def test_a_damaged_backup_is_recorded_as_not_proven(shard: Shard, damage: str) -> None:
    place = shard.packs()[0] if damage == "a byte of a pack" else shard.packs()[0].with_name("i000000")
    whole = place.read_bytes()
    if damage == "a byte of a pack":
        place.chmod(0o600)
        place.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    else:
        place.unlink()
    try:
        failed = shard.door.json("proof", "run", "s1", expect=33)
        told = shard.door.run("proof", "list")
    finally:
        place.write_bytes(whole)
    assert (failed["proven"], failed["rto_seconds"], failed["error"]["kind"]) == (False, None, "ProofFailed")
    assert place.name in failed["problem"]
    assert shard.left() == []
    newest = shard.records()[0]
    assert (newest["proven"], newest["label"]) == (False, failed["label"])
    assert place.name in newest["problem"]
    assert "FAILED" in told


def test_a_backup_that_the_archive_has_not_reached_is_proven_alone(shard: Shard) -> None:
    shard.door.run("backup", "full", "s1")
    proven = shard.door.json("proof", "run", "s1")
    assert proven["proven"]
    assert proven["alone"] == "the archive has not come as far as this backup yet"
    assert (proven["rpo_transactions"], proven["rpo_seconds"], proven["reached_at"]) == (0, 0, None)
    assert shard.left() == []


def test_a_primary_that_does_not_answer_leaves_the_loss_unknown(shard: Shard) -> None:
    fleet = load(shard.door.config)
    assert ask_source(fleet, "s1").gtids
    gone = fleet.shards[0].servers[0].model_copy(update={"socket": None, "port": 1})
    away = fleet.shards[0].model_copy(update={"servers": (gone,)})
    executed = ask_source(fleet.model_copy(update={"shards": (away,)}), "s1")
    assert executed.gtids is None
    assert (executed.unknown or "").startswith("no primary answers (s1-a: ")
