"""A warm standby: it follows the archive, outlives kills, and takes writes once it is promoted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import NotFound, TargetRefused
from fleet.gtid import GtidSet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from restore.full import restore_backup
from restore.journal import JOURNAL_NAME, is_held
from restore.point import RecoveryTarget
from restore.standby import StandbyStatus, promote, run_standby, status
from restore.target import locked_by
from tests.scenario.archived_shards import ArchivedShard, Moment, archived_shard, create_tables, write
from tests.scenario.test_restore_backup import opened, rows

pytestmark = pytest.mark.mysql

SCRIPT = """
import sys
from pathlib import Path
from fleet.model import Fleet
from restore.standby import run_standby
from tests.scenario.fleets import repository_of

fleet = Fleet.model_validate_json(Path(sys.argv[1]).read_text())
run_standby(fleet, "s1", Path(sys.argv[2]), repository=repository_of(fleet))
"""


@contextmanager
def process(shard: ArchivedShard, into: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A standby in a process of its own."""
    config = into.with_suffix(".json")
    config.write_text(shard.fleet.model_dump_json(exclude_unset=True))
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(config), str(into)], cwd=Path(__file__).parents[2]
    )
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def wait_until(is_so: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has(into: Path, gtids: GtidSet) -> bool:
    try:
        found = status(into)
    except NotFound:
        return False
    return gtids <= GtidSet.parse(found.gtid_executed)


def archived_now(shard: ArchivedShard) -> Moment:
    shard.archiver.run()
    return Moment.of(shard.primary)


def test_a_standby_follows_is_killed_goes_on_and_is_promoted(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> None:
    into = tmp_path / "standby"
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        create_tables(shard.primary, ("items",))
        shard.back_up()
        write(shard.primary, "items", 50)
        first = archived_now(shard)
        with process(shard, into) as run:
            wait_until(lambda: has(into, first.gtids))
            write(shard.primary, "items", 50)
            second = archived_now(shard)
            wait_until(lambda: has(into, second.gtids))
            now = status(into)
            assert (now.state, now.lag_transactions, now.lag_seconds) == ("following", 0, 0.0)
            assert now.pid == run.pid
            server = locked_by(into)
            assert server
            os.kill(server, signal.SIGKILL)
            write(shard.primary, "items", 20)
            shard.primary.query("FLUSH BINARY LOGS")
            write(shard.primary, "items", 20)
            third = archived_now(shard)
            wait_until(lambda: has(into, third.gtids))
            assert run.poll() is None
            run.kill()
            run.wait()
        assert status(into).state == "stopped"
        wait_until(lambda: locked_by(into) is None)
        with pytest.raises(TargetRefused, match="a standby"):
            restore_backup(shard.fleet, "s1", into, repository=shard.repository)
        write(shard.primary, "items", 30)
        with process(shard, into) as run:
            last = archived_now(shard)
            wait_until(lambda: has(into, last.gtids))
            # From here on there is nothing but the repository and the key.
            shard.primary.kill()
            with pytest.raises(TargetRefused, match="beyond the point"):
                promote(
                    shard.fleet,
                    "s1",
                    into,
                    repository=shard.repository,
                    target=RecoveryTarget.exactly(first.gtids),
                )
            assert run.poll() is None
            result = promote(shard.fleet, "s1", into, repository=shard.repository)
            assert run.wait(30) == 0
    assert GtidSet.parse(result.gtid_executed) == last.gtids
    assert result.promoted
    assert not any("read_only" in step for step in result.next_steps)
    with opened(result) as connection:
        assert checksums(connection) == last.checksums
        assert rows(connection, "SELECT @@read_only, @@super_read_only, @@log_bin, @@sync_binlog") == [
            (0, 0, 1, 1)
        ]
        rows(connection, "INSERT INTO app.items (pad) VALUES ('a new life')")
        ((after,),) = rows(connection, "SELECT @@global.gtid_executed")
        assert (GtidSet.parse(after) - last.gtids).origins[0].uuid == result.server_uuid
    life = shard.archive.life(result.server_uuid)
    assert life is not None
    assert life.executed_set == last.gtids
    with pytest.raises(NotFound):
        status(into)


def test_a_delayed_standby_can_be_promoted_to_a_point_before_a_mistake(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> None:
    into, cancelled, told = tmp_path / "standby", threading.Event(), list[StandbyStatus]()
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        create_tables(shard.primary, ("items", "orders", "notes"))
        shard.back_up()
        shard.primary.query("DROP TABLE app.notes")
        write(shard.primary, "items", 10)
        good = Moment.of(shard.primary)
        shard.primary.query("DROP TABLE app.orders")
        bad = archived_now(shard)
        notes, orders = (each for each in shard.transactions() if each.statement.startswith("DROP TABLE"))

        def follow() -> None:
            run_standby(
                shard.fleet,
                "s1",
                into,
                repository=shard.repository,
                delay_seconds=3600,
                skip=notes.gtid.as_set(),
                on_status=told.append,
                cancelled=cancelled,
            )

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            wait_until(lambda: told and told[-1].lag_transactions == (bad.gtids - good.gtids).count() + 10)
            assert is_held(into / JOURNAL_NAME)
            target = RecoveryTarget.before(orders.gtid)
            result = promote(shard.fleet, "s1", into, repository=shard.repository, target=target)
        finally:
            cancelled.set()
            thread.join()
    assert told[-1].state == "stopped"
    with opened(result) as connection:
        found = checksums(connection)
    assert found.pop("app.notes")
    assert found == good.checksums
    assert result.skipped == str(notes.gtid)
