"""kill -9 of a backup at any moment: the donor is free, nothing half done is seen, the next run works."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backup.full import take_full_backup
from fleet.model import Fleet
from infra.sandbox.scratch import ScratchServer
from repository.catalog import Catalog
from tests.scenario.fleets import fill, fleet_of, repository_of, wait_free

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

MIB = 1024 * 1024
ROUNDS = 6


def written_config(fleet: Fleet, folder: Path, scratch: ScratchServer) -> Path:
    """``fleet`` as a ``backstay.toml``."""
    server = fleet.shards[0].servers[0]
    password = fleet.accounts.backup.password.file
    text = f"""
name = "test"
regions = ["{server.region}"]
[accounts.backup]
user = "{fleet.accounts.backup.user}"
password = {{ file = "{password}" }}
[repository]
url = "{fleet.repository.url}"
[[keys]]
id = "k1"
provider = "file"
file = "{fleet.keys[0].file}"
[backup]
donor = "primary"
retries = 0
rate_bytes_per_second = {60 * MIB}
[[shards]]
name = "s1"
[[shards.servers]]
name = "{server.name}"
host = "{server.host}"
port = {server.port}
region = "{server.region}"
role = "primary"
tls = {{ mode = "verify-identity", ca = "{server.tls.ca}" }}
"""
    path = folder / "backstay.toml"
    path.write_text(text)
    return path


def test_a_killed_backup_holds_nothing_and_the_next_one_works(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fill(scratch_server, 40_000)
    fleet = fleet_of(scratch_server, folder=tmp_path)
    repository = repository_of(fleet)
    config = written_config(fleet, tmp_path, scratch_server)
    chance = random.Random(4)
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [Path(sys.executable).parent / "backstay", "--config", str(config), "backup", "full", "s1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.6, 2.2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_free(scratch_server, 6)
        assert [found.label for found in Catalog(repository).backups()] == []
    assert not list(tmp_path.glob(".backstay-spool-*"))
    began = time.monotonic()
    result = take_full_backup(fleet, "s1", repository=repository)
    assert time.monotonic() - began < 15, "the donor was held by what the dead left behind"
    assert [found.label for found in Catalog(repository).backups()] == [result.label]
