"""How much a shard's backups and archive will take: a model of taking, keeping and letting go. Pure.

A *line* is a full that stores all pages and what is built on it, up to the next such full. Days are counted
from now on: what was taken is at or before day 0. Pages change evenly: in twice the time, twice as many.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import lru_cache
from itertools import accumulate
from math import inf
from typing import Literal, NamedTuple

from repository.kept_alone import NO_RULES, NOTHING, KeptAlone, KeptFulls, Rules, repeated

Kind = Literal["stored", "referring", "incremental"]

LONGEST_DAYS = 400
"""What has not come to an end by then has no plateau that anybody could plan with."""

_MOMENT = 1e-6
"""What is let go in the very moment in which a backup ends lies beside it for a moment."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a shard brings, in stored bytes. ``change_a_day`` and ``growth_a_day`` are parts of a full."""

    full_bytes: float
    change_a_day: float
    archive_bytes_a_day: float
    growth_a_day: float = 0.0


@dataclass(frozen=True, slots=True)
class Keeping:
    """Which fulls store all pages, and how long backups are kept; ``grace_days`` pass before they go.

    ``beyond``: which fulls are kept for themselves.
    """

    full: Literal["stored", "referring"]
    rebase_every: int
    max_chain: int
    days: float
    minimum_fulls: int
    grace_days: float
    beyond: Rules = NO_RULES


class Slot(NamedTuple):
    """A moment at which the schedule takes a backup."""

    day: float
    full: bool


class Taken(NamedTuple):
    """A backup, and what it stores by itself."""

    day: float
    kind: Kind
    stored_bytes: float


@dataclass(frozen=True, slots=True)
class Past:
    """What is there: backups, oldest first, and the archive, whose first binlog is of ``archive_from``."""

    taken: tuple[Taken, ...] = ()
    archive_bytes: float = 0.0
    archive_from: float = 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What is kept on one day, in bytes.

    ``total_bytes``, their sum, holds as long as a line is kept whole. ``least_bytes`` is what would be
    left if every page that a newer one has replaced were freed at once.
    """

    day: float
    fulls_bytes: float = 0.0
    incrementals_bytes: float = 0.0
    archive_bytes: float = 0.0
    total_bytes: float = 0.0
    least_bytes: float = 0.0


def sum_usage(usages: Iterable[Usage]) -> Usage:
    """All of them together, on the latest of their days."""
    parts = list(usages)
    names = [field.name for field in fields(Usage) if field.name != "day"]
    sums = {name: sum(getattr(each, name) for each in parts) for name in names}
    return Usage(day=max((each.day for each in parts), default=0.0), **sums)


def take_all(load: Load, keeping: Keeping, slots: Sequence[Slot], past: Sequence[Taken] = ()) -> list[Taken]:
    """What the schedule adds to ``past``: the first stores all pages, a chain too long becomes a full."""
    taken = list(past)
    links = referring = 0
    for each in taken:
        links = links + 1 if each.kind == "incremental" else 0
        referring = referring + 1 if each.kind == "referring" else 0 if each.kind == "stored" else referring
    for slot in slots:
        full_bytes = load.full_bytes * (1 + load.growth_a_day * max(slot.day, 0.0))
        kind: Kind = "incremental"
        if not taken:
            kind = "stored"
        elif slot.full or links >= keeping.max_chain:
            refers = keeping.full == "referring" and referring + 1 < keeping.rebase_every
            kind = "referring" if refers else "stored"
        links = links + 1 if kind == "incremental" else 0
        referring = 0 if kind == "stored" else referring + (kind == "referring")
        changed = full_bytes
        if kind != "stored":
            changed = full_bytes * min(1.0, load.change_a_day * (slot.day - taken[-1].day))
        taken.append(Taken(slot.day, kind, changed))
    return taken


def usage_over(
    taken: Sequence[Taken], load: Load, keeping: Keeping, days: Iterable[float], past: Past | None = None
) -> Iterator[Usage]:
    """What is kept on each of ``days``, which rise, once expire and prune run every day."""
    past = past or Past()
    lines, alone = _Lines(taken, keeping), _kept_fulls(taken, keeping)
    for day in days:
        first, last = lines.held(day)
        kept = alone.on(day, first)
        fulls = lines.fulls_bytes[last] - lines.fulls_bytes[first]
        whole = lines.all_bytes[last] - lines.all_bytes[first]
        least, needed_from = lines.least(day, last)
        archive = _archive(past, load, needed_from, day)
        yield _with_kept(
            Usage(day, fulls, whole - fulls, archive, whole + archive, min(least, whole) + archive), kept
        )


def _with_kept(usage: Usage, kept: KeptAlone) -> Usage:
    return replace(
        usage,
        fulls_bytes=usage.fulls_bytes + kept.most_bytes,
        total_bytes=usage.total_bytes + kept.most_bytes,
        least_bytes=usage.least_bytes + kept.least_bytes,
    )


def _kept_fulls(taken: Sequence[Taken], keeping: Keeping) -> KeptFulls:
    return KeptFulls(taken, keeping.beyond, days=keeping.days, grace_days=keeping.grace_days)


@lru_cache(maxsize=1024)
def plateau(load: Load, keeping: Keeping, slots: tuple[Slot, ...]) -> Usage | None:
    """The most that is ever kept, at today's size, and after how many days from an empty repository.

    ``slots`` go on for LONGEST_DAYS. None if the lines are so long that by then none has gone and been
    followed by another.
    """
    load = replace(load, growth_a_day=0.0)
    beyond = kept_alone(load, keeping, slots)
    keeping = replace(keeping, beyond=NO_RULES)
    taken = take_all(load, keeping, slots)
    ends = _Lines(taken, keeping).ends
    if len(ends) < 2 or ends[1] > LONGEST_DAYS:
        return None
    usages = list(usage_over(taken, load, keeping, [each.day for each in taken]))
    most = max(each.total_bytes for each in usages)
    # The first of those that differ by what floats lose alone.
    return _with_kept(next(each for each in usages if each.total_bytes >= most * (1 - 1e-9)), beyond)


@lru_cache(maxsize=1024)
def kept_alone(load: Load, keeping: Keeping, slots: tuple[Slot, ...]) -> KeptAlone:
    """What fulls of days, weeks and months add, once there are as many as there will be: the most of a month.

    ``slots`` are those of some weeks at least; they go on as they are.
    """
    fulls = sum(slot.full for slot in slots)
    if not slots or not any(keeping.beyond.counts):
        return NOTHING
    days = keeping.beyond.reach(keeping.days + keeping.grace_days, slots[-1].day / max(1, fulls))
    keeping = replace(keeping, beyond=replace(keeping.beyond, today=keeping.beyond.today - timedelta(days)))
    taken = take_all(replace(load, growth_a_day=0.0), keeping, list(repeated(slots, days)))
    lines, alone = _Lines(taken, keeping), _kept_fulls(taken, keeping)
    found = [alone.on(float(day), lines.held(float(day))[0]) for day in range(days - 31, days + 1)]
    return max(found, key=lambda each: (each.most_bytes, each.fulls))


def _archive(past: Past, load: Load, needed_from: float | None, day: float) -> float:
    """Binlogs are kept from the oldest full on that a kept backup needs; the old ones lie evenly."""
    start = past.archive_from if needed_from is None else max(needed_from, past.archive_from)
    span = -past.archive_from
    old = past.archive_bytes * (min(1.0, max(0.0, -start) / span) if span > 0 else 1.0)
    return old + load.archive_bytes_a_day * max(0.0, day - max(0.0, start))


class _Lines:
    """Backups in order, looked at on days that rise. Sums are of the first n backups."""

    def __init__(self, taken: Sequence[Taken], keeping: Keeping) -> None:
        self._taken, self._keeping = taken, keeping
        self.all_bytes = [0.0, *accumulate(each.stored_bytes for each in taken)]
        full = (0.0 if each.kind == "incremental" else each.stored_bytes for each in taken)
        self.fulls_bytes = [0.0, *accumulate(full)]
        self._fulls = [i for i, each in enumerate(taken) if each.kind != "incremental"]
        self._starts = [i for i, each in enumerate(taken) if each.kind == "stored"] or [0]
        if self._starts[0] != 0:
            self._starts.insert(0, 0)
        self.ends = [self._end(after) for after in self._starts[1:]]
        self._oldest = self._there = self._outside = 0

    def _end(self, after: int) -> float:
        """When the line goes that ends where ``after`` begins.

        Its last backup leads to the first points of the window until the next one is as old.
        """
        keeping = self._keeping
        end = self._taken[after].day + keeping.days + keeping.grace_days
        newer = bisect_left(self._fulls, after) + keeping.minimum_fulls - 1
        return max(end, self._taken[self._fulls[newer]].day) if newer < len(self._fulls) else inf

    def held(self, day: float) -> tuple[int, int]:
        """The first backup of the oldest line that is kept on ``day``, and how many were taken by then."""
        while self._oldest < len(self.ends) and self.ends[self._oldest] < day - _MOMENT:
            self._oldest += 1
        while self._there < len(self._taken) and self._taken[self._there].day <= day:
            self._there += 1
        return min(self._starts[self._oldest], self._there), self._there

    def least(self, day: float, last: int) -> tuple[float, float | None]:
        """Bytes without a page that a newer one replaced, and the day from which binlogs are needed."""
        if not last:
            return 0.0, None
        bound = day - self._keeping.days - self._keeping.grace_days - _MOMENT
        while self._outside + 1 < last and self._taken[self._outside + 1].day <= bound:
            self._outside += 1
        newest = max(0, bisect_left(self._fulls, last) - self._keeping.minimum_fulls)
        oldest = min(self._outside, self._fulls[newest]) if self._fulls else self._outside
        full = self._fulls[max(0, bisect_right(self._fulls, oldest) - 1)] if self._fulls else 0
        start = self._starts[max(0, bisect_right(self._starts, full) - 1)]
        image = self._taken[start].stored_bytes
        return image + self.all_bytes[last] - self.all_bytes[full + 1], self._taken[full].day
