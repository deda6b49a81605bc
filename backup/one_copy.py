"""One copy, from the donor to the manifest: full or incremental, stored or referring."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from backup.copying import Copied, copy_shard
from backup.decision import Decision
from backup.facts import backup_facts
from backup.guards import refusal_after
from backup.lease import building_on
from backup.order import Order
from backup.referring import refer_unchanged
from backup.result import BackupResult, result_of
from backup.saving import UnchangedChunks
from backup.segments import SealedSegments
from backup.sifting import HeldPages
from backup.spool import Spool, spool_directory
from fleet.errors import ObjectDamaged, ObjectMissing
from repository.chain import space_of
from repository.manifest import BackupFacts, Base, Manifest
from repository.writer import BackupWriter, begin_backup
from wire import admin
from wire.clone.client import CloneClient

PEN_BYTES = 256 * 1024 * 1024
"""What waits is compressed only when the donor is done: with much of it the copy would be made twice over."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """The copy is sound, but its base cannot be built on. Nothing was kept."""

    reason: str


def copy_from(decision: Decision, order: Order, *, check_turn: Callable[[], None]) -> BackupResult | Unfit:
    """Copy the donor into a new backup. Raises ``ToolError``: nothing was kept, and the donor is free.

    ``check_turn`` is asked right before the manifest is put, beside the lease.
    """
    fleet, clock, choice = order.fleet, order.clock, decision.donor
    began = clock.monotonic()
    base = decision.chain.newest if decision.chain is not None else None
    saving = _saving(decision, order)
    spool, pen = _waiting_rooms(order, is_sifting=base is not None)
    with closing(order.connect(choice)) as session:
        server = admin.server_facts(session)
        is_encrypted = bool(admin.encryption_in_use(session))
    # Claiming the label writes to the store and uses the key: both work before the donor is asked for data.
    with (
        begin_backup(
            order.repository,
            order.shard.name,
            decision.kind,
            parallelism=fleet.parallelism,
            pack_size=fleet.repository.pack_size_bytes,
            level=fleet.repository.compression_level,
            clock=clock,
        ) as writer,
        building_on(decision.chain, order.repository, writer, clock=clock, progress=order.progress) as lease,
    ):
        copied = copy_shard(
            CloneClient(lambda: order.connect(choice), order.clone_options(), clock, skip=saving),
            writer,
            spool,
            held=_held(base) if base is not None else None,
            pen=pen,
            lanes=fleet.parallelism.compress_threads,
            read_log_status=order.log_status_reader(choice),
            progress=order.progress,
            cancelled=order.cancelled,
        )
        facts = backup_facts(
            choice.server,
            server,
            copied,
            is_encrypted=is_encrypted,
            base=_base(base) if base is not None and decision.kind == "incremental" else None,
            built_on=decision.built_on,
        )
        last = _one_after_the_other(check_turn, lease.check)
        manifest = _complete(decision, order, writer, facts, copied, last_check=last)
        if isinstance(manifest, Unfit):
            return manifest
    return result_of(
        manifest,
        decision,
        copied,
        writer.statistics(),
        saving=saving.told(copied.outcome) if saving is not None else decision.why_not_saved or "",
        seconds=clock.monotonic() - began,
    )


def _one_after_the_other(*checks: Callable[[], None]) -> Callable[[], None]:
    def check() -> None:
        for each in checks:
            each()

    return check


def _complete(
    decision: Decision,
    order: Order,
    writer: BackupWriter,
    facts: BackupFacts,
    copied: Copied,
    *,
    last_check: Callable[[], None],
) -> Manifest | Unfit:
    """The last steps, in which a base may turn out to be no base."""
    chain = decision.chain
    if chain is not None and (reason := refusal_after(chain.newest, facts)):
        return Unfit(reason)
    try:
        if chain is not None and decision.kind == "full":
            order.progress.stage("refer to what did not change")
            refer_unchanged(
                writer,
                order.repository,
                chain,
                files=facts.files,
                stored=copied.stored,
                cancelled=order.cancelled,
            )
        return writer.complete(
            facts,
            seconds={stage.name.lower(): spent for stage, spent in copied.outcome.seconds_by_stage.items()},
            unchanged_bytes=copied.unstored_bytes,
            skipped_bytes=copied.outcome.skipped_bytes,
            last_check=last_check,
        )
    except (ObjectMissing, ObjectDamaged) as error:
        # Without a base nothing was read, so this would be about what was just written.
        if chain is None:
            raise
        return Unfit(error.message)


def _saving(decision: Decision, order: Order) -> UnchangedChunks | None:
    if decision.chain is None or decision.why_not_saved is not None:
        return None
    return UnchangedChunks(decision.chain.newest, lambda: order.connect(decision.donor))


def _waiting_rooms(order: Order, *, is_sifting: bool) -> tuple[Spool, SealedSegments]:
    """The spool, and room for pages that may come again: together they keep to the bound of the config."""
    policy = order.policy
    directory = spool_directory(policy.spool_directory)
    penned = min(policy.spool_max_bytes // 2, PEN_BYTES) if is_sifting else 0
    spool = Spool(
        directory,
        memory_bytes=policy.memory_queue_bytes,
        disk_bytes=policy.spool_max_bytes - penned,
    )
    return spool, SealedSegments(directory, penned)


def _held(base: Manifest) -> HeldPages:
    spaces = frozenset(space_of(entry) for entry in base.files if entry.space_id is not None)
    return HeldPages(base.lsn.checkpoint, spaces)


def _base(base: Manifest) -> Base:
    return Base(label=base.label, checkpoint_lsn=base.lsn.checkpoint)
