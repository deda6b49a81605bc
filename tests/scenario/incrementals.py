"""A shard of one donor, with what tests of incrementals do to it, and how they look at what was kept."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql

from backup.full import take_full_backup
from backup.incremental import take_incremental_backup
from backup.result import BackupResult
from fleet.clock import SystemClock
from fleet.model import Fleet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.catalog import Catalog
from repository.manifest import Manifest
from repository.repository import Repository
from restore.full import Leave, RestoreResult, restore_backup
from restore.target import look_at
from tests.scenario.fleets import fill, fleet_of, repository_of
from wire import admin
from wire.session import Session, open_session

MIB = 1024 * 1024


class StridingClock(SystemClock):
    """Real time, and two seconds later at each stride: so labels follow each other as the backups do."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self._ahead

    def stride(self) -> StridingClock:
        self._ahead += timedelta(seconds=2)
        return self


@dataclass
class Shard:
    """A donor with a table ``app.items`` of some MB and a cold one, and an empty repository."""

    donor: ScratchServer
    folder: Path
    mysqld: Path
    clock: StridingClock = field(default_factory=StridingClock)

    def fleet(self, **policy: Any) -> Fleet:
        return fleet_of(
            self.donor,
            folder=self.folder,
            backup={"donor": "primary", "retries": 0, **policy},
            restore={"mysqld": str(self.mysqld)},
        )

    @property
    def repository(self) -> Repository:
        return repository_of(self.fleet())

    def full(self, *, policy: dict[str, Any] | None = None, **more: Any) -> BackupResult:
        fleet = self.fleet(**policy or {})
        return take_full_backup(fleet, "s1", repository=self.repository, clock=self.clock.stride(), **more)

    def incremental(self, *, policy: dict[str, Any] | None = None, **more: Any) -> BackupResult:
        fleet = self.fleet(**policy or {})
        return take_incremental_backup(
            fleet, "s1", repository=self.repository, clock=self.clock.stride(), **more
        )

    def manifest(self, result: BackupResult) -> Manifest:
        return Catalog(self.repository).manifest("s1", result.label)

    def change(self, rows: int = 20) -> None:
        """Random single-row updates."""
        self.donor.query(
            "UPDATE app.items SET pad = HEX(RANDOM_BYTES(128)) WHERE id IN"
            " (SELECT * FROM (SELECT id FROM app.items ORDER BY RAND() LIMIT %s) AS some)",
            (rows,),
        )

    def checksums(self) -> dict[str, int | None]:
        with closing(self.donor.connect()) as connection:
            return checksums(connection)

    def assert_restores(self, target: Path, *, delta: bool = False) -> None:
        """The newest backup restores to what the donor has now."""
        result = restore_backup(
            self.fleet(),
            "s1",
            target,
            repository=self.repository,
            delta=delta,
            leave=Leave.RUNNING,
            check="all",
        )
        assert all(check.passed for check in result.checks), result.checks
        with _opened(result) as connection:
            assert checksums(connection) == self.checksums()

    def track_pages(self) -> None:
        """Switch page tracking on, let the backup account read its lists, and wait until it has some."""
        user = self.donor.backup_account.user
        self.donor.query(f"GRANT FILE, SYSTEM_VARIABLES_ADMIN ON *.* TO '{user}'@'%'")
        if not self.donor.query("SELECT 1 FROM mysql.component WHERE component_urn LIKE '%mysqlbackup'"):
            self.donor.query("INSTALL COMPONENT 'file://component_mysqlbackup'")
        started = int(self.donor.query("SELECT mysqlbackup_page_track_set(true) AS lsn")[0]["lsn"])
        self.change()
        flush(self.donor, lambda: self.checkpoint() > started)

    def checkpoint(self) -> int:
        """The LSN up to which every change is in its file."""
        with closing(self.connect()) as session:
            return admin.log_status(session).lsn_checkpoint

    def connect(self) -> Session:
        return open_session(self.donor.server, self.donor.backup_account, connect_timeout=10, read_timeout=60)


@contextmanager
def started_shard(folder: Path, distribution: MysqlDistribution, owner: Path) -> Generator[Shard]:
    folder.mkdir()
    donor = start_scratch_server(folder, distribution, owner=owner)
    try:
        fill(donor, 8000)
        donor.query("CREATE TABLE app.cold (id INT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(300))")
        donor.query("INSERT INTO app.cold (pad) SELECT HEX(RANDOM_BYTES(128)) FROM app.items LIMIT 2000")
        flush(donor)
        yield Shard(donor, folder, distribution.mysqld)
    finally:
        donor.remove()


def flush(donor: ScratchServer, until: Callable[[], bool] = lambda: True) -> None:
    """Wait until every changed page was written to its file, and ``until`` says yes too."""
    deadline = time.monotonic() + 60
    donor.query("SET GLOBAL innodb_max_dirty_pages_pct = 0")
    while int(donor.query("SHOW STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")[0]["Value"]) or not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    donor.query("SET GLOBAL innodb_max_dirty_pages_pct = 90")


class AtStage:
    """Progress that calls ``act`` once: in the named stage, when so many bytes of it have come."""

    def __init__(self, stage: str, act: Callable[[], object], *, at_bytes: int = 0) -> None:
        self._wanted, self._left = stage, at_bytes
        self._stage, self._lock = "", threading.Lock()
        self._waiting = [act]

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        self._stage = name
        self.advance(0)

    def advance(self, count_bytes: int) -> None:
        with self._lock:
            if self._stage != self._wanted:
                return
            self._left -= count_bytes
            due = self._waiting.pop() if self._left <= 0 and self._waiting else None
        if due is not None:
            due()

    def note(self, text: str) -> None:
        pass


@contextmanager
def _opened(result: RestoreResult) -> Generator[pymysql.connections.Connection[Any]]:
    """A connection to the server that a restore left; it is stopped afterwards."""
    assert result.left is not None
    connection = pymysql.connect(unix_socket=str(result.left.socket), user="root", autocommit=True)
    try:
        yield connection
    finally:
        connection.close()
        os.kill(result.left.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while look_at(result.target).locked_by is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shutil.rmtree(result.left.socket.parent)
