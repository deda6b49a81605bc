"""Does the recovery window stay as it is without some backups? Pure, but that the archive's parts are opened.

Asked after retention has decided, and by other means: what is the same by both was not a slip.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleet.gtid import GtidSet
from repository.archive.line import Line, Window
from repository.archive.window import Base, recoverable
from repository.catalog import BackupSummary
from repository.layout import BackupName


@dataclass(frozen=True, slots=True)
class Promise:
    """Every point from ``start`` to ``now`` that there is; ``line``: what is archived, if anything is."""

    start: datetime
    now: datetime
    line: Line | None


def leading(promise: Promise, there: Iterable[BackupSummary]) -> frozenset[BackupName]:
    """The newest backup from which the archive leads to the first point of the window; none without one.

    By transactions, not by clocks: a backup of a branch leads nowhere, however well its date fits.
    """
    line, whole = promise.line, [each for each in there if each.broken is None]
    if line is None:
        return frozenset()
    first = _first_point(promise, recoverable(line, map(_base, whole)))
    for each in sorted(whole, key=lambda each: (each.finished_at, each.label), reverse=True):
        if any(window[0] <= first <= window[1] for window in recoverable(line, [_base(each)])):
            return frozenset({each.name})
    return frozenset()


def why_promise_breaks(
    promise: Promise, there: Iterable[BackupSummary], going: Collection[BackupName]
) -> str | None:
    """What of the window is lost with ``going``, of the backups ``there`` of one shard; None if nothing is.

    Raises what keeps the archive from being read.
    """
    whole = [each for each in there if each.broken is None]
    left = [each for each in whole if each.name not in going]
    if whole and not left:
        return f"no backup of shard {whole[0].shard} would be left that is whole"
    for each in left:
        if each.base is not None and BackupName(each.shard, each.base) in going:
            return f"{each.label} stays, and {each.base}, which it continues, would go"
    for moment in sorted({promise.start, *(each.finished_at for each in whole)}):
        if promise.start <= moment and _newest(whole, moment) != _newest(left, moment):
            return f"another backup than now would be the newest at {moment:%Y-%m-%d %H:%M:%S} UTC"
    if promise.line is None:
        return None
    before = recoverable(promise.line, map(_base, whole))
    after = recoverable(promise.line, map(_base, left))
    first = _first_point(promise, before)
    for window in before:
        start, end = max(window[0], first), min(window[1], promise.now)
        if start <= end and not any(each[0] <= start and end <= each[1] for each in after):
            return f"what was recoverable from {start:%Y-%m-%d %H:%M:%S} UTC on would not be any more"
    return None


def _first_point(promise: Promise, windows: Sequence[Window]) -> datetime:
    """Where the window begins; where nothing was written since, the last point that there is."""
    return min([promise.start, *(window[1] for window in windows[-1:])])


def _newest(backups: Iterable[BackupSummary], moment: datetime) -> datetime | None:
    """When the newest ended of those that had by then."""
    return max((each.finished_at for each in backups if each.finished_at <= moment), default=None)


def _base(backup: BackupSummary) -> Base:
    return Base(GtidSet.parse(backup.gtid_low), GtidSet.parse(backup.gtid_high))
