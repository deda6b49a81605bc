"""An incremental backup: the pages that changed since the shard's newest backup of the same server."""

from __future__ import annotations

import threading

from backup.order import Order
from backup.result import BackupPlan, BackupResult
from backup.taking import plan_backup, take_backup
from fleet.clock import Clock, SystemClock
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from repository.repository import Repository


def plan_incremental_backup(
    fleet: Fleet,
    shard_name: str,
    *,
    repository: Repository,
    clock: Clock | None = None,
    donor: str | None = None,
) -> BackupPlan:
    """What ``take_incremental_backup`` would do now. Raises what it would raise before the first byte."""
    return plan_backup(
        Order(
            fleet,
            fleet.shard(shard_name),
            "incremental",
            fleet.backup.full,
            repository,
            clock or SystemClock(),
            Silent(),
            threading.Event(),
            donor,
        )
    )


def take_incremental_backup(
    fleet: Fleet,
    shard_name: str,
    *,
    repository: Repository,
    clock: Clock | None = None,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    donor: str | None = None,
) -> BackupResult:
    """Copy what changed since the newest backup whose donor can be copied from again.

    Where no backup can be built on (FORMAT.md, section 13, rule 4), or the chain is as long as the config
    allows, it becomes a full backup, and ``became_full_because`` says why. Everything else is as for
    ``take_full_backup``.
    """
    return take_backup(
        Order(
            fleet,
            fleet.shard(shard_name),
            "incremental",
            fleet.backup.full,
            repository,
            clock or SystemClock(),
            progress or Silent(),
            cancelled or threading.Event(),
            donor,
        )
    )
