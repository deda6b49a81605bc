"""One function a statement, for those who archive or replay binlogs: what a source says, and what it is told.

Every function takes an open session, and raises ServerUnreachable or ServerRefused as its ``query`` does.
The archive account of ``infra/examples/accounts.sql`` may run all of them, where nothing else is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from fleet.gtid import GtidSet
from wire.admin import server_version, version_numbers
from wire.session import Session

ARCHIVE_PRIVILEGES = ("REPLICATION SLAVE", "REPLICATION CLIENT")
"""What ``wire.admin.missing_privileges`` should find in the account that archives."""

PURGE_PRIVILEGES = ("BINLOG_ADMIN",)
"""What ``purge_binary_logs_to`` needs besides."""

_SOURCE_FACTS = (
    "@@server_uuid AS uuid",
    "@@version AS version",
    "@@global.server_id AS server_id",
    "@@global.read_only AS read_only",
    "@@global.super_read_only AS super_read_only",
    "@@log_bin AS log_bin",
    "@@global.gtid_mode AS gtid_mode",
    "@@global.gtid_executed AS gtid_executed",
    "@@global.gtid_purged AS gtid_purged",
)
_BINLOG_SETTINGS = (
    "@@global.sync_binlog AS sync_binlog",
    "@@global.binlog_format AS binlog_format",
    "@@global.binlog_row_image AS binlog_row_image",
    "@@global.binlog_row_metadata AS binlog_row_metadata",
    "@@global.binlog_expire_logs_seconds AS binlog_expire_logs_seconds",
    "@@global.innodb_flush_log_at_trx_commit AS flush_log_at_commit",
)


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a server is in its shard, at one moment."""

    uuid: str
    version: str
    server_id: int
    read_only: bool
    super_read_only: bool
    log_bin: bool
    gtid_mode: str
    gtid_executed: GtidSet
    gtid_purged: GtidSet


@dataclass(frozen=True, slots=True)
class BinlogSettings:
    """How a source writes its binlog."""

    sync_binlog: int
    binlog_format: str
    binlog_row_image: str
    binlog_row_metadata: str
    binlog_expire_logs_seconds: int
    flush_log_at_commit: int


class ConnectedReplica(NamedTuple):
    """A replica that registered and is connected now: other archivers too, and we ourselves."""

    server_id: int
    host: str
    uuid: str


class SourceBinlog(NamedTuple):
    """A binlog file as its server lists it; ``size_bytes`` on disk: 512 more if encrypted."""

    name: str
    size_bytes: int
    is_encrypted: bool


@dataclass(frozen=True, slots=True)
class ReplicationLink:
    """One replication channel: ``receiving`` is ``connecting`` while its source cannot be reached."""

    source_uuid: str
    receiving: Literal["yes", "connecting", "no"]
    applying: bool
    lag_seconds: int | None


@dataclass(frozen=True, slots=True)
class SemiSyncState:
    """Semi-synchronous replication as the source sees it.

    ``is_on``: commits wait for acknowledgements now. ``unacknowledged``: commits that did not wait, since the
    server's start. ``clients``: replicas that acknowledge; ``wait_for`` of them must, for each commit, and
    ``waits_alone`` says that a commit waits even if there are fewer. ``waiting``: commits that wait now.
    """

    is_enabled: bool
    is_on: bool
    unacknowledged: int
    clients: int
    wait_for: int
    timeout_ms: int
    waits_alone: bool = True
    wait_point: str = "AFTER_SYNC"
    waiting: int = 0


def source_state(session: Session) -> SourceState:
    (row,) = session.query(f"SELECT {', '.join(_SOURCE_FACTS)}")
    for flag in ("read_only", "super_read_only", "log_bin"):
        row[flag] = bool(row[flag])
    for gtids in ("gtid_executed", "gtid_purged"):
        row[gtids] = GtidSet.parse(row[gtids])
    return SourceState(**row)


def binlog_settings(session: Session) -> BinlogSettings:
    (row,) = session.query(f"SELECT {', '.join(_BINLOG_SETTINGS)}")
    return BinlogSettings(**row)


def binlog_files(session: Session) -> tuple[SourceBinlog, ...]:
    """The server's binlogs, oldest first. Needs REPLICATION CLIENT."""
    return tuple(
        SourceBinlog(row["Log_name"], int(row["File_size"]), row.get("Encrypted", "No") == "Yes")
        for row in session.query("SHOW BINARY LOGS")
    )


def replication_links(session: Session) -> tuple[ReplicationLink, ...]:
    """The server's replication channels; empty on a server that was never a replica, or was promoted."""
    modern = version_numbers(server_version(session)) >= (8, 0, 22)
    rows = session.query("SHOW REPLICA STATUS" if modern else "SHOW SLAVE STATUS")
    source, replica = ("Source", "Replica") if modern else ("Master", "Slave")
    receiving: dict[str, Literal["yes", "connecting", "no"]] = {"Yes": "yes", "Connecting": "connecting"}
    return tuple(
        ReplicationLink(
            source_uuid=row[f"{source}_UUID"],
            receiving=receiving.get(row[f"{replica}_IO_Running"], "no"),
            applying=row[f"{replica}_SQL_Running"] == "Yes",
            lag_seconds=row[f"Seconds_Behind_{source}"],
        )
        for row in rows
    )


def semi_sync_state(session: Session) -> SemiSyncState | None:
    """``None`` where the source's plugin is not loaded, under its new or its old name."""
    for side, other in (("source", "replica"), ("master", "slave")):
        status = _named(session, f"SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_{side}%'")
        settings = _named(session, f"SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_{side}%'")
        if status:
            prefix = f"rpl_semi_sync_{side}_"
            return SemiSyncState(
                is_enabled=settings[f"{prefix}enabled"] == "ON",
                is_on=status[f"{prefix}status"] == "ON",
                unacknowledged=int(status[f"{prefix}no_tx"]),
                clients=int(status[f"{prefix}clients"]),
                wait_for=int(settings[f"{prefix}wait_for_{other}_count"]),
                timeout_ms=int(settings[f"{prefix}timeout"]),
                waits_alone=settings[f"{prefix}wait_no_{other}"] == "ON",
                wait_point=settings[f"{prefix}wait_point"],
                waiting=int(status[f"{prefix}wait_sessions"]),
            )
    return None


def connected_replicas(session: Session) -> tuple[ConnectedReplica, ...]:
    """Who receives this server's binlogs now. Needs REPLICATION SLAVE."""
    modern = version_numbers(server_version(session)) >= (8, 0, 22)
    rows = session.query("SHOW REPLICAS" if modern else "SHOW SLAVE HOSTS")
    uuid = "Replica_UUID" if modern else "Slave_UUID"
    return tuple(ConnectedReplica(int(row["Server_Id"]), row["Host"], row[uuid]) for row in rows)


def purge_binary_logs_to(session: Session, file: str) -> None:
    """Delete every binlog before ``file``. Needs BINLOG_ADMIN, which is granted for this alone.

    The server keeps, without an error, what a connected replica still reads, and all after it.
    """
    session.query("PURGE BINARY LOGS TO %s", (file,))


def _named(session: Session, statement: str) -> dict[str, str]:
    return {str(row["Variable_name"]).lower(): str(row["Value"]) for row in session.query(statement)}
