"""A full backup: the story from the choice of the donor to the manifest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from backup.copying import CANCELLED_HINT, Copied, copy_shard
from backup.facts import backup_facts
from backup.plan import DonorChoice, choose_donor
from backup.preflight import ANSWER_SECONDS, CONNECT_SECONDS, inspect_server, inspect_shard
from backup.spool import Spool, spool_directory
from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, NotFound, ToolError
from fleet.finding import Finding
from fleet.model import Fleet, Shard
from fleet.policy import BackupConfig
from fleet.progress import Progress, Silent
from repository.manifest import Manifest
from repository.repository import Repository
from repository.writer import BackupWriter, begin_backup
from wire import admin
from wire.clone.client import CloneClient
from wire.clone.outcome import CloneOptions
from wire.session import Session, open_session

FIRST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """What a backup would do: the donor and why, the size it will read, and what was found. Bytes."""

    shard: str
    kind: str
    donor: str
    reason: str
    passed_over: tuple[str, ...]
    data_bytes: int
    repository: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A backup that exists. Bytes, CPU seconds by stage; ``interruptions``: how earlier tries ended."""

    shard: str
    label: str
    kind: str
    donor: str
    reason: str
    started_at: datetime
    finished_at: datetime
    seconds: float
    files: int
    files_bytes: int
    received_bytes: int
    stored_bytes: int
    spilled_bytes: int
    resumes: int
    gtid_low: str
    gtid_high: str
    stage_seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    interruptions: tuple[str, ...] = ()


def plan_full_backup(
    fleet: Fleet,
    shard_name: str,
    *,
    repository: Repository,
    clock: Clock | None = None,
    donor: str | None = None,
) -> BackupPlan:
    """What ``take_full_backup`` would do now. Raises what it would raise before the first byte."""
    shard = fleet.shard(shard_name)
    choice = _choose(fleet, shard, clock or SystemClock(), donor)
    with closing(_connect(fleet, choice)) as session:
        size = admin.data_bytes(session)
    return BackupPlan(
        shard=shard.name,
        kind="full",
        donor=choice.server.name,
        reason=choice.reason,
        passed_over=choice.passed_over,
        data_bytes=size,
        repository=repository.store.describe(),
        findings=choice.candidate.findings,
    )


def take_full_backup(
    fleet: Fleet,
    shard_name: str,
    *,
    repository: Repository,
    clock: Clock | None = None,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    donor: str | None = None,
) -> BackupResult:
    """Copy ``shard_name`` into ``repository``; the backup exists when this returns.

    ``donor`` names the server to copy from; otherwise the policy of the config chooses. What may pass by
    itself (a lost connection, a busy donor, a store that asks for patience) is tried again
    ``backup.retries`` times, with a donor chosen anew. ``cancelled`` ends it at any moment. Raises
    ``ToolError``; then nothing was kept, and the donor is free.
    """
    run = _Run(
        fleet,
        fleet.shard(shard_name),
        repository,
        clock or SystemClock(),
        progress or Silent(),
        cancelled or threading.Event(),
    )
    interruptions: list[str] = []
    while True:
        try:
            choice = _choose(fleet, run.shard, run.clock, donor)
            return replace(_copy_from(choice, run), interruptions=tuple(interruptions))
        except ToolError as error:
            if not error.retryable or run.cancelled.is_set() or len(interruptions) >= fleet.backup.retries:
                raise
            interruptions.append(error.message)
            run.progress.stage("waiting to try again")
            _pause(run, FIRST_PAUSE_SECONDS * 2 ** (len(interruptions) - 1))


@dataclass(frozen=True, slots=True)
class _Run:
    """What does not change from one try to the next."""

    fleet: Fleet
    shard: Shard
    repository: Repository
    clock: Clock
    progress: Progress
    cancelled: threading.Event


def _pause(run: _Run, seconds: float) -> None:
    """Wait in short steps. Raises ``Cancelled``."""
    until = run.clock.monotonic() + seconds
    while (left := until - run.clock.monotonic()) > 0:
        if run.cancelled.is_set():
            raise Cancelled("the backup was cancelled", hint=CANCELLED_HINT)
        run.clock.sleep(min(left, 0.2))


def _choose(fleet: Fleet, shard: Shard, clock: Clock, donor: str | None) -> DonorChoice:
    if donor is None:
        return choose_donor(shard.name, inspect_shard(fleet, shard, clock), fleet.backup)
    server = next((server for server in shard.servers if server.name == donor), None)
    if server is None:
        names = ", ".join(server.name for server in shard.servers)
        raise NotFound(f"shard {shard.name} has no server {donor}", hint=f"It has {names}.")
    policy = fleet.backup.model_copy(update={"donors": (donor,)})
    candidate = inspect_server(server, fleet.accounts.backup, fleet.backup, clock)
    return choose_donor(shard.name, [candidate], policy)


def _copy_from(choice: DonorChoice, run: _Run) -> BackupResult:
    fleet, clock = run.fleet, run.clock
    began = clock.monotonic()
    spool = Spool(
        spool_directory(fleet.backup.spool_directory),
        memory_bytes=fleet.backup.memory_queue_bytes,
        disk_bytes=fleet.backup.spool_max_bytes,
    )
    with closing(_connect(fleet, choice)) as session:
        server = admin.server_facts(session)
        is_encrypted = bool(admin.encryption_in_use(session))
    # Claiming the label writes to the store and uses the key: both work before the donor is asked for data.
    with begin_backup(
        run.repository,
        run.shard.name,
        "full",
        parallelism=fleet.parallelism,
        pack_size=fleet.repository.pack_size_bytes,
        level=fleet.repository.compression_level,
        clock=clock,
    ) as writer:
        copied = copy_shard(
            CloneClient(lambda: _connect(fleet, choice), _clone_options(fleet), clock),
            writer,
            spool,
            lanes=fleet.parallelism.compress_threads,
            read_log_status=_log_status_reader(fleet, choice),
            progress=run.progress,
            cancelled=run.cancelled,
        )
        seconds = {stage.name.lower(): spent for stage, spent in copied.outcome.seconds_by_stage.items()}
        manifest = writer.complete(
            backup_facts(choice.server, server, copied, is_encrypted=is_encrypted), seconds=seconds
        )
    return _result(manifest, choice, writer, copied, seconds=clock.monotonic() - began)


def _connect(fleet: Fleet, choice: DonorChoice) -> Session:
    return open_session(
        choice.server, fleet.accounts.backup, connect_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS
    )


def _log_status_reader(fleet: Fleet, choice: DonorChoice) -> Callable[[], admin.LogStatus]:
    def read() -> admin.LogStatus:
        # A session of its own each time: between the two moments hours may pass, and idle sessions are cut.
        with closing(_connect(fleet, choice)) as session:
            return admin.log_status(session)

    return read


def _clone_options(fleet: Fleet) -> CloneOptions:
    policy: BackupConfig = fleet.backup
    return CloneOptions(
        connections=fleet.parallelism.clone_connections,
        ddl_timeout_seconds=policy.ddl_timeout_seconds,
        stall_seconds=policy.stall_seconds,
        external_tablespaces=policy.external_tablespaces,
        rate_bytes_per_second=policy.rate_bytes_per_second,
    )


def _result(
    manifest: Manifest, choice: DonorChoice, writer: BackupWriter, copied: Copied, *, seconds: float
) -> BackupResult:
    statistics = writer.statistics()
    return BackupResult(
        shard=manifest.shard,
        label=manifest.label,
        kind=manifest.kind,
        donor=choice.server.name,
        reason=choice.reason,
        started_at=manifest.timings.started_at,
        finished_at=manifest.timings.finished_at,
        seconds=seconds,
        files=len(manifest.files),
        files_bytes=manifest.sizes.files_bytes,
        received_bytes=statistics.received_bytes,
        stored_bytes=statistics.stored_bytes,
        spilled_bytes=copied.spilled_bytes,
        resumes=copied.outcome.resumes,
        gtid_low=manifest.gtid.low,
        gtid_high=manifest.gtid.high,
        stage_seconds=manifest.timings.seconds,
        cpu_seconds=statistics.cpu_seconds,
    )
