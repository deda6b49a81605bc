"""The replica's side of replication, one function a statement; names of MySQL 8.0.26 and later.

Every function takes who answers statements: a session, or a server that keeps one; and raises what its
``query`` raises. What the tables mean: the manual's Performance Schema Replication Tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from wire.restored import Asked


@dataclass(frozen=True, slots=True)
class ReplicationError:
    """An error of the applier or of the receiver.

    ``thread`` is ``receiver``, ``coordinator`` or ``worker N``. ``transaction`` is the one that failed, None
    where the server names none (the receiver's errors; a transaction without a GTID).
    """

    thread: str
    number: int
    text: str
    transaction: Gtid | None = None


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One moment of a replica. ``receiving`` is also false while the receiver waits to connect again.

    ``retrieved``: what came over the connection, executed or not. ``errors`` are those that stopped
    something; a worker's own comes before what the coordinator says of it. An applier that is not running
    and has no error came to its end, or was stopped.
    """

    receiving: bool
    applying: bool
    executed: GtidSet
    retrieved: GtidSet
    errors: tuple[ReplicationError, ...]


def change_source(
    server: Asked, host: str, port: int, *, heartbeat_seconds: float = 2.0, delay_seconds: int = 0
) -> None:
    """Replicate from ``host:port`` by GTID, without TLS, and try again every second if it is not there.

    User and password are not part of it: ``start_replica`` brings them, so that they never lie on disk.
    """
    server.query(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %s, SOURCE_AUTO_POSITION = 1,"
        " SOURCE_SSL = 0, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400,"
        " SOURCE_HEARTBEAT_PERIOD = %s, SOURCE_DELAY = %s",
        (host, port, heartbeat_seconds, delay_seconds),
    )


def start_replica(server: Asked, user: str, password: str) -> None:
    """Start receiver and applier; without end."""
    server.query("START REPLICA USER = %s PASSWORD = %s", (user, password))


def start_until_before(server: Asked, gtid: Gtid, user: str, password: str) -> None:
    """Start receiver and applier; the applier stops, exactly, before it would execute ``gtid``.

    With several workers too: the coordinator compares before it hands a transaction to one. Only the applier
    stops. A replica that has executed ``gtid`` already stops at once.
    """
    server.query(
        "START REPLICA UNTIL SQL_BEFORE_GTIDS = %s USER = %s PASSWORD = %s", (str(gtid), user, password)
    )


def stop_replica(server: Asked) -> None:
    """Stop both; transactions that the workers have begun are finished, a torn one is rolled back."""
    server.query("STOP REPLICA")


def reset_replica_all(server: Asked) -> None:
    """Forget the source and delete the relay logs; what was executed stays executed."""
    server.query("RESET REPLICA ALL")


def replica_state(server: Asked) -> ReplicaState:
    """Whether it runs, what it has, and what went wrong."""
    # In this order: once the applier is seen to have stopped, its errors and its set are final.
    applying = is_applying(server)
    receiving, retrieved = _receiver(server)
    errors = (*applier_errors(server), *receiver_errors(server))
    return ReplicaState(receiving, applying, gtid_executed(server), retrieved, errors)


def is_applying(server: Asked) -> bool:
    """Whether the applier runs; False on a server that replicates from nobody."""
    rows = server.query(
        "SELECT service_state AS state FROM performance_schema.replication_applier_status"
        " WHERE channel_name = ''"
    )
    return bool(rows) and rows[0]["state"] == "ON"


def applier_errors(server: Asked) -> tuple[ReplicationError, ...]:
    """Errors that stopped the applier, those of workers first: they name transaction and cause."""
    workers = server.query(
        "SELECT worker_id AS worker, last_error_number AS number, last_error_message AS text,"
        " applying_transaction AS gtid FROM performance_schema.replication_applier_status_by_worker"
        " WHERE channel_name = '' AND last_error_number <> 0 ORDER BY last_error_timestamp"
    )
    coordinators = server.query(
        "SELECT last_error_number AS number, last_error_message AS text, processing_transaction AS gtid"
        " FROM performance_schema.replication_applier_status_by_coordinator"
        " WHERE channel_name = '' AND last_error_number <> 0"
    )
    return (
        *(_error(f"worker {row['worker']}", row) for row in workers),
        *(_error("coordinator", row) for row in coordinators),
    )


def receiver_errors(server: Asked) -> tuple[ReplicationError, ...]:
    """The receiver's last error; a lost connection counts as one until it is back."""
    rows = server.query(
        "SELECT last_error_number AS number, last_error_message AS text"
        " FROM performance_schema.replication_connection_status"
        " WHERE channel_name = '' AND last_error_number <> 0"
    )
    return tuple(_error("receiver", row) for row in rows)


def gtid_executed(server: Asked) -> GtidSet:
    return GtidSet.parse(str(server.query("SELECT @@global.gtid_executed AS gtids")[0]["gtids"]))


def inject_empty(server: Asked, gtid: Gtid) -> None:
    """Execute nothing under the name of ``gtid``: the replica will never ask for the real one.

    Also under super_read_only. A GTID that is executed already stays as it is.
    """
    server.query("SET SESSION gtid_next = %s", (str(gtid),))
    try:
        server.query("BEGIN")
        server.query("COMMIT")
    finally:
        server.query("SET SESSION gtid_next = 'AUTOMATIC'")


def open_for_writes(server: Asked) -> None:
    """Everybody may write: read_only off, and with it super_read_only."""
    server.query("SET GLOBAL read_only = 0")


def load_accounts(server: Asked) -> None:
    """FLUSH PRIVILEGES: a server that runs with skip-grant-tables reads its accounts, and checks them.

    Without that it refuses every account statement, also the applier's: 1290. Sessions that are open keep all
    their rights; new ones have to log in as somebody, so nobody who only knew the socket comes in any more.
    """
    server.query("FLUSH PRIVILEGES")


def _receiver(server: Asked) -> tuple[bool, GtidSet]:
    rows = server.query(
        "SELECT service_state AS state, received_transaction_set AS gtids"
        " FROM performance_schema.replication_connection_status WHERE channel_name = ''"
    )
    if not rows:
        return False, GtidSet()
    return rows[0]["state"] == "ON", GtidSet.parse(str(rows[0]["gtids"] or ""))


def _error(thread: str, row: Mapping[str, Any]) -> ReplicationError:
    name = str(row.get("gtid") or "")
    # ANONYMOUS, or nothing, where there is no GTID.
    gtid = Gtid.parse(name) if ":" in name else None
    return ReplicationError(thread, int(row["number"]), str(row["text"]), gtid)
