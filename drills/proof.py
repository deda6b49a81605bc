"""A proof: a shard's newest backup is restored, replayed to now, checked, measured, and deleted again.

Production is asked for one thing: what it has executed. Rows are not compared with live ones, which would
read whole tables there and race with every write: that the restored server has executed exactly the planned
transactions, and that its tables are sound, is what a restore itself can prove.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from drills.proof_plan import ProofPlan, plan_shard
from drills.proof_result import PassedShard, ProofResult, record
from drills.proof_room import proof_room
from drills.proof_source import Executed, ask_source
from drills.proof_turn import Standing, choose_to_prove, standings
from fleet.clock import Clock, SystemClock
from fleet.errors import (
    ArchiveGap,
    BinlogUnreadable,
    Cancelled,
    DiskFull,
    NotFound,
    ObjectDamaged,
    ObjectMissing,
    ProofFailed,
    RecoveryFailed,
    ReplayFailed,
    SourceDiverged,
    TargetUnreachable,
    ToolError,
)
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from repository.catalog import Catalog
from repository.repository import Repository
from restore.full import Leave, RestoreResult, restore_backup
from restore.kept import kept
from restore.point_restore import PointResult, carry_out
from restore.replay import ReplayState
from restore.replaying import Given

__all__ = ["PassedShard", "ProofPlan", "ProofResult", "choose_to_prove", "plan_proof", "prove"]

NOT_PROVEN = (
    ArchiveGap,
    BinlogUnreadable,
    ObjectDamaged,
    ObjectMissing,
    ProofFailed,
    RecoveryFailed,
    ReplayFailed,
    SourceDiverged,
    TargetUnreachable,
)
"""What tells that the shard cannot be recovered as it is stored; all else only that it could not be tried."""


def plan_proof(fleet: Fleet, shard: str | None, *, repository: Repository, directory: Path) -> ProofPlan:
    """What ``prove`` would do now. Touches nothing, asks no server; raises what it would before a byte."""
    refused: list[ToolError] = []
    for standing in _in_turn(fleet, shard, repository):
        into = directory / standing.shard
        try:
            label = Catalog(repository).name(standing.shard).label
            return plan_shard(fleet, standing, label, repository=repository, into=into)
        except ToolError as error:
            _check_passes(error)
            refused.append(_told(standing.shard, error))
    raise refused[0]


def prove(
    fleet: Fleet,
    shard: str | None,
    *,
    repository: Repository,
    directory: Path,
    keep: bool = False,
    clock: Clock | None = None,
    progress: Progress | None = None,
    on_replay: Callable[[ReplayState], None] | None = None,
    cancelled: threading.Event | None = None,
) -> ProofResult:
    """Restore the newest backup of ``shard`` below ``directory``, go on to the end of its archive, and say
    whether it is proven. None: of the shard whose newest proof is oldest, among those that can be tried.

    What was found is recorded in the repository, also that it is not proven. The restored data is deleted,
    unless it is to be kept; so is what an earlier proof that was killed left there. Raises what keeps it from
    being tried: ``NotFound``, ``DiskFull``, ``VersionMismatch``, ``KeyUnusable``, ``StoreUnreachable``,
    ``TargetRefused``, ``Cancelled``; with None that of the first shard, where none could be
    tried. What tells that the shard cannot be recovered is in the result.
    """
    given = Given(
        fleet,
        repository,
        clock or SystemClock(),
        progress or Silent(),
        cancelled or threading.Event(),
        on_replay,
        recorded=False,
    )
    refused: dict[str, ToolError] = {}
    for standing in _in_turn(fleet, shard, repository):
        with proof_room(directory, standing.shard, given.clock, given.progress.note) as room:
            try:
                trial = _begin(given, standing, room.path)
                seen = _carry_out(given, trial)
            except ToolError as error:
                _check_passes(error)
                refused[standing.shard] = error
                continue
            result = record(repository, _judge(given, trial, seen))
            if keep and room.path.exists():
                room.keep()
                result = replace(result, kept=room.path)
            return replace(
                result, passed_over=tuple(PassedShard(name, why.message) for name, why in refused.items())
            )
    raise _told(*next(iter(refused.items())))


def _check_passes(error: ToolError) -> None:
    """Raise it unless it is this shard's alone: nothing is recorded of it, so it would be first every day."""
    # What tells that a shard is not proven is a result, and is recorded.
    if error.retryable or isinstance(error, (Cancelled, *NOT_PROVEN)):
        raise error


def _told(shard: str, error: ToolError) -> ToolError:
    """Where there is no room, for whose proof, and where a proof finds more."""
    if not isinstance(error, DiskFull):
        return error
    return DiskFull(
        f"no room for a proof of {shard}: {error.message}",
        hint="Free some space, or name a larger disk with proof.directory.",
    )


def _in_turn(fleet: Fleet, shard: str | None, repository: Repository) -> Sequence[Standing]:
    """Raises ``NotFound``."""
    if shard is not None:
        # Says what there is instead, if there is no backup.
        Catalog(repository).name(shard)
        return standings(repository, [shard])
    in_turn = choose_to_prove(standings(repository, [each.name for each in fleet.shards]))
    if not in_turn:
        raise NotFound("there is no backup of any shard", hint="Take one: backstay backup full.")
    return in_turn


@dataclass(frozen=True)
class _Trial:
    """A proof that has begun. ``plan`` is None where making it failed, for what is stored: ``problem``."""

    shard: str
    label: str
    executed: Executed
    started_at: datetime
    began: float
    plan: ProofPlan | None = None
    problem: ToolError | None = None


def _begin(given: Given, standing: Standing, into: Path) -> _Trial:
    """Ask the source, then plan. Raises ``DiskFull``, and all else that keeps it from being tried."""
    label = Catalog(given.repository).name(standing.shard).label
    executed = ask_source(given.fleet, standing.shard)
    trial = _Trial(standing.shard, label, executed, given.clock.now(), given.clock.monotonic())
    try:
        plan = plan_shard(given.fleet, standing, label, repository=given.repository, into=into)
    except NOT_PROVEN as error:
        return replace(trial, problem=error)
    return replace(trial, plan=plan)


def _carry_out(given: Given, trial: _Trial) -> PointResult | RestoreResult | ToolError:
    """What the restore came to, or what tells that there is none."""
    if trial.plan is None:
        assert trial.problem is not None
        return trial.problem
    try:
        return _restore(given, trial.plan)
    except NOT_PROVEN as error:
        return error


def _restore(given: Given, plan: ProofPlan) -> PointResult | RestoreResult:
    level = given.fleet.proof.check
    if plan.point is not None and plan.line is not None:
        with kept(given.repository, plan.point.base, given.clock, given.progress, replays=True):
            return carry_out(given, plan.point, plan.line, leave=Leave.STOPPED, check=level)
    return restore_backup(
        given.fleet,
        plan.shard,
        plan.directory,
        repository=given.repository,
        label=plan.label,
        check=level,
        clock=given.clock,
        progress=given.progress,
        cancelled=given.cancelled,
    )


def _judge(given: Given, trial: _Trial, seen: PointResult | RestoreResult | ToolError) -> ProofResult:
    seconds = given.clock.monotonic() - trial.began
    targets = given.fleet.targets
    result = ProofResult(
        shard=trial.shard,
        label=trial.label,
        proven=not isinstance(seen, ToolError),
        problem=seen.message if isinstance(seen, ToolError) else None,
        way_out=seen.hint if isinstance(seen, ToolError) else None,
        started_at=trial.started_at,
        finished_at=given.clock.now(),
        alone=trial.plan.alone if trial.plan else None,
        reached_at=seen.reached_at if isinstance(seen, PointResult) else None,
        transactions=seen.transactions if isinstance(seen, PointResult) else 0,
        gtid_executed="",
        server_version="",
        checks=(),
        seconds=seconds,
        stage_seconds={},
        rto_seconds=None,
        rto_target_seconds=targets.rto_seconds,
        rpo_seconds=None,
        rpo_transactions=None,
        rpo_unknown=trial.executed.unknown,
        rpo_target_seconds=targets.rpo_seconds,
    )
    if isinstance(seen, ToolError) or trial.plan is None:
        return result
    lost, lost_seconds = _lost(trial, trial.plan, GtidSet.parse(seen.gtid_executed), result.reached_at)
    return replace(
        result,
        gtid_executed=seen.gtid_executed,
        server_version=seen.server_version,
        checks=seen.checks,
        stage_seconds=seen.stage_seconds,
        rto_seconds=seconds,
        rpo_transactions=lost,
        rpo_seconds=lost_seconds,
    )


def _lost(
    trial: _Trial, plan: ProofPlan, restored: GtidSet, reached_at: datetime | None
) -> tuple[int | None, float | None]:
    """Transactions that the source had at the start and ``restored`` lacks, and how old these can be."""
    if trial.executed.gtids is None:
        return None, None
    lost = (trial.executed.gtids - restored).count()
    if not lost:
        return 0, 0.0
    # What is lacking was committed after the last one that is in, or after the backup had begun.
    since = reached_at or plan.base.manifest.timings.started_at
    return lost, max((trial.started_at - since).total_seconds(), 0.0)
