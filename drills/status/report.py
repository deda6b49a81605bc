"""What there is to know of a fleet, for the terminal, the page, metrics and notifications: plain facts.

Times are UTC. Nothing here is judged twice: ``Judged`` findings are the only opinion, and a health is the
worst of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias

from backup.archive.report import GapSeen, Window
from fleet.skew import Skew


class Health(StrEnum):
    """From well to ill; ``UNKNOWN`` is what could not be asked, and never counts as well."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    CRITICAL = "critical"


Code: TypeAlias = Literal[
    "archive-branch",
    "archive-gap",
    "archive-lag",
    "archive-stopped",
    "backup-failed",
    "backup-overdue",
    "clock",
    "damage",
    "disk-full",
    "fell-to-async",
    "key-unusable",
    "mirror-lag",
    "no-backup",
    "notify-failed",
    "proof-failed",
    "proof-overdue",
    "replication-lag",
    "repository-unreachable",
    "retention-refused",
    "rto-over-target",
    "scheduler-down",
    "server-unreachable",
    "settings",
]
"""What a finding is of: the name of its alert, and of its chapter in RUNBOOK.md."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding and how bad it is. ``hint``: the way out; ``since``: when it began, where that is known."""

    health: Health
    code: Code
    subject: str
    message: str
    hint: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class BackupSeen:
    """A backup that exists. ``damage``: what a verify found wrong in it or in what it needs, in short."""

    label: str
    kind: Literal["full", "incremental"]
    started_at: datetime
    finished_at: datetime
    files_bytes: int
    stored_bytes: int
    verified_at: datetime | None = None
    proven_at: datetime | None = None
    damage: str | None = None


@dataclass(frozen=True, slots=True)
class ProofSeen:
    """A restore that was made to prove a backup. ``reached_at``: commit time of the last transaction in it.

    ``rto_seconds``: from its start to a server that was proven; ``rpo_seconds``: what of the source's
    writes at its start it did not bring back; None where it was not asked to reach now.
    """

    label: str
    at: datetime
    proven: bool
    reached_at: datetime | None = None
    rto_seconds: float | None = None
    rpo_seconds: float | None = None


RunState: TypeAlias = Literal["done", "not run", "running", "waiting", "failed"]


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A backup that the schedule asked for, and what came of it: "not run" where nothing did."""

    kind: Literal["full", "incremental"]
    due_at: datetime
    state: RunState
    label: str | None = None
    because: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaSeen:
    """A server of the shard, asked for itself. ``lag_seconds`` is None for the primary, or if unknown;
    ``clock``: how far its clock is off that of the machine which looked.
    """

    name: str
    region: str
    role: Literal["primary", "replica", "unknown"]
    lag_seconds: float | None
    problem: str | None = None
    clock: Skew | None = None


class Cell(StrEnum):
    """What is known of an hour, from bad to good; each includes what stands before it."""

    NOTHING = "nothing"
    """Before the first backup, or the window's promise does not reach it: not asked for."""
    LOST = "lost"
    """Not recoverable."""
    ARCHIVED = "archived"
    """A backup and the binlogs behind it lead to every moment of the hour."""
    VERIFIED = "verified"
    """All that is needed for it was read again, and is whole."""
    PROVEN = "proven"
    """A restore reached it, or went through it."""
    DRILLED = "drilled"
    """In a drill."""


@dataclass(frozen=True, slots=True)
class RecoveryMap:
    """A cell for every hour from ``first_hour`` on, oldest first; the last one is going on."""

    first_hour: datetime
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class LagPoint:
    """How far the archive was behind at a moment."""

    at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard. ``windows``: between which moments it can be recovered, oldest first.

    ``runs``: what the schedule asked for in the last two days, oldest first; ``next_run``: what it asks for
    next. ``forecast_rto_seconds``: how long a restore of this size will take by ``forecast_by``.
    ``running_since``: since when somebody has the turn to back it up, by the store's clock.
    """

    shard: str
    health: Health
    backups: tuple[BackupSeen, ...]
    last_full: BackupSeen | None
    last_incremental: BackupSeen | None
    last_proof: ProofSeen | None
    proofs: tuple[ProofSeen, ...]
    archive_mode: str
    archived_until: datetime | None
    archive_lag_seconds: float | None
    windows: tuple[Window, ...]
    gaps: tuple[GapSeen, ...]
    runs: tuple[RunSeen, ...]
    next_run: RunSeen | None
    forecast_rto_seconds: float | None
    forecast_by: str | None
    mirror_lag_seconds: float | None
    servers: tuple[ReplicaSeen, ...]
    recovery: RecoveryMap
    lag_history: tuple[LagPoint, ...]
    findings: tuple[Judged, ...]
    running_since: datetime | None = None

    def none_is_whole(self, kind: str) -> bool:
        """There are backups of that kind, and each of them is damaged."""
        damage = [each.damage for each in self.backups if each.kind == kind]
        return bool(damage) and None not in damage


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """A disk of this machine that Backstay writes to, and what for."""

    path: str
    use: str
    used_percent: float
    free_bytes: int


@dataclass(frozen=True, slots=True)
class UnconfiguredShard:
    """A shard that the repository has and the configuration lacks; retention goes on with it.

    ``backups``: how many are kept. ``kept_until``: the end of the window of the ``newest``; after that only
    those are left which retention keeps whatever their age. Both are None if no backup can be read.
    """

    shard: str
    backups: int
    newest: BackupSeen | None
    kept_until: datetime | None


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """All shards that were asked for.

    ``seen_at`` is when all of this was true: long ago, if ``unreachable`` says why it cannot be asked now.
    ``what_to_do`` is one line: the worst finding's way out. ``findings``: those that are of no shard.
    ``unconfigured`` is told where all shards were asked for. ``store_clock``: how far the store's clock is
    off that of the machine which looked; None where it cannot be asked.
    """

    fleet: str
    repository: str
    seen_at: datetime
    health: Health
    shards: tuple[ShardStatus, ...]
    disks: tuple[DiskSeen, ...]
    findings: tuple[Judged, ...]
    what_to_do: str
    rto_target_seconds: float
    rpo_target_seconds: float
    unreachable: str | None = None
    unconfigured: tuple[UnconfiguredShard, ...] = ()
    store_clock: Skew | None = None


def worst(findings: tuple[Judged, ...]) -> Health:
    """The health that these findings make."""
    order = list(Health)
    return max((finding.health for finding in findings), key=order.index, default=Health.OK)
