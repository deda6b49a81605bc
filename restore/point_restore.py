"""A restore to a point: the story from the archive's line to a server that is proven to stand there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from shlex import quote

from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, ObjectExists, ToolError
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from repository.archive.beyond import HeldBeyond
from repository.archive.ledger import Life
from repository.catalog import LATEST
from repository.manifest import ProofCheck
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.choice import PassedOver
from restore.datadir import open_journal
from restore.full import Leave, LeftServer, let_go
from restore.kept import kept
from restore.mysqld import PrivateServer
from restore.point import RecoveryTarget
from restore.point_plan import PointPlan
from restore.point_planning import plan_on_line
from restore.point_proof import point_checks, require_all
from restore.proof import CheckLevel, check_tables, forget_sources
from restore.replay import ReplayState
from restore.replaying import (
    Given,
    Reached,
    bring_base,
    open_server,
    replay_to_point,
    wait_until_left,
)
from wire import replica_admin, restored
from wire.restored import Identity

_WRITING = ("--log-bin=binlog", "--log-replica-updates=ON", "--sync-binlog=1")


@dataclass(frozen=True, slots=True)
class PointResult:
    """A restore to a point that was proven. ``log_bytes`` of binlog were planned to be read; seconds are wall
    seconds.

    ``asked`` is the target in words, ``reached_at`` the commit time of the last transaction that is in,
    ``stopped_before`` the first one that is not (None: the end of the archive). ``transactions`` were
    replayed in this run. ``unrecorded``: why the restored server could not be noted in the archive, None if
    it was. ``promoted``: it was a standby; if it runs on, it takes writes. ``passed_over``: newer backups
    that are not whole. ``beyond``: one with transactions that the archive, whose end this is, did not reach.
    """

    shard: str
    label: str
    target: Path
    asked: str
    epoch: int
    reached_at: datetime | None
    stopped_before: str | None
    skipped: str
    server_uuid: str
    server_version: str
    gtid_executed: str
    transactions: int
    log_bytes: int
    checks: tuple[ProofCheck, ...]
    seconds: float
    stage_seconds: Mapping[str, float]
    unrecorded: str | None
    left: LeftServer | None
    promoted: bool
    next_steps: tuple[str, ...]
    passed_over: tuple[PassedOver, ...] = ()
    beyond: HeldBeyond | None = None


def plan_point_restore(
    fleet: Fleet,
    shard: str,
    into: Path,
    target: RecoveryTarget,
    *,
    repository: Repository,
    label: str = LATEST,
    delta: bool = False,
) -> PointPlan:
    """What ``restore_to_point`` would do now. Touches nothing; raises what it would before the first byte.

    ``label`` names the backup to begin with, by default the newest that leads to the point. The shard need
    not be in the fleet any more.
    """
    line = ArchivedLine.read(repository, shard)
    return plan_on_line(fleet, line, into, target, repository=repository, label=label, delta=delta)


def restore_to_point(
    fleet: Fleet,
    shard: str,
    into: Path,
    target: RecoveryTarget,
    *,
    repository: Repository,
    label: str = LATEST,
    passed_over: tuple[PassedOver, ...] = (),
    delta: bool = False,
    leave: Leave = Leave.STOPPED,
    check: CheckLevel | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
    on_replay: Callable[[ReplayState], None] | None = None,
    cancelled: threading.Event | None = None,
) -> PointResult:
    """Bring ``shard`` to ``target`` in the directory ``into``, and prove that it stands exactly there.

    ``passed_over`` are the backups that a plan left aside before it chose ``label``. ``check`` overrides
    ``restore.check`` of the config; ``on_replay`` is told how the replay goes on. Raises what
    ``plan_point_restore`` and ``restore_backup`` raise, ``ReplayFailed`` for a transaction that cannot be
    applied, ``ArchiveGap``. Whatever ends it, also in mid-replay: the same command goes on.
    """
    given = Given(
        fleet,
        repository,
        clock or SystemClock(),
        progress or Silent(),
        cancelled or threading.Event(),
        on_replay,
    )
    wait_until_left(into, given.clock)
    line = ArchivedLine.read(repository, shard)
    plan = plan_on_line(
        fleet,
        line,
        into,
        target,
        repository=repository,
        label=label,
        passed_over=passed_over,
        delta=delta,
    )
    with kept(repository, plan.base, given.clock, given.progress, replays=True):
        return carry_out(given, plan, line, leave=leave, check=check or fleet.restore.check)


def carry_out(
    given: Given,
    plan: PointPlan,
    line: ArchivedLine,
    *,
    leave: Leave,
    check: CheckLevel,
    for_writes: bool = False,
) -> PointResult:
    """Do what was planned on ``line``; see ``restore_to_point``.

    ``for_writes``: a server that is left running takes writes, and logs them.
    """
    began = given.clock.monotonic()
    with closing(open_journal(plan.base)) as journal:
        seconds = bring_base(given, plan.base, journal)
        reached = replay_to_point(given, plan, line, journal)
        proving = given.clock.monotonic()
        given.progress.stage("prove")
        # The server that is handed over is the one that is looked at: durable, and started anew.
        with open_server(given, plan.base, *(_WRITING if for_writes else ())) as server:
            told = restored.identity(server)
            checks = _prove(given, plan, server, told, reached=reached, check=check)
            require_all(plan.shard, checks)
            unrecorded = record_life(given, plan, line, told) if given.recorded else None
            if for_writes and leave is Leave.RUNNING:
                # Not before it is proven: what is written cannot be taken back.
                replica_admin.open_for_writes(server)
            left = let_go(server, leave)
        journal.remove()
    ended = given.clock.monotonic()
    return replace(
        _result(plan, told, checks, reached),
        seconds=ended - began,
        stage_seconds={**seconds, "replay": reached.seconds, "prove": ended - proving},
        unrecorded=unrecorded,
        left=left,
        promoted=for_writes,
        next_steps=_next_steps(plan, left, promoted=for_writes),
    )


def _result(plan: PointPlan, told: Identity, checks: tuple[ProofCheck, ...], reached: Reached) -> PointResult:
    """What is known once it is proven; times and what became of the server are still to be told."""
    point = plan.point
    return PointResult(
        shard=plan.shard,
        label=plan.label,
        target=plan.directory,
        asked=str(plan.target),
        epoch=plan.epoch,
        reached_at=point.reached_at,
        stopped_before=str(point.stop_before) if point.stop_before else None,
        skipped=point.skipped.one_line(),
        server_uuid=told.uuid,
        server_version=told.version,
        gtid_executed=str(GtidSet.parse(told.gtid_executed)),
        transactions=reached.transactions,
        log_bytes=plan.stretch.log_bytes,
        checks=checks,
        seconds=0.0,
        stage_seconds={},
        unrecorded=None,
        left=None,
        promoted=False,
        next_steps=(),
        passed_over=plan.base.passed_over,
        beyond=plan.beyond,
    )


def record_life(given: Given, plan: PointPlan, line: ArchivedLine, told: Identity) -> str | None:
    """Note the restored server in the archive: becomes it the shard, its transactions open an epoch, and
    what was skipped stays left out. Returns why that could not be noted, or None.
    """
    life = Life(
        server_uuid=told.uuid,
        restored_at=given.clock.now(),
        epoch=line.epoch,
        gtid_executed=GtidSet.parse(told.gtid_executed).one_line(),
        skipped=plan.point.skipped.one_line(),
    )
    try:
        line.archive.record_life(life)
    except ObjectExists:
        known = line.archive.life(told.uuid)
        # A run that was killed after it had noted this notes it twice.
        if known is not None and known.model_copy(update={"restored_at": life.restored_at}) == life:
            return None
        return f"server {told.uuid} is noted with another GTID set already"
    except Cancelled:
        raise
    except ToolError as error:
        # Who restores in an emergency may have no right to write there; that must not cost the restore.
        return error.message
    return None


def _prove(
    given: Given,
    plan: PointPlan,
    server: PrivateServer,
    told: Identity,
    *,
    reached: Reached,
    check: CheckLevel,
) -> tuple[ProofCheck, ...]:
    exact = GtidSet.parse(told.gtid_executed)
    return (
        *point_checks(exact, plan.point, reached.last),
        forget_sources(server, told.version),
        *check_tables(server, check, seed=plan.label, cancelled=given.cancelled),
    )


def _next_steps(plan: PointPlan, left: LeftServer | None, *, promoted: bool) -> tuple[str, ...]:
    """How the restored server becomes the shard."""
    opened = "" if promoted else "SET GLOBAL read_only = OFF, and "
    become = (
        f"to make it the shard's primary: {opened}name it in backstay.toml; its archive goes on in a new "
        "epoch"
    )
    owner = (f"chown -R mysql: {plan.directory}",) if os.geteuid() == 0 else ()
    asleep = "" if promoted else ", with super_read_only=ON, and look at it"
    if left is None:
        return (*owner, f"start your mysqld on {plan.directory}{asleep}", become)
    # A private server never listens: no application and no replica gets to it.
    return (
        f"mysql --socket={quote(str(left.socket))} --user=root",
        f"to stop it: kill {left.pid}",
        *owner,
        f"once it is stopped, start your own mysqld on {plan.directory}, with your my.cnf: this one listens "
        "on its socket alone",
        become,
    )
