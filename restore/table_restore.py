"""Single tables of a shard at a point: fetched alone, in a private server of their own.

A server whose other tables have no files starts only with innodb_force_recovery=1, which passes over redo and
undo of what is not there, and takes no writes. So there are two starts: one that recovers, tells of the
dictionary and stops in order; and one that takes the transactions, on a clean redo log. MySQL (9.7.4) dies of
a foreign key whose other end has no file: such tables are dropped from the private dictionary first.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from fleet.clock import Clock, SystemClock
from fleet.errors import NotFound, TargetUnreachable, UsageError
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from fleet.table_name import TableName
from repository.archive.beyond import HeldBeyond
from repository.catalog import LATEST
from repository.manifest import ProofCheck
from repository.repository import Repository
from restore.datadir import open_journal
from restore.feed import ArchiveFeed
from restore.files import disk_errors
from restore.full import LeftServer, fetch_plan
from restore.kept import kept
from restore.mysqld import PrivateServer
from restore.point import RecoveryTarget
from restore.point_plan import check_covered
from restore.point_proof import require_all
from restore.program import default_buffer_pool_bytes
from restore.proof import prove, require_proven
from restore.replay import Replayed, ReplayOrder, ReplayState
from restore.replay_server import replay_options, wait_long
from restore.replaying import Given, open_server, replay_telling
from restore.table_files import Share
from restore.table_needs import Dictionary, Needs
from restore.table_plan import MARKER_NAME, TablePlan, plan_tables, widened
from restore.version import MysqlVersion
from restore.wording import short
from wire import dictionary, replica_admin, restored
from wire.restored import Table

_RECOVER = ("--innodb-force-recovery=1", "--innodb-fast-shutdown=1")
_POOL_BYTES = 256 << 20
"""The least buffer pool: setting up the large one of a whole restore takes a second at each start."""

_MOST_LOOKS = 6
"""So often the dictionary may show that still more is needed."""


@dataclass
class BroughtTables:
    """A running private server (read-only, on its socket alone) whose only usable tables are ``tables``, as
    they were at the point.

    ``gtid_executed`` is the point; ``stopped_before`` the first transaction beyond it, None at the end of the
    archive. ``transactions`` were replayed, ``read_bytes`` came from the store for files. ``unchecked``:
    tables that foreign keys of ``tables`` refer to, and which were not there to be checked. ``beyond``: see
    ``TablePlan``.
    """

    server: PrivateServer
    tables: tuple[TableName, ...]
    shard: str
    label: str
    asked: str
    reached_at: datetime | None
    stopped_before: str | None
    skipped: str
    gtid_executed: str
    server_version: str
    checks: tuple[ProofCheck, ...]
    followed: tuple[TableName, ...]
    unchecked: tuple[TableName, ...]
    transactions: int
    read_bytes: int
    log_bytes: int
    share: Share
    stage_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    left: LeftServer | None = None
    beyond: HeldBeyond | None = None

    def leave(self) -> LeftServer:
        """Let the server run on without us; its data stays."""
        self.left = LeftServer(self.server.socket, self.server.pid, self.server.log)
        self.server.leave()
        return self.left


@contextmanager
def bring_tables(
    fleet: Fleet,
    shard: str,
    tables: Sequence[TableName],
    target: RecoveryTarget,
    directory: Path,
    *,
    repository: Repository,
    label: str = LATEST,
    clock: Clock | None = None,
    progress: Progress | None = None,
    on_replay: Callable[[ReplayState], None] | None = None,
    cancelled: threading.Event | None = None,
) -> Generator[BroughtTables]:
    """Bring ``tables`` of ``shard`` to ``target`` in the new directory ``directory``, prove them, and give
    the server that runs on them.

    At the end of the block the server is killed and ``directory`` removed, unless the server was left
    running; after a failure the files stay, and the same again begins anew. Raises what ``plan_tables``
    raises, ``NotFound`` for a table that is not there at the point, ``TargetUnreachable`` for one that cannot
    be brought, ``RecoveryFailed``, ``ReplayFailed``, ``ProofFailed``, ``Cancelled``, ``ArchiveGap``.
    """
    given = Given(
        fleet,
        repository,
        clock or SystemClock(),
        progress or Silent(),
        cancelled or threading.Event(),
        on_replay,
    )
    plan = plan_tables(fleet, shard, tables, target, directory, repository=repository, label=label)
    with bring_planned(given, plan) as brought:
        yield brought


@contextmanager
def bring_planned(given: Given, plan: TablePlan) -> Generator[BroughtTables]:
    """Do what was planned; see ``bring_tables``."""
    _claim(plan)
    with kept(given.repository, plan.base, given.clock, given.progress, replays=True):
        try:
            files = _bring_files(given, plan)
        except (NotFound, TargetUnreachable, UsageError):
            # There is nothing to look at: what was asked for cannot be.
            _remove(plan.directory)
            raise
        recovered = given.clock.monotonic()
        with open_server(given, files.plan.base, *replay_options(), _pool(files.plan)) as server:
            files.seconds["recover"] += given.clock.monotonic() - recovered
            brought = _bring_to_point(given, files, server)
            yield brought
    if brought.left is None:
        _remove(plan.directory)


def _pool(plan: TablePlan) -> str:
    """An option: a buffer pool that holds what is there, within the bounds of one for a whole restore."""
    share = plan.share
    pool_bytes = max(_POOL_BYTES, share.table_bytes + share.system_bytes)
    return f"--innodb-buffer-pool-size={min(pool_bytes, default_buffer_pool_bytes())}"


def _claim(plan: TablePlan) -> None:
    """Make the directory ours."""
    with disk_errors(plan.directory):
        plan.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        about = f"backstay brings tables of {plan.shard} here; the next run of it may remove all of this\n"
        (plan.directory / MARKER_NAME).write_text(about)


def _remove(directory: Path) -> None:
    with disk_errors(directory):
        shutil.rmtree(directory)


@dataclass(frozen=True)
class _Files:
    """The files are in place and recovered."""

    plan: TablePlan
    needs: Needs
    read_bytes: int
    seconds: dict[str, float]


def _bring_files(given: Given, plan: TablePlan) -> _Files:
    """Fetch and recover; again with more files as long as the dictionary names some."""
    seconds = {"fetch": 0.0, "recover": 0.0}
    read_bytes = 0
    for _ in range(_MOST_LOOKS):
        began = given.clock.monotonic()
        read_bytes += _fetch(given, plan)
        fetched = given.clock.monotonic()
        seconds["fetch"] += fetched - began
        given.progress.stage("recover")
        with open_server(given, plan.base, *_RECOVER, _pool(plan)) as server:
            looked, needs, is_enough = _look(plan, server)
            if is_enough:
                server.stop()
        seconds["recover"] += given.clock.monotonic() - fetched
        if is_enough:
            return _Files(plan, needs, read_bytes, seconds)
        looked.history.check()
        plan = looked
    raise NotFound(f"the files of {', '.join(map(str, plan.asked))} are not found in {plan.label}")


def _look(plan: TablePlan, server: PrivateServer) -> tuple[TablePlan, Needs, bool]:
    """What the dictionary adds to the plan, and whether all is there that the tables need. If not, the
    server must not be used any more.
    """
    found = _read_dictionary(server)
    needs = plan.needs(found)
    needs.check(plan.asked, plan.history.makes, plan.shard)
    if plan.portable:
        needs.check_portable(plan.asked)
    if needs.is_unclear:
        plan = replace(plan, placed=dictionary.innodb_tables(server))
        needs = plan.needs(found)
        return widened(plan, needs) or plan, needs, False
    wider = widened(plan, needs)
    return wider or plan, needs, wider is None


def _fetch(given: Given, plan: TablePlan) -> int:
    """Into an empty data directory; returns the bytes read from the store."""
    # What a server recovered is no longer the backup's, so nothing of an earlier look is of use.
    with disk_errors(plan.directory):
        shutil.rmtree(plan.data, ignore_errors=True)
    with closing(open_journal(plan.base)) as journal:
        fetched = fetch_plan(
            given.repository,
            plan.base,
            journal,
            threads=given.fleet.parallelism.download_threads,
            progress=given.progress,
            clock=given.clock,
            cancelled=given.cancelled,
        )
        journal.remove()
    return fetched.read_bytes


def _read_dictionary(server: PrivateServer) -> Dictionary:
    return Dictionary(
        dictionary.known_tables(server),
        dictionary.own_tablespaces(server),
        dictionary.foreign_keys(server),
        dictionary.full_text_tables(server),
    )


def _bring_to_point(given: Given, files: _Files, server: PrivateServer) -> BroughtTables:
    plan, point = files.plan, files.plan.point
    began = given.clock.monotonic()
    wait_long(server)
    told = restored.identity(server)
    base = prove(
        server,
        plan.data,
        plan.choice.chain.newest,
        check="none",
        clock=given.clock,
        cancelled=given.cancelled,
    )
    require_proven(base)
    replayed = _replay(given, files, server)
    proving = given.clock.monotonic()
    given.progress.stage("prove")
    checks = (*base.checks, *_prove(plan, server, replayed))
    require_all(plan.shard, checks)
    ended = given.clock.monotonic()
    return BroughtTables(
        server=server,
        tables=plan.asked,
        shard=plan.shard,
        label=plan.label,
        asked=str(plan.target),
        reached_at=point.reached_at,
        stopped_before=str(point.stop_before) if point.stop_before else None,
        skipped=point.skipped.one_line(),
        gtid_executed=str(point.gtids),
        server_version=told.version,
        checks=checks,
        followed=plan.followed,
        unchecked=files.needs.unchecked,
        transactions=replayed.transactions,
        read_bytes=files.read_bytes,
        log_bytes=plan.stretch.log_bytes,
        share=plan.share,
        stage_seconds={**files.seconds, "replay": proving - began, "prove": ended - proving},
        beyond=plan.beyond,
    )


def _replay(given: Given, files: _Files, server: PrivateServer) -> Replayed:
    """Apply what concerns the followed tables, and take the rest of the point as executed."""
    plan, needs, point = files.plan, files.needs, files.plan.point
    have = replica_admin.gtid_executed(server)
    check_covered(have, plan.line, point)
    served = (plan.served | plan.log.ends_of(dictionary.prepared_transactions(server))) - have
    dictionary.drop_tables(server, needs.relatives)
    dictionary.replicate_only(server, plan.followed)
    order = ReplayOrder(
        gtids=have | served,
        skipped=point.gtids - have - served,
        stop_before=point.stop_before,
        log_bytes=plan.stretch.log_bytes,
    )
    line = plan.line.line
    feed = ArchiveFeed(
        line,
        server_version=plan.choice.chain.newest.donor.version,
        threads=given.fleet.parallelism.download_threads,
        until=line.locate(point.stop_before) if point.stop_before else None,
        leave_out=order.skipped,
    )
    unchecked = not needs.cascades and bool(needs.unchecked)
    return replay_telling(given, server, feed, order, plan.base.target, unchecked=unchecked)


def _prove(plan: TablePlan, server: PrivateServer, replayed: Replayed) -> tuple[ProofCheck, ...]:
    """The set, to the transaction; each table by CHECK TABLE; and nothing else that could be read."""
    wanted = plan.served - replayed.before
    complete = wanted <= replayed.after <= plan.point.gtids and replayed.sent >= wanted.count()
    detail = f"{replayed.transactions} transactions replayed, of {plan.log.count} after the backup"
    if not complete:
        missing = short(wanted - replayed.after)
        detail = f"{replayed.sent} transactions were sent of {wanted.count()}, and {missing} is missing"
    dictionary.drop_tables(server, plan.needs(_read_dictionary(server)).usable_besides(plan.asked))
    version = MysqlVersion.parse(restored.identity(server).version)
    # The server's own account of it is in the check above; now it is told what else the point holds.
    dictionary.declare_executed(
        server, plan.point.gtids.one_line(), version=(version.major, version.minor, version.patch)
    )
    exact = replica_admin.gtid_executed(server)
    return (
        ProofCheck(name="replay", passed=complete, detail=detail),
        ProofCheck(name="gtid set", passed=exact == plan.point.gtids, detail=f"exactly {short(exact)}"),
        _only_asked(plan, server),
        *(_check(server, table) for table in plan.asked),
    )


def _only_asked(plan: TablePlan, server: PrivateServer) -> ProofCheck:
    found = _read_dictionary(server)
    surplus = plan.needs(found).usable_besides(plan.asked)
    known = {plan.history.key(str(each.name)) for each in found.tables}
    missing = [each for each in plan.asked if plan.history.key(str(each)) not in known]
    names = ", ".join(map(str, (*surplus, *missing)))
    detail = f"not as asked: {names}" if names else f"these alone: {', '.join(map(str, plan.asked))}"
    return ProofCheck(name="tables", passed=not names, detail=detail)


def _check(server: PrivateServer, table: TableName) -> ProofCheck:
    wrong = restored.check_table(server, Table(table.schema, table.name, 0))
    return ProofCheck(name=f"table {table}", passed=wrong is None, detail=wrong or "CHECK TABLE: OK")
