"""Real replicas on private servers, as in a restore, and what a server logged that they pull."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from infra.sandbox.template import find_template
from restore.mysqld import PrivateServer
from restore.program import DataShape
from tests.sources import BinlogFile, FileFeed
from wire import replica_admin
from wire.binlog.events import EventType, parse_gtid_event
from wire.binlog.source import BinlogFeed, ReplicationSource

UUID = "99999999-9999-9999-9999-999999999999"
SERVER_ID = 4_000_000_001
WAIT_SECONDS = 60
OPTIONS = (
    "--relay-log=replay",
    "--relay-log-recovery=ON",
    "--replica-parallel-workers=4",
    "--max-relay-log-size=4M",
    "--relay-log-space-limit=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--secure-file-priv=",
)


@dataclass(frozen=True)
class Recording:
    """What a server logged in its life: files with all that is odd, and its tables at the end."""

    version: str
    files: tuple[BinlogFile, ...]
    order: tuple[Gtid, ...]
    gtids: GtidSet
    checksums: dict[str, int | None]


@dataclass
class Replica:
    """A private server, and a connection to it from before it read its accounts."""

    server: PrivateServer
    connection: Any
    data: Path

    def follow(self, source: ReplicationSource, *, before: Gtid | None = None) -> None:
        replica_admin.change_source(self.server, source.host, source.port, heartbeat_seconds=0.2)
        if before is None:
            replica_admin.start_replica(self.server, source.user, source.password)
        else:
            replica_admin.start_until_before(self.server, before, source.user, source.password)

    def state(self) -> replica_admin.ReplicaState:
        return replica_admin.replica_state(self.server)

    def heartbeats(self) -> int:
        (row,) = self.server.query(
            "SELECT count_received_heartbeats AS n FROM performance_schema.replication_connection_status"
        )
        return int(row["n"])

    def wait_for_heartbeats(self, count: int = 2) -> None:
        """So many more heartbeats: all that the source would send has come."""
        before = self.heartbeats()
        wait_until(lambda: self.heartbeats() >= before + count)

    def wait_executed(self, gtids: GtidSet, *but: replica_admin.ReplicationError) -> None:
        """Wait until it has them; it may complain of nothing ``but`` this."""

        def arrived() -> bool:
            state = self.state()
            assert state.errors == but, state.errors
            return gtids <= state.executed

        wait_until(arrived)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def closed_files(server: ScratchServer) -> tuple[BinlogFile, ...]:
    server.query("FLUSH BINARY LOGS")
    names = [row["Log_name"] for row in server.query("SHOW BINARY LOGS")][:-1]
    return tuple(BinlogFile(name, (server.datadir / name).read_bytes()) for name in names)


def order_of(files: tuple[BinlogFile, ...]) -> tuple[Gtid, ...]:
    kinds = {EventType.GTID, EventType.TAGGED_GTID}
    return tuple(
        parse_gtid_event(event, file.checksum()).gtid
        for file in files
        for _, kind, event in file.events()
        if kind in kinds
    )


@contextmanager
def started_replica(distribution: MysqlDistribution, data: Path, *more: str) -> Iterator[Replica]:
    if not data.exists():
        shutil.copytree(find_template(distribution), data)
    server = PrivateServer(
        distribution.mysqld,
        data,
        DataShape(),
        start_timeout_seconds=120,
        buffer_pool_bytes=64 << 20,
        options=(*OPTIONS, *more),
    )
    with server:
        connection = pymysql.connect(
            unix_socket=str(server.socket), user="root", password="none", autocommit=True, charset="utf8mb4"
        )
        replica_admin.load_accounts(server)
        try:
            yield Replica(server, connection, data)
        finally:
            connection.close()
        server.stop()


def source_of(recording: Recording, feed: BinlogFeed | None = None, **more: Any) -> ReplicationSource:
    settings: dict[str, Any] = {"version": recording.version, "server_id": SERVER_ID, "server_uuid": UUID}
    return ReplicationSource(feed or FileFeed(recording.files), **(settings | more))


def union(gtids: tuple[Gtid, ...]) -> GtidSet:
    whole = GtidSet()
    for gtid in gtids:
        whole |= gtid.as_set()
    return whole
