"""Which archived binlogs of a shard may go, and for whom the others stay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from backup.prune_plan import ArchiveSeen, BinlogsGoing
from backup.prune_survey import Surveyed, keepers
from fleet.errors import RetentionRefused
from fleet.figures import moment
from fleet.gtid import GtidSet
from fleet.moments import microseconds
from fleet.policy import Retention
from repository.archive.archive import ShardArchive
from repository.archive.letting_go import FreeFile, free_files, line_without
from repository.archive.line import Line, Window
from repository.archive.reckoning import union
from repository.archive.window import Base, recoverable
from repository.layout import BackupName
from repository.leases import Lease
from repository.outlines import Outline
from repository.reach import Reach
from repository.repository import Repository
from repository.retention import window_start
from repository.windows import earlier, in_force, length_of, windows_of


class Anchor(NamedTuple):
    """A backup that has to lead to points, from ``since`` on."""

    outline: Outline
    since: datetime

    @property
    def base(self) -> Base:
        return base_of(self.outline)


class Promised(NamedTuple):
    """Where the recovery window begins. ``before``: where it does for binlogs, earlier until the grace time
    of a window that became smaller is over; ``spared``: no file goes with a commit since then.
    """

    start: datetime
    before: datetime
    spared: datetime


@dataclass(frozen=True)
class ShardArchivePlan:
    """A shard's line now, and as it will be; ``anchors``: the backups that must lead to points."""

    shard: str
    line: Line
    later: Line
    files: tuple[FreeFile, ...]
    anchors: Mapping[BackupName, Anchor]
    seen: ArchiveSeen

    def going(self) -> Iterator[BinlogsGoing]:
        for file in self.files:
            name = file.name
            yield BinlogsGoing(
                self.shard,
                name.epoch,
                name.server_uuid,
                name.file,
                file.first_at,
                file.last_at,
                file.segments,
                file.stored_bytes,
            )


def plan_archive(
    repository: Repository, shard: str, surveyed: Surveyed, reached: Reach, policy: Retention
) -> ShardArchivePlan | None:
    """None where nothing is archived. Raises what reading the line raises."""
    archive = ShardArchive(repository, shard)
    if not archive.epochs():
        return None
    promised = _promised(repository, shard, policy, surveyed.now)
    start, line = promised.start, Line.of(archive)
    whole = {name: each for name, each in surveyed.whole().items() if name.shard == shard}
    left = {name: each for name, each in whole.items() if name in reached.needed}
    anchors = find_anchors(line, surveyed, reached, left, promised)
    lows = {str(name): each.outline.low for name, each in anchors.items()}
    lows |= dict(_lease_lows(surveyed.leases, shard))
    edge = min((each.since for each in anchors.values()), default=start)
    files = free_files(line, list(lows.values()), promised.spared, edge) if anchors else ()
    later = line_without(line, {file.name for file in files})
    seen = ArchiveSeen(
        shard,
        within(recoverable(line, map(base_of, whole.values())), start),
        within(recoverable(later, map(base_of, left.values())), start),
        _kept_for(later, lows, promised),
    )
    return ShardArchivePlan(shard, line, later, files, anchors, seen)


def _promised(repository: Repository, shard: str, policy: Retention, now: datetime) -> Promised:
    start, grace = window_start(policy, now), timedelta(hours=policy.grace_hours)
    length = length_of(start, now)
    longest = in_force(windows_of(repository, shard), length, grace, now)
    before = earlier(now, longest) if longest > length else start
    return Promised(start, before, earlier(before, grace))


def find_anchors(
    line: Line, surveyed: Surveyed, reached: Reach, left: Mapping[BackupName, Outline], promised: Promised
) -> dict[BackupName, Anchor]:
    """Of the backups that stay those that have to lead to points: FORMAT.md, section 14, rule 9.

    Those of the window and the grace time before it, and the one that leads to the window's first points;
    those that somebody keeps; and those that are about to be ended, as long as that can be taken back. Others
    stay for their own sake alone.
    """
    kept = {*keepers(surveyed.holds, surveyed.leases, left), *reached.in_grace, *surveyed.untold}
    found = {
        name: Anchor(each, each.finished_at)
        for name, each in left.items()
        if each.finished_at >= promised.spared or name in kept
    }
    for edge in {promised.start, promised.before}:
        # No restore to a point takes one that has a mark; before the window that is who takes it back.
        ended = surveyed.marks.marks.keys() - (reached.in_grace if edge < promised.start else ())
        for each in _newest_first(each for each in left.values() if each.finished_at < edge):
            since = found[each.name].since if each.name in found else edge
            found[each.name] = Anchor(each, min(since, edge))
            # One that leads nowhere (it is of another line, or older than the archive) is not enough, nor is
            # one that is damaged.
            spared = each.name not in ended and each.name not in surveyed.harmed
            if spared and recoverable(line, [base_of(each)]):
                break
    return found


def _newest_first(backups: Iterable[Outline]) -> list[Outline]:
    return sorted(backups, key=lambda one: (one.finished_at, one.name), reverse=True)


def base_of(outline: Outline) -> Base:
    return Base(outline.low, outline.high)


def within(windows: Collection[Window], start: datetime) -> tuple[Window, ...]:
    """What of the windows lies in the promised one."""
    return tuple(
        Window(max(window.first_at, start), window.last_at) for window in windows if window.last_at >= start
    )


def check_archive(plan: ShardArchivePlan, leases: Collection[Lease]) -> None:
    """Raise ``RetentionRefused`` unless all that is promised of a shard is still there in the line to be."""
    if plan.seen.before != plan.seen.after:
        raise RetentionRefused(
            f"shard {plan.shard}: the recovery window would change from {_told(plan.seen.before)} to "
            f"{_told(plan.seen.after)}",
            hint="Nothing was deleted. Is a backup marked that leads to points of the window? "
            "`backstay expire --take-back` takes a mark back.",
        )
    for name, anchor in plan.anchors.items():
        now, later = (recoverable(line, [anchor.base]) for line in (plan.line, plan.later))
        if within(now, anchor.since) != within(later, anchor.since):
            raise RetentionRefused(
                f"shard {plan.shard}: from {name.label} the archive leads to {_told(now)}, and would lead to "
                f"{_told(later)}",
                hint="Nothing was deleted. What that backup leads to is promised.",
            )
    for told_by, have in _lease_lows(leases, plan.shard):
        if lost := plan.line.gtids - plan.later.gtids - have:
            raise RetentionRefused(
                f"shard {plan.shard}: {lost.count()} transactions are still needed by {told_by}",
                hint="Nothing was deleted; run again when its lease is over.",
            )


def _lease_lows(leases: Collection[Lease], shard: str) -> Iterator[tuple[str, GtidSet]]:
    for lease in leases:
        if lease.shard == shard and lease.gtids_from is not None:
            yield f"the {lease.kind} of {lease.told_by}", lease.gtids_from


def _kept_for(line: Line, lows: Mapping[str, GtidSet], promised: Promised) -> str | None:
    """For whom the first file stays, where it is not the window with its grace time alone."""
    first = [part for part in line.parts if part.file == line.parts[0].file]
    latest = max((part.last_at_us for part in first if part.last_at_us is not None), default=None)
    if latest is None or latest >= microseconds(promised.start):
        return None
    if latest >= microseconds(promised.spared):
        began = f"the window from {moment(promised.before)} on, which was promised before"
        return began if promised.before < promised.start else None
    wanted = union(part.wanted for part in first)
    return next((who for who, low in lows.items() if not wanted <= low), None)


def _told(windows: Collection[Window]) -> str:
    spans = [f"{moment(each.first_at)} ... {moment(each.last_at)}" for each in windows]
    return ", ".join(spans) or "nothing"
