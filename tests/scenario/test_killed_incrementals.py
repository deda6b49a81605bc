"""kill -9 of ``backup incremental`` and ``backup consolidate``: the chain stays, and the next run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from fleet.model import Fleet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from repository.catalog import Catalog
from repository.repository import Repository
from restore.full import Leave, restore_backup
from restore.target import look_at
from tests.scenario.fleets import fill, fleet_of, repository_of, wait_free
from tests.scenario.test_a_killed_backup import written_config

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

STEPS = {
    "claimed": "keys/s1/*-{kind}/*",
    "packs": "data/s1/*-{kind}/p*",
    "index": "data/s1/*-{kind}/i*",
}
"""What lies in the repository when a step of a backup is done."""


class Shop:
    """A shard, its repository in a folder, and the command line."""

    def __init__(self, donor: ScratchServer, folder: Path) -> None:
        self.donor = donor
        self.fleet: Fleet = fleet_of(donor, folder=folder)
        self.repository: Repository = repository_of(self.fleet)
        self.config = written_config(self.fleet, folder, donor)
        self.store = folder / "repository"

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).parent / "backstay"), "--config", str(self.config), *words, "--json"]

    def run(self, *words: str) -> dict[str, Any]:
        finished = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=120, check=False
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return json.loads(finished.stdout)

    def kill(self, *words: str, at: Callable[[], bool]) -> bool:
        """Run a command and kill it as soon as ``at`` is reached; False if it was through before."""
        process = subprocess.Popen(self.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not at():
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        return process.wait() == -signal.SIGKILL

    def objects(self, pattern: str) -> set[Path]:
        return set(self.store.glob(pattern))

    def labels(self) -> list[str]:
        """Every backup can be read, and its chain is whole."""
        survey = Catalog(self.repository).survey("s1")
        assert survey.unreadable == ()
        return [backup.label for backup in survey.backups]


def reached(shop: Shop, step: str, kind: str) -> Callable[[], bool]:
    pattern = STEPS[step].format(kind=kind)
    before = shop.objects(pattern)
    return lambda: shop.objects(pattern) > before


def test_what_is_killed_leaves_the_chain_and_the_next_run_goes_on(
    scratch_server: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    fill(scratch_server, 20_000)
    shop = Shop(scratch_server, tmp_path)
    (full,) = shop.run("backup", "full", "s1")["backups"]
    known = [full["label"]]
    for step in ("claimed", "packs"):
        scratch_server.query("UPDATE app.items SET pad = REVERSE(pad) WHERE id % 50 = 0")
        killed = shop.kill("backup", "incremental", "s1", at=reached(shop, step, "incremental"))
        wait_free(scratch_server, 6)
        new = [label for label in shop.labels() if label not in known]
        # Whoever was faster than the signal has made a whole backup.
        assert len(new) <= 1
        assert killed or new
        known += new
    assert not list(tmp_path.glob(".backstay-spool-*"))
    scratch_server.query("DELETE FROM app.items WHERE id % 3 = 0")
    (newest,) = shop.run("backup", "incremental", "s1")["backups"]
    assert (newest["kind"], newest["base"]) == ("incremental", known[-1])
    known.append(newest["label"])

    for step in ("claimed", "index"):
        words = ("backup", "consolidate", "s1", "--backup", newest["label"])
        shop.kill(*words, at=reached(shop, step, "full"))
        made = [label for label in shop.labels() if label not in known]
        assert len(made) <= 1
    first = shop.run("backup", "consolidate", "s1", "--backup", newest["label"])
    again = shop.run("backup", "consolidate", "s1", "--backup", newest["label"])
    assert (again["found"], again["label"]) == ("consolidated", first["label"])
    assert sorted([*known, first["label"]]) == shop.labels()

    # The next chain begins on the full that was made without the server.
    scratch_server.query("UPDATE app.items SET pad = REVERSE(pad) WHERE id % 7 = 0")
    (last,) = shop.run("backup", "incremental", "s1")["backups"]
    assert last["base"] == first["label"]
    verified = shop.run("verify", "s1", "--all")
    assert verified["sound"]
    assert len(verified["backups"]) == len(known) + 2
    expected = state_of(scratch_server)
    assert_restores(shop, mysql_distribution, last["label"], expected, tmp_path / "data")


def state_of(server: ScratchServer) -> dict[str, int | None]:
    with closing(server.connect()) as connection:
        return checksums(connection)


def assert_restores(
    shop: Shop,
    distribution: MysqlDistribution,
    label: str,
    expected: dict[str, int | None],
    target: Path,
) -> None:
    fleet = fleet_of(shop.donor, folder=shop.store.parent, restore={"mysqld": str(distribution.mysqld)})
    result = restore_backup(fleet, "s1", target, label=label, repository=shop.repository, leave=Leave.RUNNING)
    assert result.left is not None
    try:
        with closing(pymysql.connect(unix_socket=str(result.left.socket), user="root")) as restored:
            assert checksums(restored) == expected
    finally:
        os.kill(result.left.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while look_at(target).locked_by is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
