"""Replication between the servers of a shard: by GTID, over TLS, semi-synchronous on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pymysql

from fleet.errors import SandboxFailed
from infra.sandbox.accounts import Credentials
from infra.sandbox.server import MysqlServer


@dataclass(frozen=True)
class ReplicaState:
    """``lag_seconds`` is None while the applier is not running; ``error`` is the last one, or empty."""

    receiving: bool
    applying: bool
    lag_seconds: int | None
    error: str


def replicate_from(replica: MysqlServer, source: MysqlServer, account: Credentials) -> None:
    """Make ``replica`` follow ``source`` from where it stands. Raises SandboxFailed."""
    assert source.tls is not None
    try:
        replica.query(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %s, SOURCE_USER = %s,"
            " SOURCE_PASSWORD = %s, SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1, SOURCE_SSL_CA = %s,"
            " SOURCE_SSL_VERIFY_SERVER_CERT = 1, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400",
            (source.host, source.port, account.user, account.password, str(source.tls.ca)),
        )
        replica.query("START REPLICA")
    except pymysql.MySQLError as error:
        raise SandboxFailed(
            f"{replica.name} cannot replicate from {source.name}: {error.args[-1]}"
        ) from error


def wait_caught_up(replica: MysqlServer, source: MysqlServer, *, timeout_seconds: float = 60) -> None:
    """Wait until the replica has executed all that the source has now. Raises SandboxFailed."""
    executed = source.query("SELECT @@global.gtid_executed AS executed")[0]["executed"]
    missing = replica.query(
        "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s) AS missing", (executed, timeout_seconds)
    )[0]["missing"]
    if missing != 0:
        state = replica_state(replica)
        raise SandboxFailed(
            f"{replica.name} has not caught up with {source.name} in {timeout_seconds:g} s: {state}",
            hint=f"Its log is {replica.error_log}.",
        )


def replica_state(server: MysqlServer) -> ReplicaState | None:
    """How replication goes on this server; None if it replicates from nobody."""
    rows: list[dict[str, Any]] = server.query("SHOW REPLICA STATUS")
    if not rows:
        return None
    row = rows[0]
    return ReplicaState(
        receiving=row["Replica_IO_Running"] == "Yes",
        applying=row["Replica_SQL_Running"] == "Yes",
        lag_seconds=row["Seconds_Behind_Source"],
        error=row["Last_SQL_Error"] or row["Last_IO_Error"],
    )
