"""The plan of a restore to a point: which backup, which part of the archive, how long. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleet.errors import NotFound, TargetUnreachable
from fleet.figures import duration, size
from fleet.gtid import GtidSet
from repository.archive.beyond import HeldBeyond
from repository.manifest import Manifest
from repository.shorts import ShortManifest
from restore.growing import NOTHING
from restore.plan import RestorePlan
from restore.point import Point, RecoveryTarget
from restore.replay_server import RELAY_LOG_BYTES
from restore.walk import Branch, WalkedLine
from restore.wording import moment_text, short

# What one machine with a few cores was seen to do; measured figures of earlier restores go before.
FETCH_BYTES_PER_SECOND = 100e6
REPLAY_TRANSACTIONS_PER_SECOND = 2000.0
REPLAY_BYTES_PER_SECOND = 4e6
_START_SECONDS = 10.0

GROWTH = 5
"""Bytes that a byte of binlog made of data files, indexes and undo, where rows went into three indexes in
random order: that is much, and most writes make less."""
_LEAST_BOUND_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backup that may be the base: it holds all of ``low``, and nothing outside of ``high``."""

    label: str
    low: GtidSet
    high: GtidSet
    donor_uuid: str
    finished_at: datetime

    @classmethod
    def of(cls, manifest: Manifest | ShortManifest) -> Candidate:
        """What matters of a manifest."""
        return cls(
            label=manifest.label,
            low=GtidSet.parse(manifest.gtid.low),
            high=GtidSet.parse(manifest.gtid.high),
            donor_uuid=manifest.donor.server_uuid,
            finished_at=manifest.timings.finished_at,
        )


@dataclass(frozen=True, slots=True)
class Life:
    """A server that a restore brought to life: from ``inherited`` on, ``skipped`` are empty on it."""

    server_uuid: str
    inherited: GtidSet
    skipped: GtidSet


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of the archive that a replay reads. ``stored_bytes`` come from the store, ``log_bytes`` are
    the binlog in them.
    """

    files: tuple[str, ...] = ()
    segments: int = 0
    stored_bytes: int = 0
    log_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a restore is expected to take, and what was promised."""

    fetch_seconds: float
    replay_seconds: float
    promised_seconds: float

    @property
    def seconds(self) -> float:
        return self.fetch_seconds + self.replay_seconds + _START_SECONDS

    @property
    def keeps_the_promise(self) -> bool:
        return self.seconds <= self.promised_seconds


@dataclass(frozen=True)
class PointPlan:
    """One restore to a point. ``transactions`` are replayed at most; how many exactly the base will tell.

    ``base`` is the plan of restoring the backup; ``replaying`` says that an earlier run had begun the replay.
    ``branches``: transactions that were committed before the point, and that the line never had.
    ``beyond``: a newer backup with transactions that the archive, to whose end this goes, has not reached.
    """

    target: RecoveryTarget
    point: Point
    base: RestorePlan
    epoch: int
    stretch: Stretch
    transactions: int
    estimate: Estimate
    replaying: bool = False
    branches: tuple[Branch, ...] = ()
    beyond: HeldBeyond | None = None

    @property
    def shard(self) -> str:
        return self.base.manifest.shard

    @property
    def label(self) -> str:
        """The backup that it begins with."""
        return self.base.manifest.label

    @property
    def directory(self) -> Path:
        return self.base.directory

    @property
    def replay_bytes(self) -> int:
        """What the replay may add on the disk: binlogs that wait to be applied, and what these make of the
        data, which is not taken to more than double.
        """
        grown = min(GROWTH * self.stretch.log_bytes, max(self.base.total_bytes, _LEAST_BOUND_BYTES))
        return min(self.stretch.log_bytes, RELAY_LOG_BYTES) + grown if self.transactions else 0

    def steps(self) -> tuple[str, ...]:
        """The plan as sentences, in the order of doing."""
        *fetching, _compare = self.base.steps()
        stretch = self.stretch
        told = [*fetching]
        if self.transactions:
            told.append(
                f"replay at most {_count(self.transactions, 'transaction')} of epoch {self.epoch} on it: "
                f"{size(stretch.log_bytes)} of binlog in {_count(stretch.segments, 'segment')}, "
                f"{size(stretch.stored_bytes)} from the store; that may add {size(self.replay_bytes)}"
            )
        if self.point.stop is not None:
            at = moment_text(self.point.stop.committed_at_us)
            told.append(f"stop before {self.point.stop.gtid} of {at}")
        else:
            told.append("go on to the end of the archive")
        if self.point.skipped:
            told.append(f"put empty transactions in place of {short(self.point.skipped)}")
        told += (self._branch_step(branch) for branch in self.branches)
        told.append(f"prove that it has executed exactly {short(self.point.gtids)}")
        told.append(self._time_step())
        return tuple(told)

    def _branch_step(self, branch: Branch) -> str:
        count = branch.gtids.count()
        were = "was" if count == 1 else "were"
        before = self.target.at is not None or self.point.stop is not None
        when = "before the point" if before else "after that backup began"
        return (
            f"go without {_count(count, 'transaction')} that {were} committed {when}, on a branch that epoch "
            f"{branch.epoch} left behind: {short(branch.gtids)}; `backstay archive branches {self.shard}` "
            f"lists {'it' if count == 1 else 'them'}"
        )

    def _time_step(self) -> str:
        estimate = self.estimate
        promise = f"{duration(estimate.promised_seconds)} are promised"
        verdict = "" if estimate.keeps_the_promise else ": LONGER THAN PROMISED"
        return f"take about {duration(estimate.seconds)}, where {promise}{verdict}"


def choose_base(
    candidates: Sequence[Candidate], line: WalkedLine, point: Point, lives: Sequence[Life] = ()
) -> Candidate:
    """The newest backup from which the archive leads to ``point``.

    Raises ``TargetUnreachable`` with the reason, and with what would work instead; ``NotFound`` without any
    backup.
    """
    if not candidates:
        raise NotFound(f"there is no backup of shard {line.shard}", hint="Take one: backstay backup full.")
    newest_first = sorted(candidates, key=lambda each: each.label, reverse=True)
    within = [each for each in newest_first if each.high <= point.gtids]
    if not within:
        raise _too_early(newest_first, line, point)
    clean = [each for each in within if not _holds_what_is_skipped(each, point, lives)]
    if not clean:
        held = short(point.skipped & within[-1].high)
        raise TargetUnreachable(
            f"every backup up to the point holds {held} already, which is to be skipped",
            hint=f"The oldest of them is {within[-1].label}; only an older one would do.",
        )
    lacking = [(each, _unarchived(each, line, point)) for each in clean]
    for each, missing in lacking:
        if not missing:
            return each
    raise _behind_a_gap(lacking[0], newest_first, line)


def check_covered(exact: GtidSet, line: WalkedLine, point: Point) -> GtidSet:
    """What a server that has executed ``exact`` still lacks to ``point``, all of it archived or skipped.

    Raises ``TargetUnreachable``.
    """
    needed = point.gtids - exact
    if missing := needed - line.gtids - point.skipped:
        raise TargetUnreachable(
            f"the backup lacks {short(missing)}, which is missing in the archive",
            hint="Restore a newer backup, or to a point before that gap.",
        )
    return needed


def estimate(
    fetch_bytes: int, transactions: int, log_bytes: int, *, promised_seconds: float, goes_on: bool = False
) -> Estimate:
    """How long it will take, by figures that a small machine was seen to keep."""
    replay = max(transactions / REPLAY_TRANSACTIONS_PER_SECOND, log_bytes / REPLAY_BYTES_PER_SECOND)
    fetch = 0.0 if goes_on else fetch_bytes / FETCH_BYTES_PER_SECOND
    return Estimate(fetch, replay if transactions else 0.0, promised_seconds)


def _holds_what_is_skipped(candidate: Candidate, point: Point, lives: Iterable[Life]) -> bool:
    held = point.skipped & candidate.high
    for life in lives:
        # A copy of a server that a restore made has the numbers, and not what was behind them.
        if candidate.donor_uuid == life.server_uuid or not candidate.low <= life.inherited:
            held = held - life.skipped
    return bool(held)


def _unarchived(candidate: Candidate, line: WalkedLine, point: Point) -> GtidSet:
    """What lies between the backup and the point, and is not in the archive."""
    return point.gtids - candidate.low - line.gtids - point.skipped


def _too_early(newest_first: Sequence[Candidate], line: WalkedLine, point: Point) -> TargetUnreachable:
    for branch in line.branches:
        if all(each.high & branch.gtids for each in newest_first):
            return TargetUnreachable(
                f"every backup of shard {line.shard} holds transactions of a branch, archived in epoch "
                f"{branch.epoch}",
                hint="Take a new backup; points from then on can be reached.",
            )
    oldest = newest_first[-1]
    beyond = oldest.high - point.gtids
    place = f"after {point.last.gtid}" if point.last else "at its beginning"
    return TargetUnreachable(
        f"the point {place} is before the first backup of shard {line.shard}: {oldest.label} may hold "
        f"{short(beyond)} already",
        hint=f"The first point that can be reached is --to-gtids '{oldest.high.one_line()}'; that backup was "
        f"finished on {oldest.finished_at:%Y-%m-%d %H:%M:%S} UTC.",
    )


def _behind_a_gap(
    nearest: tuple[Candidate, GtidSet], newest_first: Sequence[Candidate], line: WalkedLine
) -> TargetUnreachable:
    candidate, missing = nearest
    lost = NOTHING
    for hole in line.holes:
        lost = lost | (hole.missing & missing)
    where = "a gap" if lost else "the beginning of the archive"
    behind = [each for each in reversed(newest_first) if missing <= each.low]
    hint = (
        f"Backup {behind[0].label} is behind it: points from --to-gtids '{behind[0].high.one_line()}' on can "
        "be reached."
        if behind
        else "Points before it can be reached; a backup taken now closes it for what follows."
    )
    return TargetUnreachable(
        f"{where} lies between backup {candidate.label} and the point: {short(missing)} are missing in it",
        hint=hint,
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
