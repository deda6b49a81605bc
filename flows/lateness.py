"""Whether a backup that comes late is still wanted. Pure.

After a pause of the scheduler, or a backup that took long, all that was due meanwhile is started, one after
the other and in no order. What is wanted of it is one full backup, and the newest incremental.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from fleet.figures import moment
from fleet.model import Fleet, Shard
from fleet.schedule import Kind, due_times
from repository import layout
from repository.names import Label
from repository.store_clock import MAX_OFF_SECONDS


def not_wanted_because(
    fleet: Fleet, shard: Shard, kind: Kind, due: datetime, *, now: datetime, labels: Iterable[str]
) -> str | None:
    """Why a backup that was due at ``due`` need not be taken at ``now``; None if it must.

    ``labels``: the backups of the shard. A full is covered by one that began since; an incremental by any
    backup that did, or because a later one is due, too.
    """
    # Whose clock is behind the scheduler's begins before it is due.
    for label, begun in begun_since(due, labels, now=max(now, due)):
        if kind == "incremental" or begun.kind == "full":
            return f"{label} was taken since it was due, at {moment(due)} UTC"
    if kind == "incremental":
        later = list(due_times(fleet, shard, kind, due + timedelta(seconds=1), now))
        if later:
            return f"it was due at {moment(due)} UTC, and another one at {moment(later[-1])} UTC"
    return None


def begun_since(due: datetime, labels: Iterable[str], *, now: datetime) -> Iterator[tuple[str, Label]]:
    """Backups that began from ``due`` on, newest first.

    A label later than ``now`` is of a clock that was ahead. What it stands for was not taken since; until
    that time has come it would keep every backup that is due from being taken.
    """
    latest = now + timedelta(seconds=MAX_OFF_SECONDS)
    for text in sorted(labels, reverse=True):
        label = layout.parse_label(text)
        # Labels are cut to the second: one of the second in which somebody asked may have begun before that.
        if label is not None and due <= label.at <= latest:
            yield text, label
