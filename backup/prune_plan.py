"""What prune says: its plan and its result. Times are UTC by the store's clock, sizes are stored bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from repository.archive.line import Window
from repository.layout import BackupName

Step = Literal["delete", "wait", "begin"]


@dataclass(frozen=True, slots=True)
class BackupGoing:
    """A backup that is free. ``step``: ``delete``: now; ``wait``: its hour is not over; ``begin``: it begins.

    ``left_bytes``: what there is of ``stored_bytes`` still, if it was reduced. ``due_at``: from when on it
    can be deleted; None where the hour only begins with this run.
    """

    shard: str
    label: str
    stored_bytes: int
    left_bytes: int
    why: str
    step: Step
    due_at: datetime | None

    @property
    def name(self) -> BackupName:
        return BackupName(self.shard, self.label)


@dataclass(frozen=True, slots=True)
class BackupReducing:
    """A backup of which others need some pages alone. ``step``: ``reduce``: now; ``wait``: its hour is not
    over; ``begin``: it begins. ``referring``: so many backups name bytes of it.
    """

    shard: str
    label: str
    stored_bytes: int
    referring: int
    step: Literal["reduce", "wait", "begin"]
    due_at: datetime | None

    @property
    def name(self) -> BackupName:
        return BackupName(self.shard, self.label)


@dataclass(frozen=True, slots=True)
class BackupKept:
    """A backup that stays. ``marked_at``: retention has ended it, and it stays all the same. ``left_bytes``:
    what there is of ``stored_bytes`` still, if it was reduced.
    """

    shard: str
    label: str
    stored_bytes: int
    left_bytes: int
    marked_at: datetime | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnreadableSeen:
    """A manifest that cannot be read, and may need anything unless it is ``given_up``."""

    shard: str
    label: str
    problem: str
    given_up: bool


@dataclass(frozen=True, slots=True)
class ForgedMark:
    """An object that looks like a mark and is none: it counts for nothing."""

    shard: str
    label: str
    problem: str


@dataclass(frozen=True, slots=True)
class LeftoverGoing:
    """What an attempt left that died. ``newest_at``: the time of its newest object."""

    shard: str
    label: str
    newest_at: datetime
    objects: int
    stored_bytes: int

    @property
    def name(self) -> BackupName:
        return BackupName(self.shard, self.label)


@dataclass(frozen=True, slots=True)
class BinlogsGoing:
    """An archived binlog file that is free; times are those of its commits."""

    shard: str
    epoch: int
    server_uuid: str
    file: str
    first_at: datetime | None
    last_at: datetime | None
    segments: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class ArchiveSeen:
    """A shard's archive: where it can be recovered within the promised window, before and after.

    ``kept_for``: the backup or the lease for which the oldest file that stays must stay; None: the window.
    """

    shard: str
    before: tuple[Window, ...]
    after: tuple[Window, ...]
    kept_for: str | None = None


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What would be done, and what stays. ``pause_seconds``: how long a backup waits between the two runs.

    ``refused``: why nothing may be deleted at all, or None. ``marked``: those of ``kept`` that retention has
    ended; the others are counted by ``kept_backups``. ``kept_bytes`` as they were stored, ``left_bytes`` what
    there is of them.
    """

    now: datetime
    window_start: datetime
    pause_seconds: float
    backups: tuple[BackupGoing, ...]
    reducing: tuple[BackupReducing, ...]
    marked: tuple[BackupKept, ...]
    kept_backups: int
    kept_bytes: int
    left_bytes: int
    unreadable: tuple[UnreadableSeen, ...]
    forged: tuple[ForgedMark, ...]
    leftovers: tuple[LeftoverGoing, ...]
    binlogs: tuple[BinlogsGoing, ...]
    archives: tuple[ArchiveSeen, ...]
    leases: int
    trials: int
    turns: int = 0
    outcomes: int = 0
    refused: str | None = None

    def of(self, step: Step) -> Iterator[BackupGoing]:
        return (each for each in self.backups if each.step == step)

    @property
    def freed_bytes(self) -> int:
        """What this run would free."""
        others = (*self.leftovers, *self.binlogs)
        return sum(each.left_bytes for each in self.of("delete")) + sum(each.stored_bytes for each in others)

    @property
    def is_idle(self) -> bool:
        """Is there nothing to do?"""
        going = any(each.step != "wait" for each in (*self.backups, *self.reducing))
        passing = self.leases or self.trials or self.turns or self.outcomes
        return not (going or self.leftovers or self.binlogs or passing)


@dataclass(frozen=True, slots=True)
class LockedSeen:
    """What the store refused to delete ``until`` then; None: it did not say."""

    object: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Spared:
    """A backup that was free in the plan and stays: somebody began to need it meanwhile."""

    shard: str
    label: str
    because: str


@dataclass(frozen=True, slots=True)
class Reduced:
    """A backup that was looked at: ``reduced`` of ``packs`` were written anew, and freed so many bytes."""

    shard: str
    label: str
    packs: int
    reduced: int
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was done. ``next_at``: when the next run can free ``next_bytes`` more, or shrink backups; None:
    nothing waits. ``marked`` and ``archives``: as the plan told them. ``spared``: what began to be needed
    after the plan was made.
    """

    backups: tuple[str, ...]
    reduced: tuple[Reduced, ...]
    leftovers: tuple[str, ...]
    begun: tuple[str, ...]
    binlog_files: int
    objects: int
    freed_bytes: int
    marked: tuple[BackupKept, ...]
    archives: tuple[ArchiveSeen, ...]
    spared: tuple[Spared, ...]
    locked: tuple[LockedSeen, ...]
    next_at: datetime | None
    next_bytes: int
    seconds: float


@dataclass
class Tally:
    """What was done so far."""

    backups: list[str] = field(default_factory=list[str])
    reduced: list[Reduced] = field(default_factory=list[Reduced])
    announced: list[datetime] = field(default_factory=list[datetime])
    leftovers: list[str] = field(default_factory=list[str])
    begun: list[tuple[BackupGoing, datetime]] = field(default_factory=list[tuple[BackupGoing, datetime]])
    binlog_files: int = 0
    objects: int = 0
    freed_bytes: int = 0
    spared: list[Spared] = field(default_factory=list[Spared])
    locked: list[LockedSeen] = field(default_factory=list[LockedSeen])
