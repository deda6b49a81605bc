"""That nothing promised is lost, shown from what will be left alone (FORMAT.md, section 14, rule 10).

None of this knows how the choice was made: a fault there must not be a fault here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from backup.prune_archive import ShardArchivePlan, check_archive
from backup.prune_survey import Surveyed, owner_of
from fleet.errors import RetentionRefused, ToolError
from repository import layout
from repository.catalog import why_broken
from repository.layout import BackupName, BinlogFile
from repository.repository import Repository
from repository.shorts import Shorts
from repository.stores.hiding import Hiding

PlanPoints: TypeAlias = Callable[[Repository, str, Sequence[datetime], Sequence[str], Shorts], None]
"""Plans restores of a shard to each of the moments, and of each of the backups; raises if one cannot be.

The last argument reads manifests, and knows what the same bytes said before.
"""


def check_backups(surveyed: Surveyed, gone: Collection[BackupName]) -> None:
    """Every backup that is whole, and stays, is whole afterwards. Raises ``RetentionRefused``."""
    left = {name: each for name, each in surveyed.outlines.backups.items() if name not in gone}
    unreadable = {
        name: error.message for name, error in surveyed.outlines.unreadable.items() if name not in gone
    }
    for name in surveyed.whole():
        if name in left and (problem := why_broken(name, left, unreadable)):
            raise RetentionRefused(
                f"{name} stays, and could not be restored any more: {problem}", hint="Nothing was deleted."
            )


def later_view(
    repository: Repository, gone: Collection[BackupName], archives: Iterable[ShardArchivePlan]
) -> Repository:
    """The repository as it will be, to plan in."""
    files = {(plan.shard, file.name) for plan in archives for file in plan.files}

    def is_gone(key: str) -> bool:
        owner = owner_of(key)
        return owner in gone if owner else _binlog(key) in files

    return Repository(Hiding(repository.store, is_gone), repository.description, repository.keys)


@dataclass(frozen=True)
class PointCheck:
    """Plans restores in ``later``, the repository as it will be; and in ``now``, where that fails."""

    now: Repository
    later: Repository
    plan_points: PlanPoints
    shorts: Shorts

    def shard(self, shard: str, archive: ShardArchivePlan | None, labels: Sequence[str]) -> None:
        """Restores to where the promised window begins and ends, and of each of the backups ``labels``.

        What cannot be planned now either is not taken away by deleting. Raises ``RetentionRefused``.
        """
        windows = archive.seen.after if archive else ()
        moments = sorted({at for window in windows for at in window})
        if self._problem(self.later, shard, moments, labels) is None:
            return
        for at in moments:
            self._compare(shard, [at], [])
        for label in labels:
            self._compare(shard, [], [label])

    def _compare(self, shard: str, moments: Sequence[datetime], labels: Sequence[str]) -> None:
        problem = self._problem(self.later, shard, moments, labels)
        if problem is None or self._problem(self.now, shard, moments, labels):
            return
        what = f"{moments[0]:%Y-%m-%d %H:%M:%S.%f}" if moments else labels[0]
        raise RetentionRefused(
            f"a restore of shard {shard} to {what} could not be planned any more: {problem.message}",
            hint="Nothing was deleted.",
        ) from problem

    def _problem(
        self, repository: Repository, shard: str, moments: Sequence[datetime], labels: Sequence[str]
    ) -> ToolError | None:
        try:
            self.plan_points(repository, shard, moments, labels, self.shorts)
        except ToolError as error:
            if error.retryable:
                raise
            return error
        return None


def check_archives(archives: Iterable[ShardArchivePlan], surveyed: Surveyed) -> None:
    """Raises ``RetentionRefused``."""
    for archive in archives:
        check_archive(archive, surveyed.leases)


def _binlog(key: str) -> tuple[str, BinlogFile] | None:
    name = layout.parse_segment(key) if key.startswith(layout.ARCHIVE) else None
    return (key.split("/")[1], name.binlog) if name else None
