"""From a backup's files to a server that stands at the point: bring, start, replay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.clock import Clock, SystemClock
from fleet.errors import RecoveryFailed, ServerUnreachable
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from repository.catalog import Catalog
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.feed import ArchiveFeed
from restore.full import fetch_plan, private_server, record_proof
from restore.journal import JOURNAL_NAME, Journal, ReplayBegun, is_held
from restore.mysqld import PrivateServer
from restore.plan import RestorePlan
from restore.point_plan import PointPlan, check_covered
from restore.point_proof import check_goes_on
from restore.program import find_mysqld
from restore.proof import prove, require_proven
from restore.replay import Replayed, ReplayOrder, ReplayState, replay
from restore.replay_server import prepare, remove_relay_logs, replay_options
from restore.sparing import check_spared
from restore.target import TargetFacts, locked_by
from wire import replica_admin

MOST_DEATHS = 3
"""So often a server that dies in mid-replay is started again without having come any further."""

_LEFT_SECONDS = 10.0
_LEFT_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Given:
    """What every step of a restore is given.

    ``on_replay`` is told how a replay goes on; ``server_options`` are for every private server. ``recorded``:
    what is seen and done is noted in the repository; False for a restore that is deleted again.
    """

    fleet: Fleet
    repository: Repository
    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = field(default_factory=Silent)
    cancelled: threading.Event = field(default_factory=threading.Event)
    on_replay: Callable[[ReplayState], None] | None = None
    server_options: tuple[str, ...] = ()
    recorded: bool = True


@dataclass(frozen=True, slots=True)
class Reached:
    """The replay of this run: the last one, and how many transactions those before it had brought in."""

    last: Replayed
    transactions: int
    seconds: float


def bring_base(given: Given, plan: RestorePlan, journal: Journal) -> Mapping[str, float]:
    """Fetch what is not there yet of the backup; returns seconds by stage."""
    threads = given.fleet.parallelism.download_threads
    fetched = fetch_plan(
        given.repository,
        plan,
        journal,
        threads=threads,
        progress=given.progress,
        clock=given.clock,
        cancelled=given.cancelled,
    )
    return fetched.seconds


def open_server(given: Given, plan: RestorePlan, *options: str) -> PrivateServer:
    """A private server for the data of ``plan``; to be entered."""
    policy = given.fleet.restore
    mysqld = find_mysqld(policy.mysqld)
    return private_server(
        plan, mysqld, policy, given.clock, given.cancelled, options=(*given.server_options, *options)
    )


def replay_to_point(given: Given, plan: PointPlan, line: ArchivedLine, journal: Journal) -> Reached:
    """Start a server on the base, replay up to the point, and stop it in order: then all of it is durable.

    A server that dies on the way is started again, as long as it comes further each time.
    """
    began = given.clock.monotonic()
    begun = begun_before(plan.base)
    first: GtidSet | None = None
    before: GtidSet | None = None
    deaths = 0
    while True:
        given.progress.stage("recover")
        with open_server(given, plan.base, *replay_options()) as server:
            begun = begin_replay(given, plan, server, journal, begun)
            exact = replica_admin.gtid_executed(server)
            deaths = deaths + 1 if exact == before else 0
            before = exact
            first = exact if first is None else first
            try:
                last = _replay(given, plan, line, server)
                server.stop()
            except (RecoveryFailed, ServerUnreachable):
                if deaths >= MOST_DEATHS:
                    raise
                continue
        remove_relay_logs(plan.directory)
        transactions = (last.after - first - plan.point.skipped).count()
        return Reached(last, transactions, given.clock.monotonic() - began)


def wait_until_left(into: Path, clock: Clock) -> None:
    """Wait for the server of a run that was killed a moment ago: its guardian is ending it."""
    deadline = clock.monotonic() + _LEFT_SECONDS
    journal = into / JOURNAL_NAME
    while journal.exists() and not is_held(journal) and locked_by(into) is not None:
        if clock.monotonic() >= deadline:
            return
        clock.sleep(_LEFT_POLL_SECONDS)


def begun_before(plan: RestorePlan) -> ReplayBegun | None:
    """What an earlier run said of its replay on this directory."""
    journal = plan.target.journal
    return journal.replay if journal is not None and plan.goes_on else None


def prove_base(given: Given, plan: RestorePlan, server: PrivateServer) -> None:
    """Prove the backup itself, before anything is replayed on it. Raises ``ProofFailed``."""
    manifest = plan.manifest
    proof = prove(
        server, plan.directory, manifest, check="none", clock=given.clock, cancelled=given.cancelled
    )
    if given.recorded:
        record_proof(Catalog(given.repository), manifest, proof)
    require_proven(proof)


def begin_replay(
    given: Given, plan: PointPlan, server: PrivateServer, journal: Journal, begun: ReplayBegun | None
) -> ReplayBegun:
    """Look at what the server has, and write down what is about to be done to it.

    Raises ``TargetRefused`` if that cannot end at the point, ``ProofFailed`` if the base is not what it
    should be.
    """
    if begun is None:
        prove_base(given, plan.base, server)
    check_goes_on(replica_admin.gtid_executed(server), begun, plan.point, plan.directory)
    now = ReplayBegun(plan.point.skipped.one_line(), standby=False)
    if now != begun:
        journal.replay(now)
    make_ready(server)
    return now


def make_ready(server: PrivateServer) -> None:
    """For a replay, whatever a crash left of an earlier one."""
    prepare(server)
    replica_admin.reset_replica_all(server)


def _replay(given: Given, plan: PointPlan, line: ArchivedLine, server: PrivateServer) -> Replayed:
    check_covered(replica_admin.gtid_executed(server), line, plan.point)
    order = ReplayOrder(
        gtids=plan.point.gtids,
        skipped=plan.point.skipped,
        stop_before=plan.point.stop_before,
        log_bytes=plan.stretch.log_bytes,
    )
    feed = ArchiveFeed(
        line.line,
        server_version=plan.base.manifest.donor.version,
        threads=given.fleet.parallelism.download_threads,
        # What stands behind the point is not even fetched.
        until=line.line.locate(order.stop_before) if order.stop_before else None,
    )
    return replay_telling(given, server, feed, order, plan.base.target)


def replay_telling(
    given: Given,
    server: PrivateServer,
    feed: ArchiveFeed,
    order: ReplayOrder,
    target: TargetFacts,
    *,
    unchecked: bool = False,
) -> Replayed:
    """``replay``, as far as it is told to whoever watches; raises as it does, and as ``check_spared``."""
    given.progress.stage("replay", order.log_bytes)
    told = 0

    def tell(state: ReplayState) -> None:
        nonlocal told
        if state.transactions < state.total:
            check_spared(target)
        given.progress.advance(state.log_bytes - told)
        told = state.log_bytes
        if given.on_replay is not None:
            given.on_replay(state)

    return replay(
        server,
        feed,
        order,
        clock=given.clock,
        cancelled=given.cancelled,
        on_state=tell,
        unchecked=unchecked,
    )
