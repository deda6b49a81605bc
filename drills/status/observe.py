"""Asks store, servers and this machine how a fleet does, all at once, and puts the answers together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, partial

from backup.archive.report import Window
from backup.archive.sources import SourceFacts
from backup.archive.status import ArchiveLook, look_at_archive
from backup.archive.survey import Survey
from backup.mirror.findings import last_error
from backup.mirror.journal import EVERYTHING
from backup.mirror.report import MirrorStatus, ShardMirrorStatus
from backup.mirror.status import mirror_status
from drills.status import places
from drills.status.clocks import StoreClock, judge_clocks
from drills.status.disks import judge_disks, seen_disks
from drills.status.forecast import Readings, forecast_rto
from drills.status.judge import ShardFacts, by_urgency, judge_journal, judge_shard, what_to_do
from drills.status.ran import Ran, RanHistory
from drills.status.recovery_map import Known, proven_spans, reach_of, recovery_map
from drills.status.report import (
    BackupSeen,
    DiskSeen,
    FleetStatus,
    Health,
    Judged,
    RecoveryMap,
    ReplicaSeen,
    ShardStatus,
    UnconfiguredShard,
    worst,
)
from drills.status.run_journal import RunEnded
from drills.status.run_outcomes import all_runs
from drills.status.runs import Past, failed_runs, next_run, overdue_runs, past_of, seen_runs
from drills.status.schedule_known import KnownSince
from drills.status.scheduler import judge_scheduler
from drills.status.shelf import Memory, ShardShelf, proof_seen, read_shelf
from drills.status.unconfigured import judge_renamed, seen_unconfigured
from fleet.clock import Clock
from fleet.errors import Cancelled, ToolError
from fleet.finding import Level
from fleet.model import Fleet, Shard
from fleet.skew import Skew
from repository.archive.line import Line
from repository.catalog import Catalog
from repository.mirror.places import side_by_side
from repository.outcomes import Outcome, OutcomesKnown
from repository.repository import Repository
from repository.store_clock import MAX_OFF_SECONDS
from repository.stores.interface import ObjectInfo
from repository.stores.opening import open_store
from repository.stores.retrying import RetryPolicy
from repository.turns import Turns

_AT_ONCE = 8
_CLOCKS_DIFFER = timedelta(seconds=MAX_OFF_SECONDS)

SOON = RetryPolicy(deadline_seconds=15.0, first_contact_seconds=5.0, longest_delay_seconds=5.0)
"""Who asks how things stand wants to hear soon that a store is away."""


@dataclass
class Remembered:
    """What one look leaves for the next one at the same repository, to save it reading again."""

    shelf: Memory = field(default_factory=Memory)
    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    outcomes: OutcomesKnown = field(default_factory=dict[ObjectInfo, Outcome | None])
    store_clock: StoreClock = field(default_factory=StoreClock)


@dataclass(frozen=True)
class _Asked:
    """The answers that concern all shards."""

    fleet: Fleet
    now: datetime
    shelves: Mapping[str, ShardShelf]
    journal: tuple[RunEnded, ...]
    mirrors: Mapping[str, ShardMirrorStatus]
    readings: Readings
    known_since: KnownSince
    running: Mapping[str, datetime]

    @cached_property
    def ran(self) -> Ran | None:
        """What workers on other machines start is no matter of a service on this one."""
        fleet = self.fleet
        return RanHistory(places.ran_file(fleet)).read() if fleet.scheduler.api_url is None else None


def observe_fleet(
    fleet: Fleet,
    repository: Repository,
    *,
    clock: Clock,
    shards: Sequence[str] = (),
    remembered: Remembered | None = None,
    known_since: KnownSince | None = None,
    asks_time: bool = False,
) -> FleetStatus:
    """How the named shards do, or all. The lag's history is not in it.

    ``known_since``: when cron lines took the place of others; what they ask for before that is not missed.
    ``asks_time``: an object may be put into the store, and deleted, to learn what its clock says.

    A server, a mirror or a scheduler that does not answer is a finding. Raises ``NotFound``, and what keeps
    us from asking the store.
    """
    remembered = remembered or Remembered()
    chosen = [fleet.shard(name) for name in shards] or list(fleet.shards)
    names, now = [shard.name for shard in chosen], clock.now()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="observe") as askers:
        mirror = askers.submit(_ask_mirror, fleet, repository, names, clock)
        running = askers.submit(_running, repository, now)
        scheduler = askers.submit(lambda: list(judge_scheduler(fleet)))
        runs = askers.submit(all_runs, fleet, repository, remembered.outcomes)
        time = askers.submit(remembered.store_clock.ask, repository.store, clock) if asks_time else None
        left = [] if shards else sorted(set(Catalog(repository).shards()) - set(names))
        shelves = read_shelf(repository, [*names, *left], remembered.shelf, now=now)
        look = partial(
            _look, fleet=fleet, repository=repository, clock=clock, shelves=shelves, remembered=remembered
        )
        looks = [askers.submit(look, shard) for shard in chosen]
    mirrors, mirror_findings = mirror.result()
    journal = _until(now, runs.result())
    readings = Readings(journal, fleet.schedule.verify_percent)
    asked = _Asked(fleet, now, shelves, journal, mirrors, readings, known_since or {}, running.result())
    told = tuple(_tell(asked, shard, look) for shard, look in zip(chosen, looks, strict=True))
    disks = seen_disks(fleet, repository.repository_id)
    store_clock = time.result() if time is not None else None
    unconfigured = seen_unconfigured(left, shelves, window=timedelta(days=fleet.retention.days))
    ours = _judge_all(asked, told, disks, store_clock, unconfigured)
    findings = by_urgency([*ours, *scheduler.result(), *mirror_findings, *_judge_key(repository)])
    every = (*findings, *(finding for shard in told for finding in shard.findings))
    return FleetStatus(
        fleet=fleet.name,
        repository=repository.store.describe(),
        seen_at=now,
        health=worst(every),
        shards=told,
        disks=disks,
        findings=findings,
        what_to_do=what_to_do(every),
        rto_target_seconds=fleet.targets.rto_seconds,
        rpo_target_seconds=fleet.targets.rpo_seconds,
        unconfigured=unconfigured,
        store_clock=store_clock,
    )


def _judge_all(
    asked: _Asked,
    shards: Sequence[ShardStatus],
    disks: tuple[DiskSeen, ...],
    store_clock: Skew | None,
    unconfigured: Sequence[UnconfiguredShard],
) -> Iterator[Judged]:
    """What is of no shard. Pure."""
    fleet = asked.fleet
    yield from judge_disks(disks, fleet.alerts.disk_percent)
    proven = (proof.at for each in shards for proof in each.proofs if proof.rto_seconds is not None)
    yield from judge_journal(asked.journal, fleet, asked.now, proven_at=max(proven, default=None))
    clocks = {each.name: each.clock for shard in shards for each in shard.servers if each.clock is not None}
    yield from judge_clocks(clocks, store_clock, is_remote=fleet.repository.scheme != "file")
    yield from judge_renamed(fleet, asked.shelves, unconfigured)


def _look(
    shard: Shard,
    *,
    fleet: Fleet,
    repository: Repository,
    clock: Clock,
    shelves: Mapping[str, ShardShelf],
    remembered: Remembered,
) -> ArchiveLook | ToolError:
    """An archive that cannot be read says so; what a retry could cure is raised."""
    known = remembered.lines.get(shard.name)
    try:
        bases = shelves[shard.name].bases
        look = look_at_archive(fleet, shard, repository, clock, bases, known=known)
    except ToolError as error:
        if error.retryable or isinstance(error, Cancelled):
            raise
        return error
    if look.line is not None:
        remembered.lines[shard.name] = look.line
    return look


def _tell(asked: _Asked, shard: Shard, looked: Future[ArchiveLook | ToolError]) -> ShardStatus:
    found = looked.result()
    look, error = (found, None) if isinstance(found, ArchiveLook) else (None, found)
    fleet, now, shelf = asked.fleet, asked.now, asked.shelves[shard.name]
    backups = tuple(
        replace(each, verified_at=asked.readings.verified_at(each.finished_at)) for each in shelf.backups
    )
    whole = [each for each in backups if each.damage is None]
    proofs = tuple(proof_seen(each) for each in shelf.proofs)
    past = _past(asked, shelf, shard)
    forecast = forecast_rto(shelf.proofs, whole)
    mirror = asked.mirrors.get(shard.name)
    facts = ShardFacts(
        fleet=fleet,
        shard=shard,
        now=now,
        backups=backups,
        unreadable=sorted(shelf.unreadable.items(), key=lambda each: each[0]),
        proofs=proofs,
        archive=look,
        archive_error=error,
        servers=_servers(look.survey) if look else (),
        overdue=tuple(overdue_runs(fleet, shard, past, now)),
        forecast_rto_seconds=forecast.seconds if forecast else None,
        mirror=mirror,
        failed=tuple(failed_runs(past)),
    )
    findings = judge_shard(facts)
    status = look.status if look else None
    lag = status.lag if status else None
    archive = mirror.archive if mirror else None
    return ShardStatus(
        shard=shard.name,
        health=worst(findings),
        backups=backups,
        last_full=_last(whole, "full"),
        last_incremental=_last(whole, "incremental"),
        last_proof=next((each for each in reversed(proofs) if each.proven), None),
        proofs=proofs,
        archive_mode=fleet.archive.mode,
        archived_until=status.last.committed_at if status and status.last else None,
        archive_lag_seconds=lag.seconds if lag else None,
        windows=status.windows if status else (),
        gaps=status.gaps if status else (),
        runs=seen_runs(fleet, shard, past, now),
        next_run=next_run(fleet, shard, now),
        forecast_rto_seconds=facts.forecast_rto_seconds,
        forecast_by=forecast.by if forecast else None,
        mirror_lag_seconds=archive.lag_seconds if archive else None,
        servers=facts.servers,
        recovery=_map(asked, facts),
        lag_history=(),
        findings=findings,
        running_since=asked.running.get(shard.name),
    )


def _past(asked: _Asked, shelf: ShardShelf, shard: Shard) -> Past:
    taken = tuple(each for each in shelf.taken if each.finished_at <= asked.now + _CLOCKS_DIFFER)
    return past_of(
        shard.name,
        taken,
        asked.journal,
        at_work=shelf.at_work,
        known_since=asked.known_since,
        ran=asked.ran,
    )


def _until(now: datetime, journal: Sequence[RunEnded]) -> tuple[RunEnded, ...]:
    """What a clock that was ahead wrote down is no word on what is due now."""
    return tuple(run for run in journal if run.ended_at <= now + _CLOCKS_DIFFER)


def _running(repository: Repository, now: datetime) -> dict[str, datetime]:
    """By shard, since when somebody is at work on it."""
    return {each.terms.name: each.since for each in Turns(repository).in_force(now, "shard")}


def _map(asked: _Asked, facts: ShardFacts) -> RecoveryMap:
    status = facts.archive.status if facts.archive else None
    windows: tuple[Window, ...] = status.windows if status else ()
    reach = reach_of(
        windows,
        status.last.committed_at if status and status.last else None,
        status.lag if status else None,
        rpo_seconds=asked.fleet.targets.rpo_seconds,
        now=asked.now,
    )
    starts = [window.first_at for window in windows] + [each.finished_at for each in facts.backups]
    promised = asked.now - timedelta(days=asked.fleet.retention.days)
    known = Known(
        since=max(min(starts), promised) if starts else None,
        until=reach.until,
        windows=reach.windows,
        proven=proven_spans(facts.proofs, facts.backups),
        verified_at=asked.readings.verified_at,
    )
    return recovery_map(known, asked.now)


def _last(backups: Sequence[BackupSeen], kind: str) -> BackupSeen | None:
    return next((each for each in reversed(backups) if each.kind == kind), None)


def _servers(survey: Survey) -> tuple[ReplicaSeen, ...]:
    answered = [replace(_server(each), clock=each.clock) for each in survey.seen]
    silent = [
        ReplicaSeen(each.server.name, each.server.region, "unknown", None, each.error.message)
        for each in survey.unseen
    ]
    return (*answered, *silent)


def _server(facts: SourceFacts) -> ReplicaSeen:
    place = (facts.name, facts.server.region)
    if not facts.links:
        if facts.is_writable:
            return ReplicaSeen(*place, "primary", None)
        return ReplicaSeen(*place, "replica", None, "takes no writes, and replicates from nobody")
    problem = None
    if not facts.is_replica:
        problem = "does not receive: its replication is stopped"
    elif any(link.receiving == "connecting" for link in facts.links):
        problem = "cannot connect to its source"
    elif not all(link.applying for link in facts.links):
        problem = "receives, and does not apply"
    lags = [link.lag_seconds for link in facts.links if link.lag_seconds is not None]
    if problem is not None and facts.is_writable and not facts.is_replica:
        # What a promotion left behind of the old replication.
        return ReplicaSeen(*place, "primary", None)
    return ReplicaSeen(*place, "replica", float(max(lags)) if lags else None, problem)


def _ask_mirror(
    fleet: Fleet, repository: Repository, names: Sequence[str], clock: Clock
) -> tuple[dict[str, ShardMirrorStatus], list[Judged]]:
    if fleet.mirror is None:
        return {}, []
    hint = "See what it says: backstay mirror status"
    try:
        status: MirrorStatus = mirror_status(
            fleet, side_by_side(repository, open_store(fleet.mirror, policy=SOON)), names, clock=clock
        )
    except Cancelled:
        raise
    except ToolError as error:
        message = f"the mirror cannot be asked: {error.message}"
        return {}, [Judged(Health.WARNING, "mirror-lag", "mirror", message, hint)]
    findings: list[Judged] = []
    if status.last_error is not None:
        message, since = status.last_error.message, status.last_error.at
        findings.append(Judged(Health.WARNING, "mirror-lag", "mirror", message, hint, since))
    errors = [(EVERYTHING, status.last_error), *((each.shard, each.last_error) for each in status.shards)]
    told = [finding for subject, error in errors for finding in last_error(subject, error)]
    findings += [
        Judged(Health.WARNING, "mirror-lag", each.subject, each.message, each.hint or hint)
        for each in status.findings
        if each not in told and each.level is not Level.OK
    ]
    return {each.shard: each for each in status.shards}, findings


def _judge_key(repository: Repository) -> Iterator[Judged]:
    """Who can only write knows nothing of what there is: that is neither well nor ill."""
    if why := repository.keys.why_nothing_opens():
        hint = "Ask on a machine whose configuration names the private key: backstay keys list"
        yield Judged(Health.UNKNOWN, "key-unusable", "keys", f"nothing can be read here: {why}", hint)
