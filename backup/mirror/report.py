"""What ``mirror run`` and ``mirror status`` say: plain facts, for text and for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleet.finding import Finding


@dataclass(frozen=True, slots=True)
class BackupMirrored:
    """A backup that was copied whole."""

    shard: str
    label: str


@dataclass(frozen=True, slots=True)
class NotMirrored:
    """Something that was not copied, and why; ``name`` is its object's, or the shard's as a whole."""

    shard: str
    name: str
    kind: str
    problem: str


@dataclass(frozen=True, slots=True)
class MirrorOutcome:
    """How a run ended, in order. ``objects`` and ``bytes`` are what was copied and confirmed."""

    mirror: str
    backups: tuple[BackupMirrored, ...]
    objects: int
    bytes: int
    seconds: float
    refused: tuple[NotMirrored, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class LastError:
    """What kept this machine from copying, and when; a run that copies everything ends it."""

    at: datetime
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class BackupsBehind:
    """``newest_here`` and ``newest_there``: labels of the newest backup in the repository and in the mirror;
    ``to_copy`` and ``bytes_to_copy``: what the mirror is to hold, and lacks. Bytes are stored ones. Both are
    None where the repository cannot be asked. ``oldest_to_copy_at``: when the oldest of them was finished.
    """

    newest_here: str | None
    newest_there: str | None
    to_copy: int | None
    bytes_to_copy: int | None
    oldest_to_copy_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ArchiveBehind:
    """``last_here`` and ``last_there``: commit of the last transaction in each place. ``lag_seconds``: how
    much of the shard's history would be lost with the repository now, beside what the archive itself lacks:
    the time since the oldest commit that the mirror lacks, 0 where it lacks none. ``bytes_to_copy``: binlog
    bytes, before compression. Both are None where the repository cannot be asked.
    """

    last_here: datetime | None
    last_there: datetime | None
    lag_seconds: float | None
    bytes_to_copy: int | None


@dataclass(frozen=True, slots=True)
class ShardMirrorStatus:
    """One shard. ``archive`` is None where nothing is archived."""

    shard: str
    backups: BackupsBehind
    archive: ArchiveBehind | None
    last_error: LastError | None


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """All shards that were asked for, in order. ``last_error``: of what concerns them all. ``findings``: what
    is to be looked at.
    """

    at: datetime
    repository: str
    mirror: str
    shards: tuple[ShardMirrorStatus, ...]
    last_error: LastError | None
    findings: tuple[Finding, ...]
