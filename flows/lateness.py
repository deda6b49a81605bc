"""Whether a backup that comes late is still wanted. Pure.

After a pause of the scheduler, or a backup that took long, all that was due meanwhile is started, one after
the other and in no order. What is wanted of it is one full backup, and the newest incremental.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from fleet.figures import moment
from fleet.model import Fleet, Shard
from fleet.schedule import Kind, due_times
from repository import layout


def not_wanted_because(
    fleet: Fleet, shard: Shard, kind: Kind, due: datetime, *, now: datetime, labels: Iterable[str]
) -> str | None:
    """Why a backup that was due at ``due`` need not be taken at ``now``; None if it must.

    ``labels``: the backups of the shard. A full is covered by one that began since; an incremental by any
    backup that did, or because a later one is due, too.
    """
    for label in sorted(labels, reverse=True):
        parsed = layout.parse_label(label)
        # Labels are cut to the second.
        if parsed is None or parsed.at < due.replace(microsecond=0):
            continue
        if kind == "incremental" or parsed.kind == "full":
            return f"{label} was taken since it was due, at {moment(due)} UTC"
    if kind == "incremental":
        later = list(due_times(fleet, shard, kind, due + timedelta(seconds=1), now))
        if later:
            return f"it was due at {moment(due)} UTC, and another one at {moment(later[-1])} UTC"
    return None
