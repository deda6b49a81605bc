"""A warm standby: a restored server that follows the archive for ever, until it is promoted.

It needs the repository and the key, and nothing of the shard. All of its state is in its directory: whatever
kills it or its server, the same command goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path

from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, RecoveryFailed, ServerUnreachable, TargetRefused, ToolError
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from repository.held_lease import TTL_SECONDS, HeldLease
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.datadir import open_journal
from restore.feed import ArchiveFeed, check_passable
from restore.following import Follower
from restore.full import Leave
from restore.growing import NOTHING
from restore.journal import JOURNAL_NAME, Journal, ReplayBegun, is_held, read_journal
from restore.kept import kept
from restore.plan import RestorePlan
from restore.point import RecoveryTarget, resolve
from restore.point_planning import plan_on_line
from restore.point_proof import check_goes_on
from restore.point_restore import PointResult, carry_out
from restore.proof import CheckLevel
from restore.replay_server import replay_options
from restore.replaying import (
    MOST_DEATHS,
    Given,
    begun_before,
    bring_base,
    make_ready,
    open_server,
    prove_base,
    wait_until_left,
)
from restore.standby_status import (
    StandbyStatus,
    ask_to_stop,
    forget_request,
    forget_standby,
    is_asked_to_stop,
    status,
)
from wire import replica_admin

__all__ = ["StandbyStatus", "promote", "run_standby", "status"]

_WAIT_SECONDS = 0.1


def run_standby(
    fleet: Fleet,
    shard: str,
    into: Path,
    *,
    repository: Repository,
    delay_seconds: int = 0,
    skip: GtidSet = NOTHING,
    lease_seconds: int = TTL_SECONDS,
    clock: Clock | None = None,
    progress: Progress | None = None,
    on_status: Callable[[StandbyStatus], None] | None = None,
    cancelled: threading.Event | None = None,
) -> StandbyStatus:
    """Bring ``shard`` into ``into``, and follow its archive until ``cancelled`` or promoted.

    ``delay_seconds``: transactions are applied so long after they were committed. ``skip``: left out, empty
    ones take their numbers. A server that dies is started again. For ``lease_seconds`` after a kill what it
    needs is kept. Returns what was said last. Raises what ``restore_to_point`` raises, ``ArchiveGap`` and
    ``SourceDiverged``; the same command goes on.
    """
    given = Given(
        fleet, repository, clock or SystemClock(), progress or Silent(), cancelled or threading.Event()
    )
    into = into.absolute()
    wait_until_left(into, given.clock)
    line = ArchivedLine.read(repository, shard)
    # What was left out once stays left out, whether it is said again or not.
    skip = skip | _left_out(into, line)
    whole = plan_on_line(fleet, line, into, RecoveryTarget.latest(skip=skip), repository=repository)
    plan = whole.base
    begun = begun_before(plan)
    _check_is_ours(into, begun)
    skipped = line.line.skipped | skip
    feed = ArchiveFeed(
        line.line,
        server_version=plan.manifest.donor.version,
        threads=fleet.parallelism.download_threads,
        follow=given.clock,
        skipped=skipped,
    )
    first = StandbyStatus(
        shard,
        plan.directory,
        plan.manifest.label,
        "fetching",
        delay_seconds=delay_seconds,
        passed_over=tuple(f"{each.label}: {each.problem}" for each in plan.passed_over),
        beyond=whole.beyond,
    )
    with closing(open_journal(plan)) as journal, _reading(given, plan, lease_seconds) as lease:
        follower = Follower(given, feed, first, skipped=skipped, on_status=on_status, lease=lease)
        bring_base(given, plan, journal)
        lease.narrow(labels=())
        try:
            now = ReplayBegun(skipped.one_line(), standby=True)
            _follow(given, plan, journal, follower, begun=begun, now=now)
        except ToolError as error:
            follower.stopped(error)
            raise
        follower.stopped(None)
    return follower.latest


def promote(
    fleet: Fleet,
    shard: str,
    into: Path,
    *,
    repository: Repository,
    target: RecoveryTarget | None = None,
    leave: Leave = Leave.RUNNING,
    check: CheckLevel | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> PointResult:
    """End a standby: bring it to ``target`` (default: the end of the archive), prove it, open it for writes.

    Whoever follows in ``into`` is asked to stop first, unless the standby is beyond ``target`` already:
    ``TargetRefused``. The server that is left running takes writes and logs them. Raises as
    ``restore_to_point``, and ``NotFound`` where there is no standby.
    """
    given = Given(
        fleet, repository, clock or SystemClock(), progress or Silent(), cancelled or threading.Event()
    )
    into = into.absolute()
    has = GtidSet.parse(status(into).gtid_executed)
    target = target or RecoveryTarget.latest()
    line = ArchivedLine.read(repository, shard)
    target = replace(target, skip=target.skip | (_left_out(into, line) & has))
    check_goes_on(has, None, resolve(line, target), into)
    try:
        _bring_to_rest(given, into)
        # What was archived in the meantime belongs to it.
        line = ArchivedLine.read(repository, shard, known=line)
        plan = plan_on_line(fleet, line, into, target, repository=repository)
        level = check or fleet.restore.check
        with kept(repository, plan.base, given.clock, given.progress, replays=True):
            result = carry_out(given, plan, line, leave=leave, check=level, for_writes=True)
    except ToolError:
        if _is_standby(into):
            # Nothing was done to it yet: it may follow on, or be promoted another time.
            forget_request(into)
        raise
    forget_standby(into)
    return result


def _reading(given: Given, plan: RestorePlan, lease_seconds: int) -> AbstractContextManager[HeldLease]:
    """A lease that narrows: first the backup, then what is not applied yet of the archive."""
    return kept(
        given.repository,
        plan,
        given.clock,
        given.progress,
        kind="standby",
        replays=True,
        ttl_seconds=lease_seconds,
    )


def _bring_to_rest(given: Given, into: Path) -> None:
    """Ask whoever follows to stop, and wait for that."""
    ask_to_stop(into)
    while is_held(into / JOURNAL_NAME):
        if given.cancelled.is_set():
            raise Cancelled("stopped while the standby came to rest", hint="Promote it again.")
        given.clock.sleep(_WAIT_SECONDS)
    wait_until_left(into, given.clock)


def _is_standby(into: Path) -> bool:
    """Whether a standby may go on there: no promotion has begun."""
    journal = read_journal(into / JOURNAL_NAME)
    return journal is not None and journal.replay is not None and journal.replay.standby


def _left_out(into: Path, line: ArchivedLine) -> GtidSet:
    """What earlier runs were told to skip, beside what the line itself leaves out."""
    journal = read_journal(into / JOURNAL_NAME)
    begun = journal.replay if journal else None
    return GtidSet.parse(begun.skipped) - line.line.skipped if begun else NOTHING


def _check_is_ours(into: Path, begun: ReplayBegun | None) -> None:
    if begun is not None and not begun.standby:
        raise TargetRefused(
            f"{into} holds a restore to a point, or a promotion, that was not finished",
            hint="Finish it with the command that began it.",
        )
    if is_asked_to_stop(into):
        raise TargetRefused(
            f"the standby in {into} is being promoted", hint="Finish that: backstay standby promote."
        )


def _follow(
    given: Given,
    plan: RestorePlan,
    journal: Journal,
    follower: Follower,
    *,
    begun: ReplayBegun | None,
    now: ReplayBegun,
) -> None:
    """Start a server and follow; when it dies, start it again, as long as it comes further each time."""
    before: GtidSet | None = None
    deaths = 0
    while True:
        try:
            with open_server(given, plan, *replay_options()) as server:
                if begun is None:
                    prove_base(given, plan, server)
                exact = replica_admin.gtid_executed(server)
                check_passable(follower.line, exact, GtidSet.parse(now.skipped))
                if begun != now:
                    journal.replay(now)
                    begun = now
                make_ready(server)
                deaths = deaths if exact == before else 0
                before = exact
                follower.run(server)
                server.stop()
                return
        except (RecoveryFailed, ServerUnreachable):
            deaths += 1
            if deaths > MOST_DEATHS:
                raise
