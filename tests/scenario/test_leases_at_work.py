"""Who is really at work holds a lease on what it needs; who is killed leaves one that ends by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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
from tests.archives import executed
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
run_standby(fleet, "s1", Path(sys.argv[2]), repository=repository_of(fleet), lease_seconds=6)
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
                # A folder on this machine goes by this machine's clock.
                found = self._leases.in_force(datetime.now(UTC))
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
        leases, applied = Leases(shard.repository), executed(shard.primary)

        def of_the_backup() -> list[Lease]:
            return [lease for lease in in_force(shard) if lease.kind == "backup"]

        kill_once(of_the_backup, shard, BACKUP, tmp_path / "backup")
        (left,) = of_the_backup()
        (own,) = left.labels
        assert own != label

        def of_a_standby_that_came_to_the_end() -> list[Lease]:
            # What it has applied it needs no more, and of the backup nothing.
            told = [(lease, lease.gtids_from) for lease in in_force(shard) if lease.kind == "standby"]
            return [lease for lease, gtids in told if gtids and applied <= gtids and not lease.labels]

        seen, *_ = kill_once(of_a_standby_that_came_to_the_end, shard, STANDBY, tmp_path / "standby")
        kinds = {lease.kind for lease in leases.in_force(seen.until - timedelta(seconds=1))}
        assert kinds == {"backup", "standby"}

        now = ask_store_time(shard.repository.store).now
        assert leases.in_force(now + timedelta(seconds=6)) == (left,)
        assert leases.in_force(now + timedelta(minutes=15)) == ()
        assert len(leases.left_over(now + timedelta(days=1))) >= 2


def kill_once(seen: Callable[[], list[Lease]], shard: ArchivedShard, script: str, into: Path) -> list[Lease]:
    """Run ``script`` in a process of its own, and end it with SIGKILL as soon as that lease is ``seen``."""
    config = into.with_suffix(".json")
    config.write_text(slow(shard.fleet).model_dump_json(exclude_unset=True))
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(config), str(into)], cwd=Path(__file__).parents[2]
    )
    try:
        found = wait_until(seen)
        assert run.poll() is None
    finally:
        run.kill()
        run.wait()
    # Its server, if it had one, is ended by a guardian.
    wait_until(lambda: not into.exists() or locked_by(into) is None)
    return found


def slow(fleet: Fleet) -> Fleet:
    """Its donors send slowly."""
    policy = fleet.backup.model_copy(update={"rate_bytes_per_second": SLOW_BYTES_PER_SECOND})
    return fleet.model_copy(update={"backup": policy})


def wait_until(seen: Callable[[], Any], seconds: float = 60) -> Any:
    """What ``seen`` tells, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
