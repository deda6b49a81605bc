"""Several shards brought to one moment: planned together, restored side by side, told as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fleet.clock import Clock, SystemClock
from fleet.errors import DiskFull, TargetUnreachable, ToolError, UsageError
from fleet.figures import size
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.full import Leave
from restore.kept import kept
from restore.point import RecoveryTarget, TargetKind
from restore.point_plan import PointPlan
from restore.point_planning import plan_on_line
from restore.point_restore import PointResult, carry_out
from restore.program import default_buffer_pool_bytes
from restore.proof import CheckLevel
from restore.replaying import Given

_LEAST_BUFFER_POOL_BYTES = 128 << 20


@dataclass(frozen=True)
class FleetPlan:
    """What is done for each shard. ``skew_seconds``: how far apart the shards may stand afterwards.

    For a time: the longest that a shard's archive ends before it; 0 when each goes beyond it, so that all
    stand at that very moment by their servers' clocks. For the ends of the archives: between the first and
    the last of them. None: a shard has no transaction that would tell.
    """

    target: RecoveryTarget
    into: Path
    plans: tuple[PointPlan, ...]
    skew_seconds: float | None

    @property
    def seconds(self) -> float:
        """Of all estimates together: the most that it takes, one after the other."""
        return sum(plan.estimate.seconds for plan in self.plans)


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """One shard's result, or what kept it from having one."""

    shard: str
    directory: Path
    result: PointResult | None
    error: ToolError | None


@dataclass(frozen=True, slots=True)
class FleetResult:
    """All shards in the order of their names; ``skew_seconds`` as in ``FleetPlan``; wall seconds."""

    asked: str
    into: Path
    shards: tuple[ShardOutcome, ...]
    skew_seconds: float | None
    seconds: float

    @property
    def failed(self) -> tuple[ShardOutcome, ...]:
        return tuple(outcome for outcome in self.shards if outcome.error is not None)


def plan_fleet_restore(
    fleet: Fleet,
    target: RecoveryTarget,
    into: Path,
    *,
    repository: Repository,
    shards: Sequence[str] | None = None,
) -> FleetPlan:
    """The plan of every shard, each into a folder of ``into`` that has its name. Touches nothing.

    ``shards``: all of the fleet by default. A shard whose archive ends before the time goes to its end.
    Raises the refusal of a shard, naming it, and ``TargetUnreachable`` for a time after the end of all.
    """
    return _plan(fleet, target, into, repository, shards)[0]


def restore_fleet(
    fleet: Fleet,
    target: RecoveryTarget,
    into: Path,
    *,
    repository: Repository,
    shards: Sequence[str] | None = None,
    parallel: int = 2,
    leave: Leave = Leave.STOPPED,
    check: CheckLevel | None = None,
    clock: Clock | None = None,
    progress_of: Callable[[str], Progress] | None = None,
    cancelled: threading.Event | None = None,
) -> FleetResult:
    """Restore every shard to ``target``, ``parallel`` at once, which share this machine's threads and memory.

    Nothing is fetched before all plans stand. One that fails does not stop the others: see ``failed``. The
    same again goes on. Raises as ``plan_fleet_restore``, ``UsageError``.
    """
    clock, cancelled = clock or SystemClock(), cancelled or threading.Event()
    began = clock.monotonic()
    plan, lines = _plan(fleet, target, into, repository, shards)
    shared = _share_of(fleet, parallel)
    given = Given(
        shared,
        repository,
        clock,
        cancelled=cancelled,
        server_options=_memory_options(parallel),
    )

    told = {each.shard: progress_of(each.shard) if progress_of else Silent() for each in plan.plans}

    def restore(planned: PointPlan) -> ShardOutcome:
        try:
            result = carry_out(
                replace(given, progress=told[planned.shard]),
                planned,
                lines[planned.shard],
                leave=leave,
                check=check or fleet.restore.check,
            )
        except ToolError as error:
            return ShardOutcome(planned.shard, planned.directory, None, error)
        return ShardOutcome(planned.shard, planned.directory, result, None)

    with ExitStack() as leases, ThreadPoolExecutor(parallel, thread_name_prefix="shard") as crew:
        for planned in plan.plans:
            # Those that wait for their turn need what they will read, too.
            leases.enter_context(kept(repository, planned.base, clock, told[planned.shard], replays=True))
        outcomes = tuple(crew.map(restore, plan.plans))
    return FleetResult(str(target), plan.into, outcomes, plan.skew_seconds, clock.monotonic() - began)


def skew_seconds(target: RecoveryTarget, plans: Sequence[PointPlan]) -> float | None:
    """See ``FleetPlan``."""
    if target.at is None:
        reached = [plan.point.reached_at for plan in plans]
        known = [at for at in reached if at is not None]
        return (max(known) - min(known)).total_seconds() if len(known) == len(reached) and known else None
    short_of = [_short_of(plan, target.at) for plan in plans if plan.point.stop is None]
    return None if None in short_of else max((each for each in short_of if each is not None), default=0.0)


def _short_of(plan: PointPlan, at: datetime) -> float | None:
    reached = plan.point.reached_at
    return (at - reached).total_seconds() if reached is not None else None


def _plan(
    fleet: Fleet,
    target: RecoveryTarget,
    into: Path,
    repository: Repository,
    shards: Sequence[str] | None,
) -> tuple[FleetPlan, dict[str, ArchivedLine]]:
    if target.kind not in (TargetKind.TIME, TargetKind.LATEST) or target.skip:
        raise UsageError(
            f"several shards cannot be restored to {target}: a GTID belongs to one of them",
            hint="Name a time that all of them share, or the end of the archives.",
        )
    names = tuple(shards) if shards is not None else tuple(shard.name for shard in fleet.shards)
    target = replace(target, or_end=True)
    lines: dict[str, ArchivedLine] = {}
    plans: list[PointPlan] = []
    for name in names:
        try:
            lines[name] = ArchivedLine.read(repository, name)
            plans.append(plan_on_line(fleet, lines[name], into / name, target, repository=repository))
        except ToolError as error:
            raise type(error)(f"shard {name}: {error.message}", hint=error.hint) from error
    if target.at is not None and plans and all(plan.point.stop is None for plan in plans):
        ends = [plan.point.reached_at for plan in plans if plan.point.reached_at is not None]
        if not ends or max(ends) < target.at:
            last = f"{max(ends):%Y-%m-%d %H:%M:%S.%f} UTC" if ends else "nowhere"
            raise TargetUnreachable(
                f"{target} is after the end of the archives of all shards: the last ends {last}",
                hint="--latest restores each to its end.",
            )
    _check_room(plans)
    return FleetPlan(target, into.absolute(), tuple(plans), skew_seconds(target, plans)), lines


def _check_room(plans: Sequence[PointPlan]) -> None:
    """For all of them together: they share the disk. Raises ``DiskFull``."""
    needed = sum(plan.base.needed_bytes for plan in plans)
    disk = min((plan.base.target for plan in plans), key=lambda each: each.room_bytes, default=None)
    if disk is not None and needed > disk.room_bytes:
        raise DiskFull(
            f"{size(needed)} are needed for {len(plans)} shards, {disk.free_told}",
            hint="Free some space, or restore the shards one by one to different disks.",
        )


def _share_of(fleet: Fleet, parallel: int) -> Fleet:
    """The fleet with this machine's threads divided."""
    whole = fleet.parallelism
    threads = max(whole.download_threads // parallel, 1)
    return fleet.model_copy(update={"parallelism": whole.model_copy(update={"download_threads": threads})})


def _memory_options(parallel: int) -> tuple[str, ...]:
    pool = max(default_buffer_pool_bytes() // parallel, _LEAST_BUFFER_POOL_BYTES)
    return (f"--innodb-buffer-pool-size={pool}",)
