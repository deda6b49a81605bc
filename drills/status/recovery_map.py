"""Which hours can be recovered, and how well that is known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from backup.archive.report import SourceLag, Window
from drills.status.report import BackupSeen, Cell, ProofSeen, RecoveryMap

DAYS = 30
HOURS = DAYS * 24

_HOUR = timedelta(hours=1)


class Span(NamedTuple):
    """From one moment to another."""

    start: datetime
    end: datetime


class Known(NamedTuple):
    """What the map is made of.

    ``since``: from when on recovery is promised; None without a backup. ``until``: up to when the archive is
    known to have everything, or to lack it. ``windows``: where it can be recovered. ``proven``: what restores
    went through. ``verified_at``: when all that was there at a moment had been read again, or None.
    """

    since: datetime | None
    until: datetime
    windows: tuple[Window, ...]
    proven: tuple[Span, ...]
    verified_at: Callable[[datetime], datetime | None]


def recovery_map(known: Known, now: datetime) -> RecoveryMap:
    """The last 30 days, hour by hour. Of an hour at the edge of what is known the known part counts."""
    last = now.replace(minute=0, second=0, microsecond=0)
    first = last - (HOURS - 1) * _HOUR
    return RecoveryMap(first, tuple(_cell(first + hour * _HOUR, known) for hour in range(HOURS)))


def _cell(hour: datetime, known: Known) -> Cell:
    if known.since is None:
        return Cell.NOTHING
    start, end = max(hour, known.since), min(hour + _HOUR, known.until)
    if start >= end:
        return Cell.NOTHING
    if not any(window.first_at <= start and end <= window.last_at for window in known.windows):
        return Cell.LOST
    if any(span.start < end and start <= span.end for span in known.proven):
        return Cell.PROVEN
    read_at = known.verified_at(end)
    return Cell.VERIFIED if read_at is not None else Cell.ARCHIVED


def proven_spans(proofs: Sequence[ProofSeen], backups: Sequence[BackupSeen]) -> tuple[Span, ...]:
    """From the moment of the backup that was restored to the one that the restore reached."""
    ends = {backup.label: backup.finished_at for backup in backups}
    return tuple(
        Span(ends[proof.label], max(proof.reached_at or ends[proof.label], ends[proof.label]))
        for proof in proofs
        if proof.proven and proof.label in ends
    )


class Reach(NamedTuple):
    """``until``: up to when it is known what can be recovered. ``windows`` as they really end."""

    until: datetime
    windows: tuple[Window, ...]


def reach_of(
    windows: tuple[Window, ...],
    archived_until: datetime | None,
    lag: SourceLag | None,
    *,
    rpo_seconds: float,
    now: datetime,
) -> Reach:
    """A window ends with the last archived commit: where nothing was committed since, it reaches until now.

    Where the source could not be asked, nobody knows what was committed behind it. What the archive will have
    within the RPO is not called lost.
    """
    if not windows or archived_until is None or windows[-1].last_at < archived_until:
        return Reach(now, windows)
    last = windows[-1]
    if lag is None:
        return Reach(last.last_at, windows)
    if lag.seconds is None:
        return Reach(now, windows)
    end = max(last.last_at, now - timedelta(seconds=lag.seconds))
    return Reach(end if lag.seconds <= rpo_seconds else now, (*windows[:-1], Window(last.first_at, end)))
