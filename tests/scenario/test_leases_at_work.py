"""Who is really at work holds a lease on what it needs; who is killed leaves one that ends by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.gtid import GtidSet
from fleet.model import Fleet
from infra.sandbox.distribution import MysqlDistribution
from repository import layout
from repository.catalog import Catalog
from repository.leases import Lease, Leases
from repository.repository import Repository
from repository.store_clock import ask_store_time
from restore.point import RecoveryTarget
from restore.target import locked_by
from tests.scenario.archived_shards import ArchivedShard, archived_shard, create_tables, write

pytestmark = pytest.mark.mysql

# So slow that nothing but SIGKILL ends it.
SLOW_BYTES_PER_SECOND = 1 << 20

BACKUP = """
import sys
from pathlib import Path
from backup.full import take_full_backup
from fleet.model import Fleet
from tests.scenario.fleets import repository_of

fleet = Fleet.model_validate_json(Path(sys.argv[1]).read_text())
take_full_backup(fleet, "s1", repository=repository_of(fleet))
"""

STANDBY = """
import sys
from pathlib import Path
from fleet.model import Fleet
from restore.standby import run_standby
from tests.scenario.fleets import repository_of

fleet = Fleet.model_validate_json(Path(sys.argv[1]).read_text())
run_standby(fleet, "s1", Path(sys.argv[2]), repository=repository_of(fleet))
"""


class Watched:
    """A store that looks at the leases in force whenever data of a backup or the archive is put, or read."""

    def __init__(self, repository: Repository) -> None:
        self.seen: dict[str, list[tuple[Lease, ...]]] = {}
        self._inner = repository.store
        self._leases = Leases(repository)
        self.repository = Repository(self, repository.description, repository.keys)  # type: ignore[arg-type]

    def put(self, key: str, *rest: Any, **more: Any) -> Any:
        self._look(key)
        return self._inner.put(key, *rest, **more)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self._look(key)
        return self._inner.get_range(key, offset, length)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _look(self, key: str) -> None:
        for prefix in (layout.DATA, layout.ARCHIVE):
            if key.startswith(prefix):
                found = self._leases.in_force(ask_store_time(self._inner).now)
                self.seen.setdefault(prefix, []).append(found)


def in_force(shard: ArchivedShard) -> tuple[Lease, ...]:
    return Leases(shard.repository).in_force(ask_store_time(shard.repository.store).now)


def test_a_backup_and_a_restore_to_a_point_hold_leases_while_they_run(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> None:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        create_tables(shard.primary, ("items",))
        plain = shard.repository

        watched = Watched(plain)
        shard.repository = watched.repository
        label = shard.back_up()
        for (lease,) in watched.seen[layout.DATA]:
            assert (lease.kind, lease.labels, lease.gtids_from) == ("backup", (label,), None)

        write(shard.primary, "items", 20)
        shard.archiver.run()
        low = GtidSet.parse(Catalog(plain).manifest("s1", label).gtid.low)
        watched = Watched(plain)
        shard.repository = watched.repository
        shard.restore(tmp_path / "data", RecoveryTarget.latest(), check="none")
        # Before there is a plan there is nothing to hold.
        assert watched.seen.keys() == {layout.DATA, layout.ARCHIVE}
        for seen in watched.seen.values():
            (lease,) = seen[-1]
            assert (lease.kind, lease.labels, lease.gtids_from) == ("restore", (label,), low)
        assert list(plain.store.list(layout.LEASES)) == []


def test_who_is_killed_leaves_a_lease_that_ends_by_itself(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> None:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        create_tables(shard.primary, ("items",))
        label = shard.back_up()
        write(shard.primary, "items", 20)
        shard.archiver.run()

        kill_once_it_has_a_lease(shard, BACKUP, tmp_path / "backup")
        (left,) = in_force(shard)
        assert left.kind == "backup"
        (own,) = left.labels
        assert own != label

        kill_once_it_has_a_lease(shard, STANDBY, tmp_path / "standby")
        standby = next(lease for lease in in_force(shard) if lease.kind == "standby")
        assert standby.labels == (label,)
        assert standby.gtids_from == GtidSet.parse(Catalog(shard.repository).manifest("s1", label).gtid.low)

        now = ask_store_time(shard.repository.store).now
        assert max(left.until, standby.until) <= now + timedelta(minutes=15)
        assert Leases(shard.repository).in_force(now + timedelta(minutes=15)) == ()
        assert len(Leases(shard.repository).left_over(now + timedelta(days=1))) == 2


def kill_once_it_has_a_lease(shard: ArchivedShard, script: str, into: Path) -> None:
    """Run ``script`` in a process of its own, and end it with SIGKILL as soon as one more lease is there."""
    before = len(in_force(shard))
    config = into.with_suffix(".json")
    config.write_text(slow(shard.fleet).model_dump_json(exclude_unset=True))
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(config), str(into)], cwd=Path(__file__).parents[2]
    )
    try:
        wait_until(lambda: len(in_force(shard)) > before)
        assert run.poll() is None
    finally:
        run.kill()
        run.wait()
    # Its server, if it had one, is ended by a guardian.
    wait_until(lambda: not into.exists() or locked_by(into) is None)


def slow(fleet: Fleet) -> Fleet:
    """Its donors send slowly."""
    policy = fleet.backup.model_copy(update={"rate_bytes_per_second": SLOW_BYTES_PER_SECOND})
    return fleet.model_copy(update={"backup": policy})


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
