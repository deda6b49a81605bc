"""What of a sandbox runs now."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pymysql

from infra.sandbox.layout import Role
from infra.sandbox.replication import ReplicaState, replica_state
from infra.sandbox.server import MysqlServer
from infra.sandbox.state import ServerState

StoreKind = Literal["s3", "file"]


@dataclass(frozen=True)
class ServerStatus:
    """``pid`` is None when it does not run; ``answers`` is false when it runs but takes no connection."""

    name: str
    shard: str
    role: Role
    region: str
    port: int
    pid: int | None
    answers: bool
    replication: ReplicaState | None


@dataclass(frozen=True)
class SandboxStatus:
    """``phase`` is ``starting`` while ``up`` is at work or after it died."""

    directory: Path
    config: Path
    phase: Literal["starting", "up"]
    servers: tuple[ServerStatus, ...]
    store: StoreKind
    endpoint: str | None
    store_running: bool


def server_status(entry: ServerState, server: MysqlServer) -> ServerStatus:
    """Ask one server how it is; one that is down or mute is a fact, not an error."""
    running = server.is_running()
    answers, replication = False, None
    if running:
        with suppress(pymysql.MySQLError):
            replication = replica_state(server)
            answers = True
    return ServerStatus(
        name=entry.name,
        shard=entry.shard,
        role=entry.role,
        region=entry.region,
        port=entry.port,
        pid=server.process.pid if running and server.process else None,
        answers=answers,
        replication=replication,
    )
