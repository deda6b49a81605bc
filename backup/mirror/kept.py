"""Which archived binlog files the mirror's retention would not keep: those are not copied either."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime

from fleet.clock import Clock
from fleet.policy import Retention
from repository.archive.archive import ShardArchive
from repository.archive.letting_go import free_files
from repository.archive.line import Line
from repository.archive.window import Base, recoverable
from repository.layout import BinlogFile
from repository.mirror.round import Seen
from repository.outlines import Outline
from repository.retention import window_start


class KeptBinlogs:
    """Of one shard. ``seen`` gives the backups of both places, or None as long as nobody has looked."""

    def __init__(
        self, source: ShardArchive, policy: Retention, seen: Callable[[], Seen | None], clock: Clock
    ) -> None:
        self._source = source
        self._policy = policy
        self._seen = seen
        self._clock = clock

    def left_out(self, files: Collection[BinlogFile]) -> Collection[BinlogFile]:
        """Those of ``files`` that would be let go at once. The line is read only where some may be so old;
        as long as nobody has looked at the backups, the old ones are left for later.
        """
        start = window_start(self._policy, self._clock.now())
        old = {each for each in files if datetime.fromtimestamp(each.created, UTC) < start}
        seen = self._seen()
        if seen is None or not old:
            return old
        line = Line.of(self._source)
        lows = [each.low for each in _leading(line, seen.held(self._source.shard), start)]
        free = {each.name for each in free_files(line, lows, start)}
        return free.intersection(files)


def _leading(line: Line, held: Collection[Outline], start: datetime) -> Iterator[Outline]:
    """The backups that have to lead to points: FORMAT.md, section 14, rule 9."""
    yield from (each for each in held if each.finished_at >= start)
    before = [each for each in held if each.finished_at < start]
    for each in sorted(before, key=lambda one: one.finished_at, reverse=True):
        yield each
        if recoverable(line, [Base(each.low, each.high)]):
            return
