"""A replay that is killed, its server or all of it, again and again: it ends right every time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pymysql
import pytest

from fleet.gtid import GtidSet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from restore.full import Leave
from restore.journal import JOURNAL_NAME, read_journal
from restore.point import RecoveryTarget
from restore.replay import ReplayState
from restore.target import locked_by
from tests.scenario.archived_shards import (
    ArchivedShard,
    Moment,
    archived_shard,
    create_tables,
    write_side_by_side,
)
from tests.scenario.test_restore_backup import opened

pytestmark = pytest.mark.mysql

TABLES = tuple(f"t{number}" for number in range(8))
ROWS = 250


@dataclass
class Loaded:
    """Transactions of eight tables side by side; ``middle`` is a moment at which the primary stood still."""

    shard: ArchivedShard
    middle: Moment
    end: Moment


@pytest.fixture(scope="module")
def loaded(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Loaded]:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        create_tables(shard.primary, TABLES)
        shard.back_up()
        write_side_by_side(shard.primary, TABLES, ROWS)
        middle = Moment.of(shard.primary)
        shard.primary.query("FLUSH BINARY LOGS")
        write_side_by_side(shard.primary, TABLES, ROWS // 2)
        shard.archiver.run()
        yield Loaded(shard, middle, Moment.of(shard.primary))


class Disturber:
    """Kills the server of ``directory`` whenever it has replayed the next of ``at``; without any, starts its
    applier anew, without the stop.
    """

    def __init__(self, directory: Path, at: list[int]) -> None:
        self._directory, self._at = directory, sorted(at)
        self.started = bool(at)
        self.killed = 0

    def __call__(self, state: ReplayState) -> None:
        if not self.started:
            # What it was told to stop before is forgotten; the source holds it back all the same.
            with closing(pymysql.connect(unix_socket=socket_of(self._directory), user="root")) as other:
                other.cursor().execute("STOP REPLICA SQL_THREAD")
                other.cursor().execute("START REPLICA SQL_THREAD")
            self.started = True
        elif self._at and self._at[0] <= state.transactions < state.total:
            server = locked_by(self._directory)
            assert server
            os.kill(server, signal.SIGKILL)
            self.killed += 1
            self._at.pop(0)


def assert_is(result_directory: Path, moment: Moment, loaded: Loaded, **more: object) -> None:
    result = loaded.shard.restore(
        result_directory, RecoveryTarget.exactly(moment.gtids), leave=Leave.RUNNING, check="none", **more
    )
    assert GtidSet.parse(result.gtid_executed) == moment.gtids
    with opened(result) as connection:
        assert checksums(connection) == moment.checksums


def test_a_server_that_is_killed_in_mid_replay_is_started_again_and_ends_exactly_at_the_point(
    loaded: Loaded, tmp_path: Path
) -> None:
    # The first kill comes at the first look, for a quick machine may leave no time for a second.
    disturber = Disturber(tmp_path / "data", [0, *random.Random(5).sample(range(1, 1500), 2)])
    assert_is(tmp_path / "data", loaded.middle, loaded, on_replay=disturber)
    assert disturber.killed


def test_an_applier_that_somebody_starts_anew_does_not_run_past_the_point(
    loaded: Loaded, tmp_path: Path
) -> None:
    disturber = Disturber(tmp_path / "data", [])
    assert_is(tmp_path / "data", loaded.middle, loaded, on_replay=disturber)
    assert disturber.started


SCRIPT = """
import sys
from pathlib import Path
from fleet.model import Fleet
from fleet.gtid import GtidSet
from restore.point import RecoveryTarget
from restore.point_restore import restore_to_point
from tests.scenario.fleets import repository_of

fleet = Fleet.model_validate_json(Path(sys.argv[1]).read_text())
restore_to_point(
    fleet, "s1", Path(sys.argv[2]), RecoveryTarget.exactly(GtidSet.parse(sys.argv[3])),
    repository=repository_of(fleet), check="none",
    on_replay=lambda state: print(state.transactions, state.total, flush=True),
)
"""


def kill_in_mid_replay(loaded: Loaded, into: Path, config: Path) -> None:
    """Restore in another process, and kill it at its first look: there may be no time for another."""
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(config), str(into), str(loaded.middle.gtids)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout is not None
    with run.stdout:
        done, total = map(int, run.stdout.readline().split())
        run.kill()
    assert run.wait() == -signal.SIGKILL
    assert done < total


def test_a_restore_killed_in_mid_replay_goes_on_when_it_is_given_again(
    loaded: Loaded, tmp_path: Path
) -> None:
    into, config = tmp_path / "data", tmp_path / "fleet.json"
    config.write_text(loaded.shard.fleet.model_dump_json(exclude_unset=True))
    for _ in range(2):
        kill_in_mid_replay(loaded, into, config)
    journal = read_journal(into / JOURNAL_NAME)
    assert journal is not None
    assert journal.replay is not None
    assert_is(into, loaded.middle, loaded)
    assert not (into / JOURNAL_NAME).exists()


def socket_of(directory: Path) -> str:
    """Where the private server of ``directory`` listens."""
    arguments = Path(f"/proc/{locked_by(directory)}/cmdline").read_bytes().split(b"\0")
    (socket,) = [each for each in arguments if each.startswith(b"--socket=")]
    return socket.partition(b"=")[2].decode()
