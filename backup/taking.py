"""The one path of every backup: a donor, a copy, the manifest, and another try of what passes by itself."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from backup.copying import CANCELLED_HINT, copy_shard
from backup.decision import Decision, decide
from backup.facts import backup_facts
from backup.order import Order
from backup.result import BackupPlan, BackupResult, result_of
from backup.spool import Spool, spool_directory
from fleet.errors import Cancelled, ToolError
from repository.writer import begin_backup
from wire import admin
from wire.clone.client import CloneClient

FIRST_PAUSE_SECONDS = 5.0


def plan_backup(order: Order) -> BackupPlan:
    """What ``take_backup`` would do now. Raises what it would raise before the first byte."""
    decision = decide(order)
    choice = decision.donor
    with closing(order.connect(choice)) as session:
        size = admin.data_bytes(session)
    return BackupPlan(
        shard=order.shard.name,
        kind=decision.kind,
        donor=choice.server.name,
        reason=choice.reason,
        passed_over=choice.passed_over,
        data_bytes=size,
        repository=order.repository.store.describe(),
        findings=choice.candidate.findings,
        became_full_because=decision.became_full_because,
    )


def take_backup(order: Order) -> BackupResult:
    """A backup that exists. What may pass by itself is tried again ``backup.retries`` times."""
    interruptions: list[str] = []
    while True:
        try:
            return replace(_copy(decide(order), order), interruptions=tuple(interruptions))
        except ToolError as error:
            if not error.retryable or order.cancelled.is_set() or len(interruptions) >= order.policy.retries:
                raise
            interruptions.append(error.message)
            order.progress.stage("waiting to try again")
            _pause(order, FIRST_PAUSE_SECONDS * 2 ** (len(interruptions) - 1))


def _pause(order: Order, seconds: float) -> None:
    """Wait in short steps. Raises ``Cancelled``."""
    until = order.clock.monotonic() + seconds
    while (left := until - order.clock.monotonic()) > 0:
        if order.cancelled.is_set():
            raise Cancelled("the backup was cancelled", hint=CANCELLED_HINT)
        order.clock.sleep(min(left, 0.2))


def _copy(decision: Decision, order: Order) -> BackupResult:
    fleet, clock, choice = order.fleet, order.clock, decision.donor
    began = clock.monotonic()
    spool = Spool(
        spool_directory(fleet.backup.spool_directory),
        memory_bytes=fleet.backup.memory_queue_bytes,
        disk_bytes=fleet.backup.spool_max_bytes,
    )
    with closing(order.connect(choice)) as session:
        server = admin.server_facts(session)
        is_encrypted = bool(admin.encryption_in_use(session))
    # Claiming the label writes to the store and uses the key: both work before the donor is asked for data.
    with begin_backup(
        order.repository,
        order.shard.name,
        decision.kind,
        parallelism=fleet.parallelism,
        pack_size=fleet.repository.pack_size_bytes,
        level=fleet.repository.compression_level,
        clock=clock,
    ) as writer:
        copied = copy_shard(
            CloneClient(lambda: order.connect(choice), order.clone_options(), clock),
            writer,
            spool,
            lanes=fleet.parallelism.compress_threads,
            read_log_status=order.log_status_reader(choice),
            progress=order.progress,
            cancelled=order.cancelled,
        )
        seconds = {stage.name.lower(): spent for stage, spent in copied.outcome.seconds_by_stage.items()}
        manifest = writer.complete(
            backup_facts(choice.server, server, copied, is_encrypted=is_encrypted), seconds=seconds
        )
    return result_of(manifest, decision, copied, writer.statistics(), seconds=clock.monotonic() - began)
