"""A full backup: complete by itself. It stores every page, or refers to those that older backups hold."""

from __future__ import annotations

import threading

from backup.order import FullKind, Order
from backup.result import BackupPlan, BackupResult
from backup.taking import plan_backup, take_backup
from fleet.clock import Clock, SystemClock
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from repository.repository import Repository


def plan_full_backup(
    fleet: Fleet,
    shard_name: str,
    *,
    repository: Repository,
    clock: Clock | None = None,
    donor: str | None = None,
    full: FullKind | None = None,
) -> BackupPlan:
    """What ``take_full_backup`` would do now. Raises what it would raise before the first byte."""
    return plan_backup(
        Order(
            fleet,
            fleet.shard(shard_name),
            "full",
            full or fleet.backup.full,
            repository,
            clock or SystemClock(),
            Silent(),
            threading.Event(),
            donor,
        )
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
    full: FullKind | None = None,
) -> BackupResult:
    """Copy ``shard_name`` into ``repository``; the backup exists when this returns.

    ``full`` says what to store, otherwise ``backup.full`` of the config does: ``stored`` takes every page,
    ``referring`` only those that the shard's newest backup of the same server does not hold, and refers to
    the rest; where it cannot, it stores all, and ``became_full_because`` says why. ``donor`` names the server
    to copy from; otherwise the policy of the config chooses. What may pass by itself (a lost connection, a
    busy donor, a store that asks for patience) is tried again ``backup.retries`` times, with a donor chosen
    anew. ``cancelled`` ends it at any moment. Raises ``TurnTaken`` while the shard is backed up by somebody
    else, or others fill the budget of the donor's region for longer than it waits; after any ``ToolError``
    nothing was kept, and the donor is free.
    """
    return take_backup(
        Order(
            fleet,
            fleet.shard(shard_name),
            "full",
            full or fleet.backup.full,
            repository,
            clock or SystemClock(),
            progress or Silent(),
            cancelled or threading.Event(),
            donor,
        )
    )
