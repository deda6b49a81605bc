"""Archivers in tests: started, waited for, killed; and their archive compared with the source's files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymysql

from backup.archive.news import News
from backup.archive.report import ArchiverOutcome
from backup.archive.run import run_archiver
from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from fleet.model import Fleet
from infra.sandbox.scratch import ScratchServer
from infra.sandbox.server import MysqlServer
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile
from repository.repository import Repository
from tests.scenario.fleets import fleet_of

PATIENCE_SECONDS = 60.0
QUICK: dict[str, Any] = {"segment_seconds": 0.1, "heartbeat_seconds": 0.5}


def archive_fleet(scratch: ScratchServer, folder: Path, **archive: Any) -> Fleet:
    """A fleet of ``scratch``, with a file repository and the spool in ``folder``."""
    return fleet_of(
        scratch,
        folder=folder,
        accounts={"backup": scratch.backup_account, "archive": scratch.archive_account},
        archive={"spool_directory": str(folder / "spool"), **QUICK, **archive},
    )


class Archiver:
    """An archiver in a thread of this process; at the end of the ``with`` it is stopped in order."""

    def __init__(
        self, fleet: Fleet, repository: Repository, *, grace_seconds: float = 15.0, keep_trying: bool = False
    ) -> None:
        self._grace = grace_seconds
        self._keep_trying = keep_trying
        self.news: list[News] = []
        self.outcome: ArchiverOutcome | None = None
        self.error: BaseException | None = None
        self.cancelled = threading.Event()
        self._fleet = fleet
        self._repository = repository
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Archiver:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.cancelled.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the archiver does not end"
        if kind is not None:
            # What the test waited for in vain is explained by this, as a rule.
            print("the archiver told:", *self.news, f"and ended with {self.error!r}", sep="\n")
        elif self.error is not None:
            raise self.error

    def wait_for(self, kind: str, count: int = 1) -> News:
        """Until something of that kind was told so often."""
        wait_until(lambda: self._told(kind, count), lambda: f"{kind} is told; so far: {self.news}")
        return [one for one in self.news if one.kind == kind][count - 1]

    def wait_end(self) -> BaseException | None:
        """Until it ends by itself; what with."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the archiver does not end"
        error, self.error = self.error, None
        return error

    def kinds(self) -> list[str]:
        return [one.kind for one in self.news]

    def _told(self, kind: str, count: int) -> bool:
        assert self.error is None, self.error
        return self.kinds().count(kind) >= count

    def _run(self) -> None:
        try:
            self.outcome = run_archiver(
                self._fleet,
                [],
                self._repository,
                clock=SystemClock(),
                cancelled=self.cancelled,
                progress=self.news.append,
                grace_seconds=self._grace,
                keep_trying=self._keep_trying,
            )
        except BaseException as error:
            self.error = error


def wait_until(
    holds: Callable[[], object], what: str | Callable[[], str], seconds: float = PATIENCE_SECONDS
) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, (
            f"not in {seconds:g} s: {what if isinstance(what, str) else what()}"
        )
        time.sleep(0.02)


def executed(server: MysqlServer) -> GtidSet:
    return GtidSet.parse(server.query("SELECT @@global.gtid_executed AS g")[0]["g"])


def archived(archive: ShardArchive) -> GtidSet:
    """All transactions that end in some segment, of any epoch."""
    found = GtidSet()
    for epoch in archive.epochs():
        for file in archive.files(epoch.epoch):
            for part in file.parts:
                # What was composed since it was listed is found all the same.
                for columns, rows in archive.index_of(part):
                    found |= columns.gtids(rows)
    return found


def wait_archived(archive: ShardArchive, server: MysqlServer) -> None:
    """Until all that the server has executed by now is in the store."""
    wanted = executed(server)
    wait_until(lambda: not wanted - archived(archive), f"{wanted.one_line()} is archived")


def content(archive: ShardArchive, file: ArchivedFile) -> bytes:
    """The archived bytes, from 0 to the end of what is there without a hole."""
    assert not file.holes, file.holes
    parts: list[bytes] = []
    for part in file.parts:
        for piece, segment in archive.read_part(part):
            offset = segment.header.start
            parts.append(segment.data[piece.first - offset : piece.last - offset])
    return b"".join(parts)


def settled(archive: ShardArchive, epoch: int) -> list[ArchivedFile]:
    """All files, listed between two compositions: a list made during one may miss the old and the new."""
    found: list[ArchivedFile] = []

    def look() -> bool:
        found[:] = archive.files(epoch)
        return not any(file.holes for file in found)

    wait_until(look, "no file has a hole")
    return found


def assert_byte_equal(archive: ShardArchive, server: MysqlServer, epoch: int = 1) -> int:
    """Every archived file is the server's file, byte for byte; the newest may be shorter. How many files."""
    files = {file.name.file: file for file in settled(archive, epoch)}
    listed = [row["Log_name"] for row in server.query("SHOW BINARY LOGS")]
    for name in listed:
        if name not in files:
            continue
        ours, theirs = content(archive, files[name]), bytearray((server.datadir / name).read_bytes())
        # IN_USE: set in the server's file while it is open, and never in the archive.
        theirs[21] &= ~1
        if name == listed[-1]:
            theirs = theirs[: len(ours)]
            # The checksum of the format description is that of the flag cleared.
        assert ours == bytes(theirs), f"{name} differs at {first_difference(ours, bytes(theirs))}"
    return len(files)


def first_difference(left: bytes, right: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), -1)


class Writers:
    """Threads that insert rows into ``app.items`` one by one, and note what was acknowledged, and when."""

    def __init__(self, server: MysqlServer, count: int = 4, *, pause_seconds: float = 0.0) -> None:
        self.acknowledged: dict[str, float] = {}
        self._server = server
        self._pause = pause_seconds
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(count)]

    def __enter__(self) -> Writers:
        prepare_table(self._server)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def wait_for(self, count: int) -> None:
        """Until so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= wanted, f"{wanted} rows are written")

    def _write(self, number: int) -> None:
        with suppress(pymysql.MySQLError):
            connection = self._server.connect()
            with connection.cursor() as cursor:
                row = 0
                while not self._stopping.is_set():
                    row += 1
                    key = f"{id(self):x}-{number}-{row}"
                    cursor.execute("INSERT INTO app.items VALUES (%s, REPEAT('x', 300))", (key,))
                    with self._lock:
                        self.acknowledged[key] = time.monotonic()
                    if self._pause:
                        self._stopping.wait(self._pause)


def prepare_table(server: MysqlServer) -> None:
    server.query("CREATE DATABASE IF NOT EXISTS app")
    server.query("CREATE TABLE IF NOT EXISTS app.items (id VARCHAR(60) PRIMARY KEY, pad VARCHAR(400))")


def promote(server: MysqlServer) -> None:
    """A replica becomes a primary, as an operator makes it one."""
    server.query("STOP REPLICA")
    server.query("RESET REPLICA ALL")
    server.query("SET GLOBAL super_read_only = OFF")
    server.query("SET GLOBAL read_only = OFF")


def write(server: MysqlServer, key: str) -> None:
    server.query("INSERT INTO app.items VALUES (%s, '')", (key,))
