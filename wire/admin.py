"""One function a statement: what we ask a server about itself, as typed facts.

Every function takes an open session, and raises ServerUnreachable or ServerRefused as its ``query`` does.
The account of ``infra/examples/accounts.sql`` may run all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fleet.errors import ServerUnsupported
from fleet.gtid import GtidSet
from wire.session import Session

REQUIRED_PRIVILEGES = ("BACKUP_ADMIN", "PROCESS", "REPLICATION CLIENT", "SHOW VIEW")
"""Global privileges of the backup account; what each is for stands in ``infra/examples/accounts.sql``."""

_DYNAMIC = {"BACKUP_ADMIN", "BINLOG_ADMIN", "SYSTEM_VARIABLES_ADMIN"}
_FACTS = (
    "@@server_uuid AS uuid",
    "@@version AS version",
    "@@version_comment AS version_comment",
    "@@version_compile_machine AS compile_machine",
    "@@version_compile_os AS compile_os",
    "@@hostname AS hostname",
    "@@global.read_only AS read_only",
    "@@global.super_read_only AS super_read_only",
    "@@global.gtid_mode AS gtid_mode",
    "@@log_bin AS log_bin",
    "@@innodb_page_size AS innodb_page_size",
    "@@innodb_data_file_path AS innodb_data_file_path",
    "@@lower_case_table_names AS lower_case_table_names",
    "@@global.character_set_server AS character_set_server",
    "@@global.collation_server AS collation_server",
    "@@global.max_allowed_packet AS max_allowed_packet",
)

_NUMBERS = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_GLOBAL_GRANT = re.compile(r"GRANT (?P<privileges>.+) ON \*\.\* TO ", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server is, and the settings that a restored server must share. Sizes in bytes.

    ``redo_log_uuid``: the redo log's own id, ``None`` before MySQL 8.0.30. It outlives restarts, crashes and
    other sizes of the log; only who puts other data into the data directory (CLONE INSTANCE, a restore)
    makes another one.
    """

    uuid: str
    version: str
    version_comment: str
    compile_machine: str
    compile_os: str
    hostname: str
    read_only: bool
    super_read_only: bool
    gtid_mode: str
    log_bin: bool
    innodb_page_size: int
    innodb_data_file_path: str
    lower_case_table_names: int
    character_set_server: str
    collation_server: str
    max_allowed_packet: int
    time_at: datetime
    started_at: datetime
    redo_log_uuid: int | None = None

    @property
    def version_numbers(self) -> tuple[int, int, int]:
        return version_numbers(self.version)

    @property
    def is_mariadb(self) -> bool:
        return "mariadb" in f"{self.version} {self.version_comment}".lower()


@dataclass(frozen=True, slots=True)
class LogStatus:
    """One consistent moment of the server's logs. ``binlog_file`` is empty when there is no binlog."""

    server_uuid: str
    gtid_executed: GtidSet
    binlog_file: str
    binlog_position: int
    lsn: int
    lsn_checkpoint: int
    channels: tuple[ChannelPosition, ...]


@dataclass(frozen=True, slots=True)
class ChannelPosition:
    """Where a replication channel stands in its relay log."""

    channel: str
    relay_log_file: str
    relay_log_position: int


@dataclass(frozen=True, slots=True)
class TableEngine:
    """A table that another engine than InnoDB keeps, so that clone brings it empty."""

    schema: str
    table: str
    engine: str

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class ReplicaChannel:
    """One replication channel of a replica; ``lag_seconds`` is ``None`` where the server does not know."""

    channel: str
    source_host: str
    source_port: int
    source_uuid: str
    receiver_running: bool
    applier_running: bool
    lag_seconds: int | None
    last_error: str


@dataclass(frozen=True, slots=True)
class RunningClone:
    """A clone that the server serves: the account, host and state of its first session."""

    user: str
    host: str
    state: str


@dataclass(frozen=True, slots=True)
class ExternalFile:
    """A tablespace file outside of the data directory."""

    space_id: int
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class EncryptionInUse:
    """What is encrypted; any of it makes a donor insist on TLS."""

    tablespaces: tuple[str, ...]
    undo: bool
    redo: bool

    def __bool__(self) -> bool:
        return bool(self.tablespaces) or self.undo or self.redo


def version_numbers(version: str) -> tuple[int, int, int]:
    """``(9, 7, 4)`` of ``9.7.4-2``; raises ServerUnsupported for what is no version."""
    found = _NUMBERS.match(version)
    if found is None:
        raise ServerUnsupported(f"the server's version {version!r} does not begin with three numbers")
    return int(found[1]), int(found[2]), int(found[3])


def server_facts(session: Session) -> ServerFacts:
    (row,) = session.query(f"SELECT {', '.join(_FACTS)}, UTC_TIMESTAMP(6) AS time_at")
    for flag in ("read_only", "super_read_only", "log_bin"):
        row[flag] = bool(row[flag])
    row["time_at"] = row["time_at"].replace(tzinfo=UTC)
    redo_log = session.query("SHOW GLOBAL STATUS LIKE 'Innodb_redo_log_uuid'")
    return ServerFacts(
        **row,
        started_at=started_at(session),
        redo_log_uuid=int(redo_log[0]["Value"]) if redo_log else None,
    )


def utc_now(session: Session) -> datetime:
    """What time it is by the server's own clock."""
    (row,) = session.query("SELECT UTC_TIMESTAMP(6) AS time_at")
    return row["time_at"].replace(tzinfo=UTC)


def started_at(session: Session) -> datetime:
    """When the server was started, by its own clock as it was then; to the second, and one more or less."""
    (row,) = session.query(
        "SELECT UTC_TIMESTAMP() - INTERVAL variable_value SECOND AS at"
        " FROM performance_schema.global_status WHERE variable_name = 'Uptime'"
    )
    at: datetime = row["at"]
    return at.replace(microsecond=0, tzinfo=UTC)


def server_version(session: Session) -> str:
    """Asked alone first: other kinds of servers do not know all that ``server_facts`` asks."""
    return str(session.query("SELECT VERSION() AS version")[0]["version"])


def log_status(session: Session) -> LogStatus:
    """Source: performance_schema.log_status, which stops every log for an instant. Needs BACKUP_ADMIN."""
    (row,) = session.query("SELECT * FROM performance_schema.log_status")
    local: Mapping[str, Any] = json.loads(row["LOCAL"])
    engine: Mapping[str, Any] = json.loads(row["STORAGE_ENGINES"])["InnoDB"]
    channels: Iterable[Mapping[str, Any]] = json.loads(row["REPLICATION"])["channels"]
    return LogStatus(
        server_uuid=row["SERVER_UUID"],
        gtid_executed=GtidSet.parse(local.get("gtid_executed", "")),
        binlog_file=local.get("binary_log_file", ""),
        binlog_position=int(local.get("binary_log_position", 0)),
        lsn=int(engine["LSN"]),
        lsn_checkpoint=int(engine["LSN_checkpoint"]),
        channels=tuple(
            ChannelPosition(
                channel["channel_name"], channel["relay_log_file"], int(channel["relay_log_position"])
            )
            for channel in channels
        ),
    )


def clone_plugin_active(session: Session) -> bool:
    return bool(
        session.query(
            "SELECT 1 FROM information_schema.plugins"
            " WHERE plugin_name = 'clone' AND plugin_status = 'ACTIVE'"
        )
    )


def missing_privileges(session: Session, required: Sequence[str] = REQUIRED_PRIVILEGES) -> tuple[str, ...]:
    """Those of ``required`` that the session's account lacks everywhere, roles in effect counted."""
    held: set[str] = set()
    for row in session.query("SHOW GRANTS"):
        if found := _GLOBAL_GRANT.match(str(next(iter(row.values())))):
            held.update(privilege.strip().upper() for privilege in found["privileges"].split(","))
    if "ALL PRIVILEGES" in held:
        # As MySQL 8.0 prints it to those who hold every static privilege; dynamic ones are listed apart.
        held.update(set(required) - _DYNAMIC)
    return tuple(privilege for privilege in required if privilege not in held)


def non_innodb_tables(session: Session) -> tuple[TableEngine, ...]:
    """Tables of users that clone does not copy. Needs SHOW VIEW, or the server hides tables from us."""
    rows = session.query(
        "SELECT table_schema AS s, table_name AS t, engine AS e FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND engine IS NOT NULL AND engine <> 'InnoDB'"
        " AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema', 'ndbinfo')"
        " ORDER BY 1, 2"
    )
    return tuple(TableEngine(row["s"], row["t"], row["e"]) for row in rows)


def redo_logging_enabled(session: Session) -> bool:
    """True also before MySQL 8.0.21, which cannot disable it."""
    rows = session.query("SHOW GLOBAL STATUS LIKE 'Innodb_redo_log_enabled'")
    return not rows or rows[0]["Value"] == "ON"


def running_clone(session: Session) -> RunningClone | None:
    """A clone that this server is the donor of. Needs PROCESS.

    A recipient that lives has two sessions or more. One alone is what a dead recipient left behind: it waits
    to be resumed, and a new clone ends it.
    """
    rows = [row for row in session.query("SHOW PROCESSLIST") if row["Command"].lower() == "clone"]
    if len(rows) < 2:
        return None
    return RunningClone(rows[0]["User"], rows[0]["Host"], rows[0]["State"] or "")


def replica_status(session: Session) -> tuple[ReplicaChannel, ...]:
    """The server's replication channels; empty on a server that replicates from nobody."""
    modern = version_numbers(server_version(session)) >= (8, 0, 22)
    rows = session.query("SHOW REPLICA STATUS" if modern else "SHOW SLAVE STATUS")
    source, replica = ("Source", "Replica") if modern else ("Master", "Slave")
    return tuple(
        ReplicaChannel(
            channel=row["Channel_Name"],
            source_host=row[f"{source}_Host"],
            source_port=int(row[f"{source}_Port"]),
            source_uuid=row[f"{source}_UUID"],
            receiver_running=row[f"{replica}_IO_Running"] == "Yes",
            applier_running=row[f"{replica}_SQL_Running"] == "Yes",
            lag_seconds=row[f"Seconds_Behind_{source}"],
            last_error=row["Last_SQL_Error"] or row["Last_IO_Error"],
        )
        for row in rows
    )


def external_tablespaces(session: Session) -> tuple[ExternalFile, ...]:
    """Files that an absolute path names: DATA DIRECTORY, or a general tablespace kept elsewhere.

    Undo tablespaces are left out: clone brings them by their base name. Needs PROCESS.
    """
    rows = session.query(
        "SELECT CAST(d.space AS UNSIGNED) AS space, f.tablespace_name AS name, d.path AS path"
        " FROM information_schema.innodb_datafiles d"
        " LEFT JOIN information_schema.files f ON f.file_id = d.space"
        " WHERE d.path LIKE '/%' AND COALESCE(f.file_type, 'TABLESPACE') = 'TABLESPACE' ORDER BY 3"
    )
    return tuple(ExternalFile(int(row["space"]), row["name"] or "", row["path"]) for row in rows)


def encryption_in_use(session: Session) -> EncryptionInUse:
    """Needs PROCESS."""
    rows = session.query(
        "SELECT name AS n FROM information_schema.innodb_tablespaces WHERE encryption = 'Y' ORDER BY 1"
    )
    (settings,) = session.query(
        "SELECT @@global.innodb_undo_log_encrypt AS undo_log, @@global.innodb_redo_log_encrypt AS redo_log"
    )
    names = tuple(str(row["n"]) for row in rows)
    return EncryptionInUse(names, bool(settings["undo_log"]), bool(settings["redo_log"]))


def max_allowed_packet(session: Session) -> int:
    """The global value in bytes; clone needs 2 MiB or more at the donor."""
    return int(session.query("SELECT @@global.max_allowed_packet AS bytes")[0]["bytes"])


def data_bytes(session: Session) -> int:
    """Bytes in all InnoDB files, temporary ones left out: what a full backup will read. Needs PROCESS."""
    rows = session.query(
        "SELECT CAST(SUM(file_size) AS UNSIGNED) AS bytes FROM information_schema.innodb_tablespaces"
        " WHERE name NOT LIKE 'innodb_temporary%'"
    )
    return int(rows[0]["bytes"] or 0)


def gtid_executed(session: Session) -> GtidSet:
    return GtidSet.parse(str(session.query("SELECT @@global.gtid_executed AS gtids")[0]["gtids"]))
