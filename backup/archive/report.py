"""What ``status`` and ``run`` say at their end: plain facts, for text and for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fleet.errors import ToolError
from fleet.finding import Finding
from fleet.transaction import Gtid

Mode = Literal["async", "local-sync", "store-sync"]


@dataclass(frozen=True, slots=True)
class ArchivedTransaction:
    """The last transaction that the archive holds whole."""

    gtid: Gtid
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class SourceLag:
    """How far the archive is behind the source.

    ``transactions``: executed there, not archived. ``seconds``: since the oldest of these was committed,
    0 when there are none; None where the source's binlog does not tell, or nothing is archived yet.
    ``mode_holds``: the source waits for acknowledgements now; None in mode async.
    """

    server: str
    transactions: int
    seconds: float | None
    mode_holds: bool | None


@dataclass(frozen=True, slots=True)
class SpoolUse:
    """What lies on this machine and waits for the store. Another machine's is not seen."""

    directory: str
    files: int
    bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class GapSeen:
    """Transactions that are missing in the middle of the archive; ``gtids`` in one line."""

    gtids: str
    transactions: int
    before: str


@dataclass(frozen=True, slots=True)
class BranchSeen:
    """Transactions that an epoch left behind; ``epoch`` is the one that left them."""

    epoch: int
    gtids: str
    transactions: int


@dataclass(frozen=True, slots=True)
class NoteSeen:
    """A note of the archive; ``ended_at`` is None while what it says goes on."""

    epoch: int
    kind: str
    at: datetime
    ended_at: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class EpochSeen:
    """The newest epoch."""

    number: int
    reason: str
    server: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """Commit times between which the shard can be recovered: from a backup on, by the binlogs behind it."""

    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ShardArchiveStatus:
    """One shard. ``lag`` is None when no source could be asked; ``findings`` say why.

    ``windows``: oldest first; gaps lie between them, each up to the next backup. ``window``: the newest.
    ``backups``: how many could be read.
    """

    shard: str
    mode: Mode
    epoch: EpochSeen | None
    last: ArchivedTransaction | None
    lag: SourceLag | None
    spool: SpoolUse
    window: Window | None
    windows: tuple[Window, ...]
    backups: int
    gaps: tuple[GapSeen, ...]
    branches: tuple[BranchSeen, ...]
    open_notes: tuple[NoteSeen, ...]
    files: int
    segments: int
    stored_bytes: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """All shards that were asked for."""

    at: datetime
    shards: tuple[ShardArchiveStatus, ...]


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """How the archiving of one shard ended. ``error`` is None after an orderly end."""

    shard: str
    transactions: int
    received_bytes: int
    stored_bytes: int
    segments: int
    error: ToolError | None


@dataclass(frozen=True, slots=True)
class ArchiverOutcome:
    """How a run of the archiver ended."""

    shards: tuple[ShardOutcome, ...]
