"""All that is asked of a shard's servers before the first byte is copied.

``inspect_server`` asks one server and judges; it does not raise for what a server says: a shard has others.
``check`` prints its findings, ``backup.plan`` chooses by them, so both speak of the same facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime

from backup.plan import Candidate, choose_donor, why_not
from backup.standing import believed, closed_holes, copied_before
from fleet.clock import Clock
from fleet.errors import Cancelled, ServerUnsupported, ToolError
from fleet.finding import Finding, Level, failures
from fleet.gtid import GtidSet
from fleet.model import Account, Fleet, Server, Shard
from fleet.policy import BackupConfig
from fleet.skew import TELLING_SECONDS
from repository.repository import Repository
from wire import admin
from wire.session import Session, open_session

OLDEST_VERSION = (8, 0, 17)
SMALLEST_PACKET_BYTES = 2 * 1024 * 1024
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0


def inspect_shard(
    fleet: Fleet, shard: Shard, clock: Clock, *, repository: Repository | None = None
) -> tuple[Candidate, ...]:
    """Look at all servers of ``shard`` at once, in the order of the config.

    A replica whose GTID set does not tell what its data holds is not fit: its set has holes against the
    primary's, or lacks what a backup in ``repository`` has of it. Raises what a retry can cure of the store.
    """

    def inspect(server: Server) -> Candidate:
        return inspect_server(server, fleet.accounts.backup, fleet.backup, clock)

    with ThreadPoolExecutor(max_workers=len(shard.servers), thread_name_prefix="preflight") as pool:
        seen = tuple(pool.map(inspect, shard.servers))
    seen = closed_holes(seen, lambda each: _executed(each, fleet.accounts.backup), clock)
    return seen if repository is None else believed(seen, lambda: copied_before(repository, shard.name))


def _executed(candidate: Candidate, account: Account) -> GtidSet:
    """The server's set as it is now; as it was where it does not answer any more."""
    try:
        with closing(_open(candidate.server, account)) as session:
            return admin.gtid_executed(session)
    except Cancelled:
        raise
    except ToolError:
        return candidate.executed or GtidSet()


def _open(server: Server, account: Account) -> Session:
    return open_session(server, account, connect_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS)


def check_shard(
    fleet: Fleet, shard_name: str, *, clock: Clock, repository: Repository | None = None
) -> tuple[Finding, ...]:
    """What was found of every server of the shard, and which of them a backup would be copied from.

    A server that is not fit is a warning while another one is: the shard can be backed up.
    """
    shard = fleet.shard(shard_name)
    candidates = inspect_shard(fleet, shard, clock, repository=repository)
    findings = [finding for candidate in candidates for finding in candidate.findings]
    subject = f"shard {shard.name}"
    try:
        choice = choose_donor(shard.name, candidates, fleet.backup)
    except ToolError as error:
        return (_nobody(subject, candidates, fleet.backup, error), *findings)
    eased = (replace(f, level=Level.WARN) if f.level is Level.FAIL else f for f in findings)
    return (Finding(Level.OK, subject, f"to be copied from {choice.reason}"), *eased)


def _nobody(
    subject: str, candidates: tuple[Candidate, ...], policy: BackupConfig, error: ToolError
) -> Finding:
    """Why nothing can be copied; what stands with the servers below is not said twice."""
    passed_over = tuple(why_not(candidate, policy) for candidate in candidates if candidate.is_fit)
    if not passed_over:
        return Finding(Level.FAIL, subject, "no server of it can be copied from; each says why")
    return Finding(
        Level.FAIL, subject, f"no server of it can be copied from: {'; '.join(passed_over)}", error.hint
    )


def inspect_server(server: Server, account: Account, policy: BackupConfig, clock: Clock) -> Candidate:
    """What stands in the way of a clone from ``server``, and what an operator should know."""
    try:
        session = _open(server, account)
    except Cancelled:
        raise
    except ToolError as error:
        return _unseen(server, error)
    try:
        require_supported_server(server, session)
        channels = admin.replica_status(session)
        lags = [channel.lag_seconds for channel in channels if channel.lag_seconds is not None]
        findings = tuple(_findings(server, session, channels, policy, clock))
        facts = admin.server_facts(session)
        # Of one moment. Without the privilege for it, it is not fit anyway.
        log = admin.log_status(session) if channels and not failures(findings) else None
        return Candidate(
            server,
            bool(channels),
            max(lags) if lags else None,
            findings,
            server_uuid=facts.uuid,
            redo_log_uuid=facts.redo_log_uuid,
            executed=log.gtid_executed if log is not None else admin.gtid_executed(session),
            lsn=log.lsn if log is not None else None,
        )
    except Cancelled:
        raise
    except ToolError as error:
        return _unseen(server, error)
    finally:
        session.close()


def require_supported_server(server: Server, session: Session) -> None:
    """Raises ``ServerUnsupported`` for MariaDB, for MySQL before 8.0.17, and for servers without GTIDs."""
    version = admin.server_version(session)
    if "mariadb" in version.lower():
        raise ServerUnsupported(
            f"{_subject(server)} is MariaDB ({version})",
            hint="MariaDB does not have the clone protocol; use mariabackup there.",
        )
    if admin.version_numbers(version) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise ServerUnsupported(
            f"{_subject(server)} runs MySQL {version}; clone came with {oldest}",
            hint=f"Upgrade to {oldest} or later, better to a long-term release.",
        )
    if (mode := admin.server_facts(session).gtid_mode) != "ON":
        raise ServerUnsupported(
            f"{_subject(server)} has gtid_mode = {mode}",
            hint="A restore proves itself by its GTID set: turn gtid_mode ON.",
        )


def _findings(
    server: Server,
    session: Session,
    channels: tuple[admin.ReplicaChannel, ...],
    policy: BackupConfig,
    clock: Clock,
) -> Iterator[Finding]:
    facts = admin.server_facts(session)
    told = _Teller(_subject(server))
    missing = admin.missing_privileges(session)
    if missing:
        yield told.fail(
            f"the backup account lacks {', '.join(missing)}",
            "infra/examples/accounts.sql grants what a backup needs.",
        )
        return
    yield told.ok(f"MySQL {facts.version}, {'replica' if channels else 'primary'}")
    if not admin.clone_plugin_active(session):
        yield told.fail(
            "the clone plugin is not active",
            "INSTALL PLUGIN clone SONAME 'mysql_clone.so', or plugin-load-add=mysql_clone.so in its config.",
        )
    if facts.max_allowed_packet < SMALLEST_PACKET_BYTES:
        yield told.fail(
            f"max_allowed_packet is {facts.max_allowed_packet}; clone needs {SMALLEST_PACKET_BYTES}",
            "SET PERSIST max_allowed_packet = 67108864.",
        )
    if not admin.redo_logging_enabled(session):
        yield told.fail("redo logging is disabled", "ALTER INSTANCE ENABLE INNODB REDO_LOG.")
    if clone := admin.running_clone(session):
        yield told.fail(
            f"another clone is running, of {clone.user} from {clone.host}",
            "A server serves one clone at a time; try again when it has ended.",
        )
    yield from _data_findings(server, session, policy, told)
    yield from _replication_findings(channels, policy, told)
    yield from _clock_findings(facts.time_at, clock.now(), told)


def _data_findings(
    server: Server, session: Session, policy: BackupConfig, told: _Teller
) -> Iterator[Finding]:
    tables = admin.non_innodb_tables(session)
    lost = [table.name for table in tables if table.name not in policy.allow_lost_tables]
    if lost:
        yield told.fail(
            f"tables that are not InnoDB would come back empty: {_some(lost)}",
            "Make them InnoDB, or name them in backup.allow_lost_tables to go without their rows.",
        )
    elif tables:
        yield told.warn(f"allowed to come back empty: {_some([table.name for table in tables])}")
    external = [file.path for file in admin.external_tablespaces(session)]
    if external and policy.external_tablespaces == "refuse":
        yield told.fail(
            f"tablespaces lie outside of the data directory: {_some(external)}",
            'Set backup.external_tablespaces = "into-datadir" to restore them inside of it.',
        )
    if admin.encryption_in_use(session) and server.tls.mode == "off" and server.socket is None:
        yield told.fail(
            "data at rest is encrypted, and the connection would not be",
            'Remove tls.mode = "off" from this server: MySQL gives encrypted data over TLS only.',
        )


def _replication_findings(
    channels: tuple[admin.ReplicaChannel, ...], policy: BackupConfig, told: _Teller
) -> Iterator[Finding]:
    for channel in channels:
        name = f"replication channel {channel.channel!r}" if channel.channel else "replication"
        if not channel.applier_running or not channel.receiver_running:
            stopped = "applier" if not channel.applier_running else "receiver"
            reason = f": {channel.last_error}" if channel.last_error else ""
            yield told.fail(
                f"the {stopped} of {name} does not run{reason}", "START REPLICA, or take another server."
            )
        elif channel.lag_seconds is not None and channel.lag_seconds > policy.max_replica_lag_seconds:
            yield told.fail(
                f"{name} is {channel.lag_seconds} s behind, "
                f"more than the {policy.max_replica_lag_seconds:.0f} s that are allowed",
                "Wait until it has caught up, or raise backup.max_replica_lag_seconds.",
            )


def _clock_findings(theirs: datetime, ours: datetime, told: _Teller) -> Iterator[Finding]:
    skew = (theirs - ours).total_seconds()
    if abs(skew) > TELLING_SECONDS:
        yield told.warn(
            f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this host's",
            "Labels and times of backups come from this host; let both follow the same time service.",
        )


class _Teller:
    """Makes findings about one subject."""

    def __init__(self, subject: str) -> None:
        self._make: Callable[[Level, str, str | None], Finding] = lambda level, message, hint: Finding(
            level, subject, message, hint
        )

    def ok(self, message: str) -> Finding:
        return self._make(Level.OK, message, None)

    def warn(self, message: str, hint: str | None = None) -> Finding:
        return self._make(Level.WARN, message, hint)

    def fail(self, message: str, hint: str) -> Finding:
        return self._make(Level.FAIL, message, hint)


def _unseen(server: Server, error: ToolError) -> Candidate:
    finding = Finding(Level.FAIL, _subject(server), error.message, error.hint)
    return Candidate(server, server.role == "replica", None, (finding,), error)


def _subject(server: Server) -> str:
    return f"server {server.name}"


def _some(names: list[str], shown: int = 5) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
