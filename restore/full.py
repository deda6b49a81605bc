"""A full restore: the story from the catalog to a proven server."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shlex import quote

from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, ToolError
from fleet.model import Fleet
from fleet.policy import RestoreConfig
from fleet.progress import Progress, Silent
from repository.catalog import LATEST, Catalog
from repository.manifest import Manifest, Proof, ProofCheck
from repository.repository import Repository
from restore.choice import Choice, choose_for, pointing_elsewhere
from restore.datadir import open_journal
from restore.fetch import FetchResult, fetch, open_reader
from restore.journal import Journal
from restore.kept import kept
from restore.mysqld import PrivateServer
from restore.plan import RestorePlan, plan_restore
from restore.program import DataShape, find_mysqld, read_version
from restore.proof import CheckLevel, prove, require_proven
from restore.sparing import look_sparing
from restore.target import TargetFacts


class Leave(StrEnum):
    """What becomes of the server that proved the restore."""

    STOPPED = "stopped"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class LeftServer:
    """A server that runs on without us: read-only unless it was promoted; ``socket`` asks no password."""

    socket: Path
    pid: int
    log: Path


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """A restore that was proven. Bytes; ``stage_seconds`` are wall seconds.

    ``data_bytes`` is all that the backup brings; of it ``journaled_bytes`` were in place from an earlier run
    and ``equal_bytes`` were found equal on the disk. ``read_bytes`` came from the store, ``written_bytes``
    went to the disk. ``proof`` is the proof's object name; None, with the reason in ``unrecorded``, when it
    could not be stored. ``links`` are the labels of the chain, the backup's own first.
    """

    shard: str
    label: str
    target: Path
    mode: str
    server_version: str
    gtid_executed: str
    checks: tuple[ProofCheck, ...]
    files: int
    files_bytes: int
    data_bytes: int
    journaled_bytes: int
    equal_bytes: int
    read_bytes: int
    written_bytes: int
    seconds: float
    stage_seconds: Mapping[str, float]
    proof: str | None
    unrecorded: str | None
    left: LeftServer | None
    next_steps: tuple[str, ...]
    links: tuple[str, ...]


def plan_full_restore(
    fleet: Fleet,
    shard_name: str,
    target: Path,
    *,
    repository: Repository,
    label: str = LATEST,
    delta: bool = False,
) -> RestorePlan:
    """What ``restore_backup`` would do now. Touches nothing; raises what it would before the first byte.

    The shard need not be in the fleet any more: its backups are enough.
    """
    facts = look_sparing(fleet, target)
    choice = choose_for(repository, shard_name, label, facts, delta=delta)
    return _plan(choice, find_mysqld(fleet.restore.mysqld), facts, delta=delta)


def restore_backup(
    fleet: Fleet,
    shard_name: str,
    target: Path,
    *,
    repository: Repository,
    label: str = LATEST,
    delta: bool = False,
    leave: Leave = Leave.STOPPED,
    check: CheckLevel | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> RestoreResult:
    """Bring a backup of ``shard_name`` into ``target``, start a private server on it, and prove it.

    ``label`` names the backup, the newest by default. ``delta`` rewrites an existing data directory;
    ``check`` overrides ``restore.check`` of the config. ``cancelled`` ends it in order. Raises ``NotFound``,
    ``TargetRefused``, ``DiskFull``, ``VersionMismatch``, ``RecoveryFailed``, ``ProofFailed``, ``Cancelled``
    and what the repository raises; running the same again goes on where it was.
    """
    clock, progress, cancelled = clock or SystemClock(), progress or Silent(), cancelled or threading.Event()
    began = clock.monotonic()
    facts = look_sparing(fleet, target)
    choice = choose_for(repository, shard_name, label, facts, delta=delta)
    mysqld = find_mysqld(fleet.restore.mysqld)
    plan = _plan(choice, mysqld, facts, delta=delta)
    catalog, manifest = Catalog(repository), plan.manifest
    threads = fleet.parallelism.download_threads
    with closing(open_journal(plan)) as journal, kept(repository, plan, clock, progress):
        fetched = fetch_plan(
            repository, plan, journal, threads=threads, progress=progress, clock=clock, cancelled=cancelled
        )
        progress.stage("recover")
        fetched_at = clock.monotonic()
        with private_server(plan, mysqld, fleet.restore, clock, cancelled) as server:
            recovered_at = clock.monotonic()
            progress.stage("prove")
            level = check or fleet.restore.check
            proof = prove(server, plan.directory, manifest, check=level, clock=clock, cancelled=cancelled)
            seconds = {**fetched.seconds, "recover": recovered_at - fetched_at, **proof.seconds}
            proof = proof.model_copy(update={"seconds": seconds})
            recorded = record_proof(catalog, manifest, proof)
            require_proven(proof)
            left = let_go(server, leave)
            journal.remove()
    return _result(plan, fetched, proof, seconds=clock.monotonic() - began, recorded=recorded, left=left)


def fetch_plan(
    repository: Repository,
    plan: RestorePlan,
    journal: Journal,
    *,
    threads: int,
    progress: Progress,
    clock: Clock,
    cancelled: threading.Event | None,
) -> FetchResult:
    """``fetch`` with a reader of its own; of what is lost or damaged the error says what to take instead, and
    what is damaged for certain is written down.
    """
    manifest = plan.manifest
    reader = open_reader(repository, plan.chain, threads=threads)
    with pointing_elsewhere(repository, manifest.shard, manifest.label, plan.chain, reader):
        return fetch(
            plan,
            reader,
            journal,
            threads=threads,
            progress=progress,
            clock=clock,
            cancelled=cancelled,
        )


def _plan(choice: Choice, mysqld: Path, facts: TargetFacts, *, delta: bool) -> RestorePlan:
    version = read_version(mysqld)
    return plan_restore(choice.chain, facts, version, delta=delta)


def private_server(
    plan: RestorePlan,
    mysqld: Path,
    policy: RestoreConfig,
    clock: Clock,
    cancelled: threading.Event,
    *,
    options: Sequence[str] = (),
) -> PrivateServer:
    """The server for the data that ``plan`` brings; to be entered. ``options`` come last."""
    settings = plan.manifest.settings
    return PrivateServer(
        mysqld,
        plan.directory,
        DataShape(
            page_size_bytes=settings.innodb_page_size,
            lower_case_table_names=settings.lower_case_table_names,
            data_file_path=settings.innodb_data_file_path,
        ),
        start_timeout_seconds=policy.start_timeout_seconds,
        options=options,
        clock=clock,
        cancelled=cancelled,
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """The proof's object name, or why it was not stored."""

    name: str | None = None
    problem: str | None = None


def record_proof(catalog: Catalog, manifest: Manifest, proof: Proof) -> Recorded:
    """Store what a restore of ``manifest`` saw."""
    try:
        return Recorded(name=catalog.record_proof(manifest, proof))
    except Cancelled:
        raise
    except ToolError as error:
        # Who restores in an emergency may have no right to write there; that must not cost the restore.
        return Recorded(problem=error.message)


def let_go(server: PrivateServer, leave: Leave) -> LeftServer | None:
    """Stop the server, or let it run on without us."""
    if leave is Leave.STOPPED:
        server.stop()
        return None
    left = LeftServer(server.socket, server.pid, server.log)
    server.leave()
    return left


def _result(
    plan: RestorePlan,
    fetched: FetchResult,
    proof: Proof,
    *,
    seconds: float,
    recorded: Recorded,
    left: LeftServer | None,
) -> RestoreResult:
    return RestoreResult(
        shard=plan.manifest.shard,
        label=plan.manifest.label,
        target=plan.directory,
        mode=plan.mode.value,
        server_version=proof.server_version,
        gtid_executed=proof.gtid_executed,
        checks=proof.checks,
        files=len(plan.manifest.files),
        files_bytes=plan.total_bytes,
        data_bytes=fetched.data_bytes,
        journaled_bytes=fetched.journaled_bytes,
        equal_bytes=fetched.equal_bytes,
        read_bytes=fetched.read_bytes,
        written_bytes=fetched.written_bytes,
        seconds=seconds,
        stage_seconds=proof.seconds,
        proof=recorded.name,
        unrecorded=recorded.problem,
        left=left,
        next_steps=_next_steps(plan, left),
        links=tuple(link.label for link in plan.chain.links),
    )


def _next_steps(plan: RestorePlan, left: LeftServer | None) -> tuple[str, ...]:
    """How the restored server joins replication."""
    join = (
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='<primary>', SOURCE_PORT=3306, SOURCE_USER='<user>', "
        "SOURCE_PASSWORD='<password>', SOURCE_SSL=1, SOURCE_AUTO_POSITION=1; START REPLICA;"
    )
    if left is not None:
        return (
            f"mysql --socket={quote(str(left.socket))} --user=root",
            join,
            f"to stop it: kill {left.pid}",
        )
    steps = (f"start your mysqld on {plan.directory}, with super_read_only=ON", join)
    owner = f"chown -R mysql: {plan.directory}"
    return (owner, *steps) if os.geteuid() == 0 else steps
