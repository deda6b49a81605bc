"""What of a shard's recovery window is lost with damaged backups and segments: points, and transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from fleet.errors import ToolError
from fleet.moments import from_microseconds
from repository.archive.archive import ShardArchive
from repository.archive.beyond import HeldBeyond, held_beyond
from repository.archive.cover import ArchivedFile, SegmentRef, cover
from repository.archive.line import Line, Window
from repository.archive.lookup import look_up
from repository.archive.reckoning import Gap, union
from repository.archive.window import Base, recoverable, uncovered
from repository.layout import SegmentName


@dataclass(frozen=True, slots=True)
class OpenGap:
    """Transactions that are missing between two binlog files, or inside of one; by the files' names."""

    gtids: str
    after: str | None
    before: str

    @classmethod
    def of(cls, gap: Gap) -> Self:
        return cls(gap.missing.one_line(), gap.after.file if gap.after else None, gap.before.file)


@dataclass(frozen=True, slots=True)
class WindowLoss:
    """What of a shard can be recovered, and what cannot any more. Times are commit times, UTC.

    ``windows``: the points that can be reached. ``lost``: those that could be reached if nothing were
    damaged. ``gtids``: transactions that are archived nowhere any more, as far as that can be told, committed
    ``from_at`` to ``until_at``. ``uncovered``: gaps behind which no sound backup leads on. ``beyond``: the
    newest sound backup that holds more than the archive, which ends before it; that is no damage.
    """

    shard: str
    windows: tuple[Window, ...]
    lost: tuple[Window, ...]
    gtids: str
    from_at: datetime | None
    until_at: datetime | None
    uncovered: tuple[OpenGap, ...]
    beyond: HeldBeyond | None = None


def look_at_window(
    archive: ShardArchive,
    bases: Sequence[Base],
    sound: Sequence[Base],
    damaged: Collection[SegmentName] = (),
) -> WindowLoss | None:
    """``bases`` are all that lead to points, ``sound`` those that are not broken. None without an archive.

    ``damaged`` segments are taken for gone, whatever their fronts still say. Raises what the store raises,
    and what ``ShardArchive.epochs`` has to say.
    """
    before = _line_without(archive, ())
    if before is None:
        return None
    after = _line_without(archive, damaged) if damaged else before
    assert after is not None
    now = recoverable(after, sound)
    files = {name.binlog for name in damaged}
    gtids = before.gtids - after.gtids
    for gap in after.gaps:
        if gap.before in files or gap.after in files:
            gtids |= gap.missing
    times = list(_times(archive, damaged))
    return WindowLoss(
        shard=archive.shard,
        windows=now,
        lost=tuple(minus(recoverable(before, bases), now)),
        gtids=gtids.one_line(),
        from_at=from_microseconds(min(times)) if times and gtids else None,
        until_at=from_microseconds(max(times)) if times and gtids else None,
        uncovered=tuple(map(OpenGap.of, uncovered(after, sound))),
        beyond=_beyond(before, sound),
    )


def _beyond(line: Line, sound: Iterable[Base]) -> HeldBeyond | None:
    """What is missing inside of the archive is told as a gap: it does not end there."""
    reached = union([line.first_gtids, line.skipped, line.gtids, *(gap.missing for gap in line.gaps)])
    held = [(base.label, base.low) for base in sound if base.label]
    return held_beyond(held, reached, [branch.gtids for branch in line.branches])


def minus(windows: Iterable[Window], taken: Sequence[Window]) -> Iterator[Window]:
    """What of ``windows`` is in none of ``taken``, which are apart from each other and in order."""
    for window in windows:
        at = window.first_at
        for other in taken:
            if other.last_at <= at or other.first_at >= window.last_at:
                continue
            if other.first_at > at:
                yield Window(at, other.first_at)
            at = max(at, other.last_at)
        if at < window.last_at:
            yield Window(at, window.last_at)


def _line_without(archive: ShardArchive, damaged: Collection[SegmentName]) -> Line | None:
    """The line of the newest epoch as if ``damaged`` were not there; none before the first epoch."""
    epochs = archive.epochs()
    if not epochs:
        return None
    files = [_without(file, damaged) for epoch in epochs for file in archive.files(epoch.epoch)]
    return Line(archive, epochs, look_up(archive, files, {}))


def _without(file: ArchivedFile, damaged: Collection[SegmentName]) -> ArchivedFile:
    segments: set[SegmentRef] = {*file.segments, *file.spare}
    left = {ref for ref in segments if ref.name not in damaged}
    return file if left == segments else cover(file.name, left)


def _times(archive: ShardArchive, damaged: Iterable[SegmentName]) -> Iterator[int]:
    """Commit times of what was in the segments, as far as their fronts can be read."""
    for name in damaged:
        try:
            header = archive.header(SegmentRef(name, 0))
        except ToolError as error:
            if error.retryable:
                raise
            continue
        yield from (at for at in (header.first_at_us, header.last_at_us) if at is not None)
