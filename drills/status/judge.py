"""What the facts of a shard mean: how bad it is, since when, and the one command that helps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from backup.archive.status import ArchiveLook
from backup.mirror.report import ShardMirrorStatus
from drills.status.donors import judge_donors
from drills.status.report import BackupSeen, Code, Health, Judged, ProofSeen, ReplicaSeen
from drills.status.run_journal import RunEnded
from drills.status.runs import Overdue
from fleet.errors import DiskFull, KeyUnusable, ToolError
from fleet.figures import duration, moment, plural
from fleet.finding import Finding, Level
from fleet.model import Fleet, Shard
from fleet.schedule import KINDS, last_due_of_all
from repository.store_clock import MAX_OFF_SECONDS

_URGENCY: tuple[Code, ...] = (
    "repository-unreachable",
    "key-unusable",
    "server-unreachable",
    "no-backup",
    "archive-gap",
    "archive-stopped",
    "fell-to-async",
    "archive-lag",
    "damage",
    "replication-lag",
    "backup-failed",
    "backup-overdue",
    "proof-failed",
    "scheduler-down",
    "disk-full",
    "retention-refused",
    "settings",
    "proof-overdue",
    "rto-over-target",
    "clock",
    "mirror-lag",
    "notify-failed",
    "archive-branch",
)
"""What comes first of what is equally bad, by what it costs: where nothing can be done at all, then what
cannot be recovered, then what loses data with a server, then what was not done, then what may hinder it.
"""


_BRANCH_TOLD = timedelta(days=7)
"""So long after a failover what it left behind is told of."""


class ShardFacts(NamedTuple):
    """All that is known of a shard. ``archive`` is None where ``archive_error`` says why."""

    fleet: Fleet
    shard: Shard
    now: datetime
    backups: tuple[BackupSeen, ...]
    unreadable: Sequence[tuple[str, ToolError]]
    proofs: tuple[ProofSeen, ...]
    archive: ArchiveLook | None
    archive_error: ToolError | None
    servers: tuple[ReplicaSeen, ...]
    overdue: tuple[Overdue, ...]
    forecast_rto_seconds: float | None
    mirror: ShardMirrorStatus | None
    failed: tuple[RunEnded, ...] = ()

    @property
    def name(self) -> str:
        return self.shard.name


def judge_shard(facts: ShardFacts) -> tuple[Judged, ...]:
    """What is wrong with it, worst first."""
    return by_urgency(
        [
            *_judge_backups(facts),
            *_judge_runs(facts),
            *_judge_failed(facts),
            *_judge_archive(facts),
            *_judge_servers(facts),
            *(judge_donors(facts.fleet, facts.shard, facts.archive.survey) if facts.archive else ()),
            *_judge_proofs(facts),
            *_judge_mirror(facts),
            *_judge_clock(facts),
        ]
    )


def by_urgency(findings: Iterable[Judged]) -> tuple[Judged, ...]:
    """Worst first; of equally bad ones what is to be done first."""
    order = list(Health)
    return tuple(sorted(findings, key=lambda each: (-order.index(each.health), _URGENCY.index(each.code))))


def what_to_do(findings: Iterable[Judged]) -> str:
    """One line: the way out of the worst one."""
    for worst in by_urgency(findings):
        return worst.hint or f"Look at {worst.subject}: {worst.message}"
    return "Nothing: every shard can be recovered."


_FLOWS: tuple[tuple[str, Code, str, str], ...] = (
    ("retention", "retention-refused", "retention", "See why retention refuses: backstay expire --dry-run"),
    ("proof", "proof-failed", "proof", "Try the proof again: backstay proof run"),
    ("verify", "damage", "verification", "See what is damaged: backstay verify --all --quick"),
)


_PROOF_ROOM = "Free some space, or name a larger disk with proof.directory; then try it: backstay proof run"

_LONGEST_RUN = timedelta(days=1)
"""The journal knows of runs that ended: one that is still at it is not missed so soon."""


def judge_journal(
    journal: Sequence[RunEnded], fleet: Fleet, now: datetime, *, proven_at: datetime | None = None
) -> Iterator[Judged]:
    """How the last run of each flow of the whole fleet ended, where that was not well; and which did not run.

    One that was cancelled tells nothing of how it would have ended. ``proven_at``: when a proof was last
    carried out to its end, whoever asked for it.
    """
    last = {each.flow: each for each in journal if each.outcome != "cancelled"}
    yield from _judge_last(last, proven_at)
    if not journal:
        return
    has_workers = fleet.scheduler.api_url is not None
    began = min(each.started_at for each in journal)
    patience = timedelta(seconds=fleet.alerts.backup_overdue_seconds) + _LONGEST_RUN
    lines = (
        ("retention", fleet.schedule.retention_cron, "retention", "expire"),
        ("verify", fleet.schedule.verify_cron, "verification", "verify --all"),
    )
    for flow, line, what, command in lines:
        due, run = last_due_of_all(fleet, line, now - patience), last.get(flow)
        if due is not None and began <= due and (run is None or run.ended_at < due):
            message = f"the {what} due at {moment(due)} UTC did not end, and none since"
            place = "a worker of its pool" if has_workers else "the service"
            way_out = f"Does {place} run? See its logs, and do it by hand: backstay {command}"
            # Workers may have an account that cannot tell how their runs ended.
            is_told_of = run is not None or not has_workers
            if is_told_of and (run is None or run.outcome != "failed"):
                yield Judged(Health.WARNING, "scheduler-down", what, message, way_out, due)


def _judge_last(last: Mapping[str, RunEnded], proven_at: datetime | None) -> Iterator[Judged]:
    """A proof that had no room tells nothing of any backup, and is no matter once another one had it."""
    for flow, code, what, hint in _FLOWS:
        run = last.get(flow)
        if run is None or run.outcome != "failed":
            continue
        if flow == "proof" and run.exit_code == DiskFull.exit_code:
            if proven_at is None or proven_at < run.ended_at:
                message = f"the last proof could not be carried out: {run.message}"
                yield Judged(Health.WARNING, "disk-full", what, message, _PROOF_ROOM, run.started_at)
        else:
            message = f"the last {what} failed: {run.message}"
            yield Judged(Health.WARNING, code, what, message, hint, run.started_at)


def _judge_backups(facts: ShardFacts) -> Iterator[Judged]:
    subject, full = f"shard {facts.name}", f"backstay backup full {facts.name}"
    whole = [each for each in facts.backups if each.damage is None]
    shut = [(label, error) for label, error in facts.unreadable if isinstance(error, KeyUnusable)]
    if shut:
        message = f"{plural(len(shut), 'backup')} cannot be opened: {shut[-1][1].message}"
        yield Judged(
            Health.CRITICAL, "key-unusable", subject, message, "See which key opens what: backstay keys list"
        )
    elif not whole:
        what = "no backup is whole" if facts.backups else "there is no backup"
        # One that refers would lean on what is damaged.
        hint = f"Take a backup now: {full}{' --stored' if facts.backups else ''}"
        yield Judged(Health.CRITICAL, "no-backup", subject, f"{what}: it cannot be recovered", hint)
    harm = [(each.label, each.damage) for each in facts.backups if each.damage is not None]
    harm += [(label, error.message) for label, error in facts.unreadable if (label, error) not in shut]
    if harm:
        label, why = max(harm)
        others = f", and {plural(len(harm) - 1, 'other')}" if len(harm) > 1 else ""
        newer = bool(whole) and whole[-1].label > label
        hint = (
            f"Newer ones are whole; see what is lost: backstay verify {facts.name} --quick"
            if newer
            else f"Take a whole backup now: {full} --stored"
        )
        health = Health.WARNING if newer else Health.CRITICAL
        yield Judged(health, "damage", subject, f"{label}{others} cannot be restored: {why}", hint)


def _judge_runs(facts: ShardFacts) -> Iterator[Judged]:
    """Where a full is overdue, an incremental is no second thing to do: the full stands for it."""
    again = any(each.again for each in facts.overdue)
    for run, _ in sorted(facts.overdue, key=lambda each: KINDS.index(each.run.kind))[:1]:
        failed = run.state == "failed"
        message = (
            f"the {run.kind} due at {run.due_at:%Y-%m-%d %H:%M} UTC {'failed' if failed else 'was not run'}"
        )
        if run.because:
            message += f": {run.because}"
        if len(facts.overdue) > 1:
            message += "; nor was the incremental since"
        if again:
            message += "; the one before did not come either"
        yield Judged(
            Health.CRITICAL if again else Health.WARNING,
            "backup-failed" if failed else "backup-overdue",
            f"shard {facts.name}",
            message,
            f"Take the {run.kind} backup now: backstay backup {run.kind} {facts.name}",
            run.due_at,
        )


def _judge_failed(facts: ShardFacts) -> Iterator[Judged]:
    """What was not due, so that nobody misses it. Where a full is overdue, that stands for it."""
    missed = min((KINDS.index(each.run.kind) for each in facts.overdue), default=len(KINDS))
    for run in facts.failed:
        if KINDS.index(run.flow) < missed:
            message = f"the last {run.flow} backup, begun at {moment(run.started_at)} UTC, failed"
            if run.message:
                message += f": {run.message}"
            hint = run.hint or f"Take the {run.flow} backup now: backstay backup {run.flow} {facts.name}"
            yield Judged(
                Health.WARNING, "backup-failed", f"shard {facts.name}", message, hint, run.started_at
            )


def _judge_archive(facts: ShardFacts) -> Iterator[Judged]:
    subject, look = f"shard {facts.name}", facts.archive
    if look is None:
        if facts.archive_error is not None:
            yield _unreadable_archive(subject, facts.archive_error, facts.name)
        return
    if look.unanswered is None:
        yield from _judge_lag(facts, look)
    for gap in look.uncovered:
        message = (
            f"{plural(gap.missing.count(), 'transaction')} before {gap.before.file} were never archived: "
            "nothing behind them can be recovered"
        )
        hint = f"Take a backup now: backstay backup full {facts.name}"
        yield Judged(Health.CRITICAL, "archive-gap", subject, message, hint)
    for fall in look.falls:
        since = next((note.at for note in look.status.open_notes if note.kind == "fell-to-async"), None)
        yield _told(fall, "fell-to-async", since)
    epoch = look.status.epoch
    if epoch is not None and facts.now - epoch.opened_at < _BRANCH_TOLD:
        for branch in look.status.branches:
            if branch.epoch == epoch.number:
                message = f"{plural(branch.transactions, 'transaction')} of the old primary were left behind"
                hint = f"See what was left behind: backstay archive branches {facts.name}"
                yield Judged(Health.WARNING, "archive-branch", subject, message, hint, epoch.opened_at)
    yield from (_told(each, "settings") for each in look.settings if each.level is not Level.OK)


def _judge_lag(facts: ShardFacts, look: ArchiveLook) -> Iterator[Judged]:
    """Behind and followed is lag; behind and not followed is an archiver that is dead."""
    subject, lag = f"shard {facts.name}", look.status.lag
    start = f"Start the archiver, and leave it running: backstay archive run {facts.name}"
    if look.status.epoch is None:
        message = "its binlogs were never archived: only its backups' own moments can be recovered"
        yield Judged(Health.WARNING, "archive-stopped", subject, message, start)
        return
    if lag is None:
        return
    seconds, rpo = lag.seconds, facts.fleet.targets.rpo_seconds
    warns_at = facts.fleet.alerts.archive_lag_seconds
    warns_at = rpo / 2 if warns_at is None else warns_at
    # An old last transaction tells of an idle source alone; the oldest that is missing tells since when.
    since = facts.now - timedelta(seconds=seconds) if lag.transactions and seconds else None
    behind = f"{plural(lag.transactions, 'transaction')} not archived"
    if seconds:
        behind += f", the oldest for {duration(seconds)}"
    over = bool(lag.transactions) and (seconds is None or seconds >= rpo)
    late = bool(lag.transactions) and (seconds is None or seconds >= warns_at)
    if look.is_followed is False:
        message = f"no archiver follows {lag.server}" + (f": {behind}" if lag.transactions else "")
        health = Health.CRITICAL if over or late else Health.WARNING
        yield Judged(health, "archive-stopped", subject, message, start, since)
    elif late or over:
        hint = f"See what the archive waits for: backstay archive status {facts.name}"
        health = Health.CRITICAL if seconds is not None and over else Health.WARNING
        message = f"the archive is behind {lag.server}: {behind}"
        yield Judged(health, "archive-lag", subject, message, hint, since)


def _unreadable_archive(subject: str, error: ToolError, shard: str) -> Judged:
    if isinstance(error, KeyUnusable):
        return Judged(
            Health.CRITICAL, "key-unusable", subject, error.message, error.hint or "See: backstay keys list"
        )
    hint = error.hint or f"See what is damaged: backstay archive verify {shard}"
    return Judged(Health.CRITICAL, "damage", subject, f"its archive cannot be read: {error.message}", hint)


def _judge_servers(facts: ShardFacts) -> Iterator[Judged]:
    limit, look = facts.fleet.alerts.replication_lag_seconds, facts.archive
    has_primary = any(each.role == "primary" for each in facts.servers)
    for server in facts.servers:
        place = facts.shard.server(server.name)
        at = f"-h {place.host} -P {place.port}"
        subject = f"server {server.name}"
        if server.role == "unknown":
            health = Health.WARNING if has_primary else Health.CRITICAL
            hint = f"See whether {server.name} runs: mysqladmin {at} ping"
            yield Judged(health, "server-unreachable", subject, server.problem or "does not answer", hint)
        elif server.problem is not None:
            hint = f"See why {server.name} does not replicate: mysql {at} -E -e 'SHOW REPLICA STATUS'"
            yield Judged(Health.CRITICAL, "replication-lag", subject, server.problem, hint)
        elif server.lag_seconds is not None and server.lag_seconds > limit:
            message = f"is {duration(server.lag_seconds)} behind, and more than {duration(limit)}"
            hint = f"See what {server.name} applies: mysql {at} -e 'SHOW PROCESSLIST'"
            since = facts.now - timedelta(seconds=server.lag_seconds)
            yield Judged(Health.CRITICAL, "replication-lag", subject, message, hint, since)
    if not facts.servers or has_primary or look is None or look.unanswered is None:
        return
    if all(each.role != "unknown" for each in facts.servers):
        yield _told(look.unanswered, "server-unreachable")


def _judge_proofs(facts: ShardFacts) -> Iterator[Judged]:
    subject, config = f"shard {facts.name}", facts.fleet.proof
    prove = f"Restore and prove it now: backstay proof run {facts.name}"
    last = facts.proofs[-1] if facts.proofs else None
    if last is not None and not last.proven:
        message = f"the restore of {last.label} did not bring back what it promised"
        yield Judged(Health.CRITICAL, "proof-failed", subject, message, prove, last.at)
    proven = [each.at for each in facts.proofs if each.proven]
    # What was never proven is overdue as long after its first backup.
    since = proven[-1] if proven else min((each.finished_at for each in facts.backups), default=None)
    if config.enabled and since is not None and facts.now - since > timedelta(days=config.days):
        never = f"last proven at {moment(since)} UTC" if proven else "never proven by a restore"
        message = f"{never}, and every {plural(config.days, 'day')} was wanted"
        yield Judged(Health.WARNING, "proof-overdue", subject, message, prove, since)
    forecast, target = facts.forecast_rto_seconds, facts.fleet.targets.rto_seconds
    if forecast is not None and forecast > target:
        message = f"a restore will take {duration(forecast)}, and {duration(target)} are promised"
        hint = f"See which ways back are faster: backstay plan {facts.name}"
        yield Judged(Health.WARNING, "rto-over-target", subject, message, hint)


def _judge_mirror(facts: ShardFacts) -> Iterator[Judged]:
    if facts.mirror is None:
        return
    subject, hint = f"shard {facts.name}", "Copy what the mirror lacks: backstay mirror run"
    error, archive = facts.mirror.last_error, facts.mirror.archive
    limit = facts.fleet.alerts.mirror_lag_seconds
    backups = facts.mirror.backups
    since = backups.oldest_to_copy_at
    if backups.to_copy and since is not None and facts.now - since > timedelta(seconds=limit):
        age = duration((facts.now - since).total_seconds())
        message = f"its mirror lacks {plural(backups.to_copy, 'backup')}, the oldest finished {age} ago"
        yield Judged(Health.WARNING, "mirror-lag", subject, message, hint, since)
    if archive is not None and archive.lag_seconds is not None and archive.lag_seconds > limit:
        message = f"its mirror is {duration(archive.lag_seconds)} behind"
        if error is not None:
            message += f": {error.message}"
        since = facts.now - timedelta(seconds=archive.lag_seconds)
        yield Judged(Health.WARNING, "mirror-lag", subject, message, hint, since)
    elif error is not None:
        message = f"its mirror lacks something: {error.message}"
        yield Judged(Health.WARNING, "mirror-lag", subject, message, hint, error.at)


def _judge_clock(facts: ShardFacts) -> Iterator[Judged]:
    """Something of the future: every age that is told here rests on a clock that is wrong, or was."""
    last = facts.archive.status.last if facts.archive else None
    dated = [(each.finished_at, f"backup {each.label}") for each in facts.backups]
    dated += [(each.at, f"the proof of {each.label}") for each in facts.proofs]
    dated += [(last.committed_at, "the newest archived transaction")] if last else []
    at, what = max(dated, default=(facts.now, ""))
    ahead_seconds = (at - facts.now).total_seconds()
    if ahead_seconds > MAX_OFF_SECONDS:
        message = f"{what} is of {moment(at)} UTC, {duration(ahead_seconds)} ahead of this machine's clock"
        hint = "See which clock is wrong, here or where that was written; what is overdue goes by it: date -u"
        yield Judged(Health.WARNING, "clock", f"shard {facts.name}", message, hint)


def _told(finding: Finding, code: Code, since: datetime | None = None) -> Judged:
    """A finding of another room, in our words for how bad it is."""
    health = Health.CRITICAL if finding.level is Level.FAIL else Health.WARNING
    return Judged(health, code, finding.subject, finding.message, finding.hint, since)
