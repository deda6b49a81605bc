"""Dumps of scratch servers in tests: received, cut off, resumed, and compared with the source's own files."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.model import Tls
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from infra.sandbox.server import Options
from tests.scenario.copies import Proxy
from wire.binlog.dump import Batch, BinlogDump, DumpOptions, StartAt
from wire.session import Session, open_session

PATIENCE_SECONDS = 60


def new_options(**changes: object) -> DumpOptions:
    """An archiver that the source does not know yet.

    Heartbeats come often, so that tests wait little; many may be late, since the machine may be busy.
    """
    known = {"server_id": 4_000_000_001, "replica_uuid": str(uuid.uuid4())}
    known |= {"heartbeat_seconds": 0.2, "patience": 150}
    return DumpOptions(**{**known, **changes})  # type: ignore[arg-type]


def archive_connector(
    scratch: ScratchServer, *, tls: Tls | None = None, port: int | None = None
) -> Callable[[], Session]:
    """Logs in as the account that archives; ``port`` leads through a proxy."""
    server = scratch.server
    if tls is not None or port is not None:
        server = server.model_copy(update={"tls": tls or Tls(mode="required"), "port": port or server.port})
    account = scratch.archive_account
    return lambda: open_session(server, account, connect_timeout=10, read_timeout=30)


def allow_plain_archive(scratch: ScratchServer) -> Tls:
    """Let the account that archives in without TLS; returns how."""
    scratch.query(f"ALTER USER '{scratch.archive_account.user}'@'%' REQUIRE NONE")
    return Tls(mode="off")


@contextmanager
def new_server(
    distribution: MysqlDistribution, directory: Path, options: Options | None = None
) -> Iterator[ScratchServer]:
    folder = Path(tempfile.mkdtemp(prefix="d", dir=directory))
    server = start_scratch_server(folder, distribution, options=options, owner=directory)
    try:
        yield server
    finally:
        server.remove()


class Archived:
    """The files as received; every batch must go on exactly where the last one ended."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.ended_by: dict[str, str] = {}
        self.heartbeats = 0
        self.last: Batch | None = None

    def add(self, batch: Batch) -> None:
        # What came before the first batch is not here: zeros.
        file = self.files.setdefault(batch.file, bytearray(0 if self.last else batch.start))
        assert batch.start == len(file)
        assert batch.end == batch.start + len(batch.data)
        assert batch.file not in self.ended_by
        file += batch.data
        if batch.ended_by:
            self.ended_by[batch.file] = batch.ended_by
        elif not batch.data and self.last and batch.received_at > self.last.received_at:
            self.heartbeats += 1
        self.last = batch

    def next(self, first: str) -> StartAt:
        """Where an archiver would resume that began with ``first``."""
        if self.last is None:
            return StartAt(first, 0)
        if self.last.ends_file and self.last.next_file:
            return StartAt(self.last.next_file, 0)
        return StartAt(self.last.file, self.last.end, self.last.created)


def receive(
    dump: BinlogDump, until: Callable[[Archived], bool], archived: Archived | None = None
) -> Archived:
    """Take batches until ``until`` says so; fails after a minute."""
    archived = archived or Archived()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for batch in dump.batches():
        archived.add(batch)
        if until(archived):
            break
        assert time.monotonic() < deadline, f"still not there: {archived.ended_by}, {batch}"
    return archived


def up_to(file: str) -> Callable[[Archived], bool]:
    """The end of ``file`` is there."""
    return lambda archived: file in archived.ended_by


def idle(archived: Archived) -> bool:
    """Nothing new came, only a heartbeat."""
    return archived.heartbeats > 0


def current_file(scratch: ScratchServer) -> str:
    return str(scratch.query("SHOW BINARY LOG STATUS")[0]["File"])


def close_file(scratch: ScratchServer) -> str:
    """Rotate; returns the file that is closed now."""
    closed = current_file(scratch)
    scratch.query("FLUSH BINARY LOGS")
    return closed


def wait_no_dumps(scratch: ScratchServer) -> None:
    """Until the source knows that all who received from it are gone: what they read is not purged."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any("Dump" in row["Command"] for row in scratch.query("SHOW PROCESSLIST")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_same_file(scratch: ScratchServer, name: str, archived: Archived) -> None:
    ours, theirs = bytes(archived.files[name]), (scratch.datadir / name).read_bytes()
    assert len(ours) == len(theirs)
    assert ours == theirs


def event_ends(data: bytes) -> list[int]:
    """Where each event of a plain binlog file ends, by the lengths in the headers alone."""
    ends, at = list[int](), 4
    while at < len(data):
        at += int.from_bytes(data[at + 9 : at + 13], "little")
        ends.append(at)
    return ends


class CuttingProxy(Proxy):
    """Breaks the connection after ``limit`` bytes from the server; None: never."""

    def __init__(self, target_port: int) -> None:
        self.limit: int | None = None
        self._passed = 0
        self._counting = threading.Lock()
        super().__init__(target_port)

    def allow(self, limit: int | None) -> None:
        """For the connection that comes next."""
        self.limit, self._passed = limit, 0

    def _pump(
        self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        if source is pair[0] or self.limit is None:
            super()._pump(source, target, pair)
            return
        try:
            while data := source.recv(max(1, min(64 * 1024, self.limit - self._passed))):
                target.sendall(data)
                self._passed += len(data)
                if self._passed >= self.limit:
                    # In order, so that the client has all of them; then it is over.
                    target.shutdown(socket.SHUT_WR)
                    return
        except OSError:
            self._break(pair)
