"""A real backup outlives the key it was sealed with; a machine with half a key backs up and reads nothing."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from backup.archive.run import run_archiver
from backup.full import take_full_backup
from backup.incremental import plan_incremental_backup, take_incremental_backup
from fleet.clock import SystemClock
from fleet.errors import KeyUnusable
from fleet.model import Fleet
from infra.sandbox.dataset import checksums, create_dataset
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from repository.catalog import Catalog
from repository.introduction import introduce_key
from repository.key_pair import create_pair
from repository.keys import Keyring
from repository.retirement import retire
from repository.rotation import plan_rotation, rotate
from restore.full import Leave, RestoreResult, restore_backup
from restore.target import look_at
from tests.scenario.fleets import fleet_of, repository_of

pytestmark = pytest.mark.mysql

BECAUSE = "of key pair only the public half is here, so nothing can be read"


def with_keys(fleet: Fleet, *keys: dict[str, str]) -> Fleet:
    return Fleet.model_validate(fleet.model_dump(mode="json", exclude_unset=True) | {"keys": list(keys)})


def checksums_of(result: RestoreResult) -> dict[str, int | None]:
    """What the server that a restore left says; it is stopped afterwards."""
    assert result.left is not None
    try:
        with closing(pymysql.connect(unix_socket=str(result.left.socket), user="root")) as restored:
            return checksums(restored)
    finally:
        os.kill(result.left.pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while look_at(result.target).locked_by is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shutil.rmtree(result.left.socket.parent)


def test_a_backup_is_rotated_retired_and_restored_and_half_a_key_writes_the_next_one(
    scratch_server: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    create_pair(tmp_path / "pair.key", tmp_path / "pair.pub")
    fleet = fleet_of(scratch_server, folder=tmp_path, restore={"mysqld": str(mysql_distribution.mysqld)})
    old = {"id": "k1", "provider": "file", "file": str(tmp_path / "backstay.key")}
    private = {"id": "pair", "provider": "x25519", "private_key": str(tmp_path / "pair.key")}
    public = {"id": "pair", "provider": "x25519", "public_key": str(tmp_path / "pair.pub")}
    with closing(scratch_server.connect()) as connection:
        create_dataset(connection, 10)
        expected = checksums(connection)
    first = take_full_backup(fleet, "s1", repository=repository_of(fleet)).label

    both = with_keys(fleet, private, old)
    introduce_key(repository_of(fleet), Keyring.from_config(both.keys), "pair", SystemClock())
    assert rotate(repository_of(both), plan_rotation(repository_of(both))).wrapped == 1
    assert retire(repository_of(both), "k1", SystemClock()).deleted == 1
    with pytest.raises(KeyUnusable, match="does not know key k1; it knows pair"):
        repository_of(fleet)

    writing = with_keys(fleet, public)
    half = repository_of(writing)
    assert plan_incremental_backup(writing, "s1", repository=half).became_full_because == BECAUSE
    taken = take_incremental_backup(writing, "s1", repository=half)
    assert (taken.kind, taken.became_full_because) == ("full", BECAUSE)
    with pytest.raises(KeyUnusable, match="only the public half is here"):
        restore_backup(writing, "s1", tmp_path / "refused", repository=half, label=taken.label)
    assert not (tmp_path / "refused").exists()
    with pytest.raises(KeyUnusable, match="the archiver has to read what is stored"):
        run_archiver(writing, ["s1"], half, clock=SystemClock(), cancelled=threading.Event())

    reading = with_keys(fleet, private)
    whole = repository_of(reading)
    assert [each.label for each in Catalog(whole).backups()] == [first, taken.label]
    restored = restore_backup(
        reading, "s1", tmp_path / "data", repository=whole, label=first, leave=Leave.RUNNING, check="all"
    )
    assert all(check.passed for check in restored.checks)
    assert checksums_of(restored) == expected
