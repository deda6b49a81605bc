"""The point to restore to: what an operator names, and what it means on the line of a shard. Pure.

A point is a place in the order of the binlog, between two transactions. So a time means: stop before the
first transaction *in binlog order* that was committed later, whatever the clock did afterwards; and the
transactions around the place are shown, for only people can tell whether it is the one that was meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from fleet.errors import TargetUnreachable, UsageError
from fleet.gtid import GtidSet
from fleet.moments import from_microseconds, microseconds, rfc3339
from fleet.transaction import Gtid, Transaction
from restore.growing import NOTHING, Members
from restore.walk import Block, Walk, WalkedLine
from restore.wording import moment_text, short

_FIND = "`backstay find` lists the transactions of the archive."


class TargetKind(StrEnum):
    """How the point is named."""

    LATEST = "latest"
    TIME = "time"
    BEFORE = "before-gtid"
    GTIDS = "to-gtids"


@dataclass(frozen=True, slots=True)
class RecoveryTarget:
    """What the operator asks for; one of the class methods makes it.

    ``skip`` are transactions that are left out: empty ones take their numbers. ``or_end``: a time after the
    last archived transaction means the end of the archive instead of being refused.
    """

    kind: TargetKind
    at: datetime | None = None
    gtid: Gtid | None = None
    gtids: GtidSet = NOTHING
    skip: GtidSet = NOTHING
    or_end: bool = False

    @classmethod
    def latest(cls, *, skip: GtidSet | None = None) -> RecoveryTarget:
        """The end of the archive."""
        return cls(TargetKind.LATEST, skip=skip or NOTHING)

    @classmethod
    def at_time(cls, at: datetime, *, skip: GtidSet | None = None, or_end: bool = False) -> RecoveryTarget:
        """What was committed up to ``at``. Raises UsageError for a naive time."""
        if at.utcoffset() is None:
            raise UsageError(
                f"{at.isoformat()} does not say in which time zone",
                hint=f"Write {at.isoformat()}Z if it is UTC, or its offset: {at.isoformat()}+02:00.",
            )
        return cls(TargetKind.TIME, at=at.astimezone(UTC), skip=skip or NOTHING, or_end=or_end)

    @classmethod
    def before(cls, gtid: Gtid, *, skip: GtidSet | None = None) -> RecoveryTarget:
        """All that stands in the binlog before ``gtid``."""
        return cls(TargetKind.BEFORE, gtid=gtid, skip=skip or NOTHING)

    @classmethod
    def exactly(cls, gtids: GtidSet, *, skip: GtidSet | None = None) -> RecoveryTarget:
        """The moment at which the source had executed exactly ``gtids``."""
        return cls(TargetKind.GTIDS, gtids=gtids, skip=skip or NOTHING)

    def __str__(self) -> str:
        if self.at is not None:
            text = f"{self.at:%Y-%m-%d %H:%M:%S.%f} UTC"
        elif self.gtid is not None:
            text = f"just before {self.gtid}"
        elif self.kind is TargetKind.GTIDS:
            text = f"exactly {short(self.gtids)}"
        else:
            text = "the end of the archive"
        return f"{text}, without {short(self.skip)}" if self.skip else text


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the line.

    ``gtids`` is the planned set: exactly what the restored server will have executed. ``stop`` is the first
    transaction that is left out, None at the end of the archive; ``before`` are the last ones that are in,
    ``after`` those that follow ``stop``. ``skipped`` are in ``gtids`` as empty transactions:
    ``skipped_transactions`` are those of them that are left out now, the others were by an earlier restore.
    """

    gtids: GtidSet
    stop: Transaction | None
    before: tuple[Transaction, ...]
    after: tuple[Transaction, ...]
    skipped: GtidSet = NOTHING
    skipped_transactions: tuple[Transaction, ...] = ()

    @property
    def stop_before(self) -> Gtid | None:
        """The transaction to stop before; None: go to the end."""
        return self.stop.gtid if self.stop else None

    @property
    def last(self) -> Transaction | None:
        """The last transaction that is in, None when that is not in the archive."""
        return self.before[-1] if self.before else None

    @property
    def reached_at(self) -> datetime | None:
        """When ``last`` was committed."""
        return from_microseconds(self.last.committed_at_us) if self.last else None

    @property
    def neighbours(self) -> tuple[Transaction, ...]:
        """The transactions around the place, in order, ``stop`` among them."""
        return (*self.before, *([self.stop] if self.stop else ()), *self.after)


def resolve(line: WalkedLine, target: RecoveryTarget) -> Point:
    """The place in ``line`` that ``target`` names.

    Raises ``TargetUnreachable``, which names what would work instead.
    """
    _check_named(line, target)
    walk = Walk(line, _Limit(target), target.skip)
    walk.run()
    if _has_passed(walk, target):
        # What the source had executed before that transaction, whether it was archived or not.
        walk.executed.add_set(walk.hole)
    gtids = walk.executed.frozen()
    point = Point(
        gtids=gtids,
        stop=walk.stop,
        before=walk.before(),
        after=walk.after(),
        skipped=(target.skip | walk.replaced) & gtids,
        skipped_transactions=tuple(walk.skipped),
    )
    _CHECKS[target.kind](line, target, walk, point)
    _check_skipped(target, point)
    return point


class _Limit:
    """What is beyond a target."""

    def __init__(self, target: RecoveryTarget) -> None:
        self._target = target
        self._wanted = Members(target.gtids)
        self._latest_us = microseconds(target.at) if target.at is not None else None

    def may_end_in(self, block: Block, hole: GtidSet) -> bool:
        target = self._target
        if self._latest_us is not None:
            return block.last_at_us > self._latest_us
        if target.kind is TargetKind.GTIDS:
            return not (block.gtids | hole) <= target.gtids
        return target.gtid is not None and target.gtid in Members(block.gtids)

    def is_beyond(self, transaction: Transaction, hole: GtidSet) -> bool:
        if self._latest_us is not None:
            return transaction.committed_at_us > self._latest_us
        if self._target.kind is TargetKind.GTIDS:
            return transaction.gtid not in self._wanted or not hole <= self._target.gtids
        return transaction.gtid == self._target.gtid


def _has_passed(walk: Walk, target: RecoveryTarget) -> bool:
    """Whether what is missing before the place belongs to it."""
    if target.kind is TargetKind.BEFORE:
        return walk.stop is not None
    return target.kind is TargetKind.GTIDS and walk.hole <= target.gtids


def _check_named(line: WalkedLine, target: RecoveryTarget) -> None:
    """Refuse what can be told from the sets alone, before the line is read."""
    named = [(target.gtid.as_set(), "stop before")] if target.gtid else []
    for gtids, purpose in [*named, (target.skip, "skip")]:
        _check_archived(line, gtids, purpose)
    if target.kind is TargetKind.GTIDS:
        beyond = target.gtids - line.gtids - line.first_gtids
        holes = _union(hole.missing for hole in line.holes)
        _check_archived(line, beyond - holes, "restore to")


def _check_archived(line: WalkedLine, gtids: GtidSet, purpose: str) -> None:
    if not gtids - line.gtids:
        return
    unknown = gtids - line.gtids
    for branch in line.branches:
        if strays := unknown & branch.gtids:
            raise TargetUnreachable(
                f"cannot {purpose} {short(strays)}: it is on a branch, archived in epoch {branch.epoch} of "
                f"shard {line.shard}, and the line that went on never had it",
                hint=f"No restore brings it back. `backstay show {line.shard} {_one_of(strays)}` prints what "
                f"it did, `backstay archive export {line.shard}` the whole branch as SQL.",
            )
    for hole in line.holes:
        if lost := unknown & hole.missing:
            raise TargetUnreachable(
                f"cannot {purpose} {short(lost)}: {short(hole.missing)} are missing in the archive",
                hint=f"Points before and behind that gap are named by the transactions beside it. {_FIND}",
            )
    if early := unknown & line.first_gtids:
        raise TargetUnreachable(
            f"cannot {purpose} {short(early)}: the archive of shard {line.shard} begins after it, "
            f"on {moment_text(line.began_at_us)}",
            hint="Backups from before the archive can be restored alone: name one with --backup.",
        )
    raise TargetUnreachable(
        f"cannot {purpose} {short(unknown)}: it is not in the archive of shard {line.shard}",
        hint=f"If it was committed after the archive's end, --latest comes nearest. {_FIND}",
    )


def _check_latest(_line: WalkedLine, _target: RecoveryTarget, _walk: Walk, _point: Point) -> None:
    """The end is always there."""


def _check_time(line: WalkedLine, target: RecoveryTarget, walk: Walk, point: Point) -> None:
    assert target.at is not None
    if point.last is None and microseconds(target.at) < line.began_at_us:
        raise TargetUnreachable(
            f"{target} is before the archive of shard {line.shard}, which begins on "
            f"{moment_text(line.began_at_us)}",
            hint="Backups from before the archive can be restored alone: name one with --backup.",
        )
    if walk.hole and walk.stop is not None:
        earlier = f"--to {rfc3339(point.last.committed_at_us)}" if point.last else "nothing before it"
        raise TargetUnreachable(
            f"{target} lies inside a gap: {short(walk.hole)} are missing in the archive, and nobody knows "
            "which of them were committed by then",
            hint=f"The nearest points are {earlier} and --before-gtid {walk.stop.gtid}.",
        )
    if point.stop is None and not target.or_end:
        end = (
            f"with {point.last.gtid} of {moment_text(point.last.committed_at_us)}" if point.last else "empty"
        )
        raise TargetUnreachable(
            f"{target} is after the end of the archive of shard {line.shard}, which ends {end}",
            hint="--latest restores up to there.",
        )


def _check_before(line: WalkedLine, target: RecoveryTarget, _walk: Walk, point: Point) -> None:
    if point.stop is None:
        raise TargetUnreachable(
            f"{target.gtid} is not in the index of the archive of shard {line.shard}",
            hint=f"Its end may not have been archived yet. {_FIND}",
        )


def _check_gtids(line: WalkedLine, target: RecoveryTarget, walk: Walk, point: Point) -> None:
    if (walk.hole & target.gtids) and not walk.hole <= target.gtids:
        raise TargetUnreachable(
            f"cannot restore to a part of the gap {short(walk.hole)}: it is missing in the archive",
            hint=f"Leave all of it out, or take all of it and {walk.stop.gtid} in."
            if walk.stop
            else "The points before it can be reached.",
        )
    if lacking := point.gtids - target.gtids:
        raise TargetUnreachable(
            f"the set lacks {short(lacking)}, which shard {line.shard} had executed before the rest of it",
            hint=f"Name the whole set, as gtid_executed shows it: {short(point.gtids)}.",
        )
    if (surplus := target.gtids - point.gtids) and point.stop is not None:
        raise TargetUnreachable(
            f"shard {line.shard} was never in that state: the set has {short(surplus)}, and lacks "
            f"{point.stop.gtid}, which was committed before",
            hint=f"Restore to more, and leave it out with --skip-gtid {point.stop.gtid}; or to less, with "
            f"--before-gtid {point.stop.gtid}.",
        )


_CHECKS = {
    TargetKind.LATEST: _check_latest,
    TargetKind.TIME: _check_time,
    TargetKind.BEFORE: _check_before,
    TargetKind.GTIDS: _check_gtids,
}


def _check_skipped(target: RecoveryTarget, point: Point) -> None:
    if later := target.skip - point.gtids:
        raise TargetUnreachable(
            f"cannot skip {short(later)}: it comes after the point, {target}",
            hint="Leave that --skip-gtid out, or restore to a later point.",
        )


def _one_of(gtids: GtidSet) -> Gtid:
    origin = gtids.origins[0]
    return Gtid(origin.uuid, origin.tag, origin.intervals[0].first)


def _union(sets: Iterator[GtidSet]) -> GtidSet:
    whole = GtidSet()
    for gtids in sets:
        whole = whole | gtids
    return whole
