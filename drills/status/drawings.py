"""Drawings of the status page as plain geometry: what is where, in the units of the drawing. Pure.

The page has no script, so each drawing is made of shapes that say themselves, in words, what they show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from drills.status.report import BackupSeen, Cell, LagPoint, RecoveryMap
from fleet import figures

HOURS_A_DAY = 24
LONGEST_SILENCE = timedelta(minutes=15)
"""Points of a lag that are further apart are not joined: nobody looked in between."""

WORDS = {
    Cell.NOTHING: "before the first backup",
    Cell.LOST: "not recoverable",
    Cell.ARCHIVED: "recoverable",
    Cell.VERIFIED: "recoverable, and read again",
    Cell.PROVEN: "proven by a restore",
    Cell.DRILLED: "in a drill",
}
"""What a cell of the recovery map means."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with its upper left corner, a class that gives its colour, and what it shows."""

    x: float
    y: float
    width: float
    height: float
    style: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A word at the edge of a drawing."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Hours in a row of which the same is known; ``end`` is behind the last of them."""

    start: datetime
    end: datetime
    cell: Cell

    @property
    def words(self) -> str:
        return WORDS[self.cell]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Rectangles, words at the edges, and one line in words for who cannot see it."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    marks: tuple[Mark, ...]
    label: str
    path: str = ""
    rule: float | None = None


_CELL_WIDTH, _CELL_HEIGHT, _GAP = 10.0, 5.0, 1.0
_LEFT, _TOP = 16.0, 12.0


def recovery_drawing(recovery: RecoveryMap) -> Drawing:
    """A day in a column, its hours from top to bottom; equal hours of a day are one box."""
    first_day = recovery.first_hour.replace(hour=0)
    boxes: list[Box] = []
    days = 0
    for stretch in _by_day(stretches(recovery)):
        column = (stretch.start - first_day).days
        days = max(days, column + 1)
        hours = (stretch.end - stretch.start) / timedelta(hours=1)
        boxes.append(
            Box(
                _LEFT + column * _CELL_WIDTH,
                _TOP + stretch.start.hour * _CELL_HEIGHT,
                _CELL_WIDTH - _GAP,
                hours * _CELL_HEIGHT - (_GAP if hours < HOURS_A_DAY else 0),
                stretch.cell.value,
                f"{stretch.start:%b %d %H:%M} to {stretch.end:%b %d %H:%M}: {stretch.words}",
            )
        )
    marks = [Mark(0, _TOP + hour * _CELL_HEIGHT + 4, f"{hour:02}") for hour in (0, 6, 12, 18)]
    for column in range(0, days, 7):
        at = first_day + timedelta(days=column)
        marks.append(Mark(_LEFT + column * _CELL_WIDTH, _TOP - 4, f"{at:%b} {at.day}"))
    return Drawing(
        _LEFT + max(days, 1) * _CELL_WIDTH,
        _TOP + HOURS_A_DAY * _CELL_HEIGHT,
        tuple(boxes),
        tuple(marks),
        _in_words(recovery),
    )


def stretches(recovery: RecoveryMap) -> tuple[Stretch, ...]:
    """The map as stretches, oldest first."""
    found: list[Stretch] = []
    start = recovery.first_hour
    for cell, same in groupby(recovery.cells):
        end = start + timedelta(hours=len(list(same)))
        found.append(Stretch(start, end, cell))
        start = end
    return tuple(found)


def _by_day(whole: Sequence[Stretch]) -> Iterator[Stretch]:
    for stretch in whole:
        start = stretch.start
        while start < stretch.end:
            midnight = start.replace(hour=0) + timedelta(days=1)
            end = min(midnight, stretch.end)
            yield Stretch(start, end, stretch.cell)
            start = end


def _in_words(recovery: RecoveryMap) -> str:
    counted = {cell: recovery.cells.count(cell) for cell in Cell}
    told = [f"{figures.plural(count, 'hour')} {WORDS[cell]}" for cell, count in counted.items() if count]
    return f"Of {figures.plural(len(recovery.cells), 'hour')}: {', '.join(told) or 'nothing is known'}."


_CHART_WIDTH, _CHART_HEIGHT = 320.0, 64.0
_LEAST_SECONDS = 2.0


def lag_drawing(points: Sequence[LagPoint], now: datetime, target_seconds: float) -> Drawing | None:
    """The archive's lag over the last day; None if nobody looked. ``rule`` is the height of the target."""
    start = now - timedelta(days=1)
    shown = [point for point in points if start <= point.at <= now]
    if not shown:
        return None
    most = max(point.seconds for point in shown)
    top = max(most * 1.15, _LEAST_SECONDS)

    def x(at: datetime) -> float:
        return round(_CHART_WIDTH * ((at - start) / timedelta(days=1)), 1)

    def y(seconds: float) -> float:
        return round(_CHART_HEIGHT * (1 - seconds / top), 1)

    path: list[str] = []
    before: datetime | None = None
    for point in _thinned(shown):
        joins = before is not None and point.at - before <= LONGEST_SILENCE
        path.append(f"{'L' if joins else 'M'}{x(point.at)} {y(point.seconds)}")
        # A point that stands alone is a dot and not nothing.
        if not joins:
            path.append("h0.1")
        before = point.at
    return Drawing(
        _CHART_WIDTH,
        _CHART_HEIGHT,
        (),
        (Mark(2, 8, f"{figures.duration(most)} at most"),),
        f"Lag of the archive in the last day: now {figures.duration(shown[-1].seconds)}, "
        f"most {figures.duration(most)}, target {figures.duration(target_seconds)}.",
        " ".join(path),
        y(target_seconds) if target_seconds <= top else None,
    )


def _thinned(points: Sequence[LagPoint]) -> Iterator[LagPoint]:
    """The worst of what would fall on the same half unit of the drawing."""
    slot = timedelta(days=1) / (2 * _CHART_WIDTH)
    for _, same in groupby(points, key=lambda point: int(point.at.timestamp() / slot.total_seconds())):
        yield max(same, key=lambda point: point.seconds)


_BAR_WIDTH = 2.0


def backups_drawing(backups: Sequence[BackupSeen], now: datetime, days: int = 30) -> Drawing | None:
    """A bar for each backup, as high as what it stored; None if there is none."""
    start = now - timedelta(days=days)
    shown = [backup for backup in backups if start <= backup.started_at <= now]
    if not shown:
        return None
    most = max(1, *(backup.stored_bytes for backup in shown))
    boxes: list[Box] = []
    for backup in sorted(shown, key=lambda each: each.started_at):
        height = max(1.5, (_CHART_HEIGHT - 12) * backup.stored_bytes / most)
        at = (_CHART_WIDTH - _BAR_WIDTH) * ((backup.started_at - start) / timedelta(days=days))
        took = figures.duration((backup.finished_at - backup.started_at).total_seconds())
        boxes.append(
            Box(
                round(at, 1),
                round(_CHART_HEIGHT - height, 1),
                _BAR_WIDTH,
                round(height, 1),
                "damaged" if backup.damage else backup.kind,
                f"{backup.label}: {figures.size(backup.stored_bytes)} stored in {took}",
            )
        )
    fulls = sum(backup.kind == "full" for backup in shown)
    return Drawing(
        _CHART_WIDTH,
        _CHART_HEIGHT,
        tuple(boxes),
        (Mark(2, 8, f"{figures.size(most)} at most"),),
        f"Backups of the last {days} days: {figures.plural(fulls, 'full')} and "
        f"{figures.plural(len(shown) - fulls, 'incremental')}, the largest stored {figures.size(most)}.",
    )
