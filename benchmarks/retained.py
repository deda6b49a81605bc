"""What the days of ``retention`` left: values, tables, the aim. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import NamedTuple

from benchmarks.steady import AT_BACKUP, BETWEEN, LATEST, Moment
from benchmarks.story import Aim, Sheet, megabytes, ratio, shown

STORED, REFERRING = "stored", "referring"
INCREMENTALS = 4
HOLDS_AT_MOST = 1.6


@dataclass(frozen=True)
class Taken:
    """A backup; what it stored, and when it ended."""

    at: datetime
    label: str
    kind: str
    stored_bytes: int
    seconds: float
    became_full_because: str | None = None


@dataclass(frozen=True)
class DayEnd:
    """A repository after a day's ``expire`` and ``prune``.

    ``since`` is where the window began, ``held``: bytes of all its objects, ``archive`` of those the
    binlogs. ``expired``: backups that were marked, ``deleted``: objects that went. ``points``: how many
    moments were planned.
    """

    day: int
    at: datetime
    since: datetime
    held: int
    archive: int
    backups: int
    expired: int
    deleted: int
    points: int
    expire_seconds: float
    prune_seconds: float
    unplannable: tuple[str, ...] = ()

    @property
    def backup_bytes(self) -> int:
        """All but the binlogs."""
        return self.held - self.archive


def moments_since(moments: Sequence[Moment], since: datetime) -> list[Moment]:
    """Those that the window promises."""
    return [moment for moment in moments if moment.at >= since]


class Asked(NamedTuple):
    """A restore: from which repository, and to what (``latest``, a time, or a GTID set)."""

    side: str
    moment: Moment
    to: str


def to_restore(moments: Sequence[Moment], count: int) -> list[Asked]:
    """``count`` restores, or as many as there are moments with checksums: both repositories to the latest,
    and else to moments at a backup and between two in equal parts, spread over all days, by turns from both
    repositories and by time and GTID set.
    """
    latest = [moment for moment in moments if moment.kind == LATEST]
    each = (count - 2 * len(latest)) // 2
    chosen = [
        moment
        for kind in (AT_BACKUP, BETWEEN)
        for moment in _spread([one for one in moments if one.kind == kind], each)
    ]
    asked = [
        Asked(
            (STORED, REFERRING)[number % 2], moment, moment.at.isoformat() if number % 4 < 2 else moment.gtids
        )
        for number, moment in enumerate(chosen)
    ]
    return asked + [Asked(side, moment, "latest") for moment in latest for side in (STORED, REFERRING)]


def _spread(moments: Sequence[Moment], count: int) -> list[Moment]:
    """``count`` of them, the first and the last among these, as even as they come."""
    if len(moments) <= count or count < 2:
        return list(moments[:count])
    return [moments[round(number * (len(moments) - 1) / (count - 1))] for number in range(count)]


def restored_note(asked: Sequence[Asked]) -> str:
    """How many of which kind were restored."""
    kinds = Counter(each.moment.kind for each in asked)
    days = sorted({each.moment.day for each in asked})
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{len(asked)} restores compared by checksum ({told}) to {len(days)} of the window's days"


def next_day_seconds(planned: float, lived: Sequence[float]) -> float:
    """How long a day is to be, by those that were lived: one that was held up once changes nothing."""
    return max(planned, median(lived)) if lived else planned


def day_sheet(ends: Mapping[str, Sequence[DayEnd]]) -> Sheet:
    """Both repositories at each day's end, binlogs apart."""
    rows = tuple(
        (
            f"day {stored.day}", megabytes(stored.backup_bytes), megabytes(referring.backup_bytes),
            shown(ratio(referring.backup_bytes, stored.backup_bytes), 2), megabytes(referring.archive),
            f"{stored.backups} / {referring.backups}", f"{stored.expired} / {referring.expired}",
            f"{stored.deleted} / {referring.deleted}", f"{stored.points} / {referring.points}",
            shown(max(stored.expire_seconds, referring.expire_seconds)),
            shown(max(stored.prune_seconds, referring.prune_seconds)),
        )
        for stored, referring in zip(ends[STORED], ends[REFERRING], strict=False)
    )  # fmt: skip
    columns = (
        "", "stored MB", "refer. MB", "ratio", "binlogs", "backups", "marked", "deleted", "planned",
        "expire s", "prune s",
    )  # fmt: skip
    return Sheet("held at the end of the day, after expire and prune", columns, rows)


def allowed(taken: Sequence[Taken], end: DayEnd) -> int | None:
    """One full and what changed in the window that ends with the day, as the repository of stored fulls
    stored both: its newest full, and the window's incrementals, which see four fifths of a day; what changes
    before the next full is in that alone. None before there is a full.
    """
    here = [each for each in taken if each.at <= end.at]
    fulls = [each for each in here if each.kind == "full"]
    if not fulls:
        return None
    changes = (each.stored_bytes for each in here if each.kind != "full" and each.at >= end.since)
    return fulls[-1].stored_bytes + round(sum(changes) * (INCREMENTALS + 1) / INCREMENTALS)


def aims(
    ends: Mapping[str, Sequence[DayEnd]], taken: Mapping[str, Sequence[Taken]], window: int
) -> Iterator[Aim]:
    """When the window is full, and in the end: fulls that refer beside one full and the window's changes."""
    for end in _shown(ends[REFERRING], window):
        value = ratio(end.backup_bytes, allowed(taken[STORED], end))
        yield Aim(
            f"day {end.day}, fulls that refer, to one full and the window's changes", value, HOLDS_AT_MOST
        )
    if not ends[REFERRING]:
        yield Aim("fulls that refer, to one full and the window's changes", None, HOLDS_AT_MOST)


def _shown(ends: Sequence[DayEnd], window: int) -> list[DayEnd]:
    """The day on which the window is full, and the last one."""
    days = dict.fromkeys((window, len(ends)))
    return [end for end in ends if end.day in days]


def notes(
    ends: Mapping[str, Sequence[DayEnd]], taken: Mapping[str, Sequence[Taken]], window: int
) -> Iterator[str]:
    """What went, what a backup took, and what was asked to store less than a full, and did not."""
    for name, days in ends.items():
        if not days:
            continue
        last = days[-1]
        yield (
            f"{name}: {megabytes(last.backup_bytes)} MB at the end, {megabytes(last.archive)} of binlogs; "
            f"{sum(end.expired for end in days)} backups marked, "
            f"{sum(end.deleted for end in days)} objects deleted"
        )
        plans, failed = sum(end.points for end in days), sum(len(end.unplannable) for end in days)
        yield f"{name}: {plans} plans to moments that were promised, {failed} failed"
        for kind in ("full", "incremental"):
            each = [one for one in taken[name] if one.kind == kind][1:]
            if each:
                mean = sum(one.stored_bytes for one in each) / len(each)
                seconds = sum(one.seconds for one in each) / len(each)
                yield f"{name}, {kind}: {len(each)} of {megabytes(mean)} MB and {seconds:.1f} s in the mean"
        reasons = Counter(one.became_full_because for one in taken[name] if one.became_full_because)
        for reason, count in reasons.items():
            yield f"{name}: {count} became a stored full, because {reason}"
    for end in _shown(ends[STORED], window):
        limit = allowed(taken[STORED], end)
        yield f"day {end.day}: one full and the window's changes are {megabytes(limit)} MB"


def unlike(name: str, wanted: Mapping[str, int | None], found: Mapping[str, int | None]) -> list[str]:
    """Every table whose checksum is another than it was."""
    return [
        f"{name}: table {table} has checksum {found.get(table)}, not {wanted.get(table)}"
        for table in sorted({*wanted, *found})
        if found.get(table) != wanted.get(table)
    ]
