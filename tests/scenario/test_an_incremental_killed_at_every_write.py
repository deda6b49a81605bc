"""kill -9 of an incremental before and after all it writes: never half a backup, and the next goes on."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from infra.sandbox.distribution import MysqlDistribution
from repository.catalog import Catalog
from repository.repository import Repository
from repository.stores.interface import Buffer, Store, Stored
from repository.verify import verify_backup
from tests.scenario.fleets import repository_of, wait_free
from tests.scenario.incrementals import Shard, started_shard

pytestmark = [pytest.mark.mysql, pytest.mark.slow]


class DeadlyStore:
    """The store below; the process dies right before its ``nth`` put or delete, or right after it."""

    def __init__(self, store: Store, nth: int, *, after: bool) -> None:
        self._store, self._nth, self._after = store, nth, after
        self._count = itertools.count(1)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        number = next(self._count)
        self._die(number, after=False)
        stored = self._store.put(key, data, if_absent=if_absent, sha256=sha256)
        self._die(number, after=True)
        return stored

    def delete(self, key: str) -> None:
        number = next(self._count)
        self._die(number, after=False)
        self._store.delete(key)
        self._die(number, after=True)

    def _die(self, number: int, *, after: bool) -> None:
        if number == self._nth and self._after is after:
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedShard(Shard):
    """A shard whose repository is written to until the process dies."""

    nth = 0
    after = False

    @property
    def repository(self) -> Repository:
        plain = repository_of(self.fleet())
        deadly = DeadlyStore(plain.store, self.nth, after=self.after)
        return Repository(deadly, plain.description, plain.keys)  # type: ignore[arg-type]


def take_and_die(shard: DoomedShard) -> None:
    shard.incremental()


@pytest.fixture
def shard(mysql_distribution: MysqlDistribution, tmp_path: Path) -> Generator[Shard]:
    with started_shard(tmp_path / "shard", mysql_distribution, tmp_path) as made:
        yield made


def test_whatever_was_written_last_the_chain_is_whole_and_goes_on(shard: Shard, tmp_path: Path) -> None:
    shard.full()
    kept = 1
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    nth, died = 0, True
    while died:
        nth += 1
        for after in (False, True):
            shard.change()
            doomed = DoomedShard(shard.donor, shard.folder, shard.mysqld, shard.clock.stride())
            doomed.nth, doomed.after = nth, after
            child = context.Process(target=take_and_die, args=(doomed,))
            child.start()
            child.join(60)
            died = child.exitcode == -signal.SIGKILL
            assert died or child.exitcode == 0
            wait_free(shard.donor, 6)
            survey = Catalog(shard.repository).survey("s1")
            assert not survey.unreadable
            assert not [backup for backup in survey.backups if backup.broken]
            # Dead before its manifest it is no backup, and dead after it is one.
            assert len(survey.backups) - kept in (0, 1)
            kept = len(survey.backups)
            if not died:
                break
    assert nth > 4
    newest = shard.manifest(shard.incremental())
    assert newest.base
    for backup in Catalog(shard.repository).backups("s1"):
        found = verify_backup(shard.repository, Catalog(shard.repository).manifest("s1", backup.label))
        assert found.is_sound
    shard.assert_restores(tmp_path / "restored")
