"""Which expired backups shrink to what others refer to, and when: the part of prune that frees single packs.

In two runs with an hour between them, as a backup is deleted: the first says that it will happen, and from
then on nobody builds on the backup; the second looks at everything again. Looking costs as much as reading
the indexes of all who refer to it, so it is done again only after some days.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup.prune_plan import BackupReducing
from backup.prune_survey import Surveyed
from fleet.policy import Retention
from repository.layout import BackupName
from repository.reach import Known, Reach
from repository.reducing import reducible

AGAIN = timedelta(days=7)
"""After so long a backup is looked at once more: fewer may refer to it by then."""


@dataclass(frozen=True, slots=True)
class ReducePlan:
    """``backups``: to announce, to wait for and to reduce; ``referring``: who names bytes of each.

    ``stale``: backups of which it was told that they would shrink, and which are needed whole.
    """

    backups: tuple[BackupReducing, ...]
    referring: dict[BackupName, tuple[BackupName, ...]]
    stale: tuple[BackupName, ...]


def plan_reducing(
    surveyed: Surveyed,
    known: Known,
    reached: Reach,
    shards: Collection[str],
    policy: Retention,
    *,
    pause: timedelta,
    again: timedelta = AGAIN,
) -> ReducePlan:
    """By shard and time; nothing if the policy says so. Pure."""
    outlines = surveyed.outlines.backups
    bases = {
        name: BackupName(name.shard, each.base.label) if each.base else None
        for name, each in outlines.items()
    }
    found = reducible(known, reached, bases) if policy.repack_below else {}
    backups: list[BackupReducing] = []
    for name, referring in found.items():
        was_reduced = name in surveyed.reduced
        due_at = _due_at(surveyed, name, again if was_reduced else pause)
        if name.shard not in shards or (was_reduced and due_at and surveyed.now < due_at):
            continue
        step = "begin" if due_at is None else "reduce" if due_at <= surveyed.now else "wait"
        stored = outlines[name].summary.stored_bytes
        backups.append(BackupReducing(*name, stored, len(referring), step, due_at))
    stale = tuple(
        name
        for name in surveyed.reducing
        if name not in found and name in outlines and name not in surveyed.reduced
    )
    return ReducePlan(tuple(backups), found, stale)


def _due_at(surveyed: Surveyed, name: BackupName, wait: timedelta) -> datetime | None:
    """``reducing`` is put anew at the end of each look: what was killed is looked at by the next run."""
    told_at, mark = surveyed.reducing.get(name), surveyed.marks.marks[name]
    # An older one belongs to a mark that was taken back since.
    return told_at + wait if told_at and told_at >= mark.marked_at else None
