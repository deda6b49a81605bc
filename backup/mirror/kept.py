"""Which archived binlog files the mirror's retention would not keep: those are not copied either."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta

from fleet.clock import Clock
from fleet.policy import Retention
from repository.archive.archive import ShardArchive
from repository.archive.letting_go import free_files
from repository.archive.line import Line
from repository.archive.window import Base, recoverable
from repository.findings import Findings
from repository.layout import BinlogFile
from repository.mirror.round import Seen
from repository.outlines import Outline
from repository.retention import window_start
from repository.windows import earlier


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
        """Those of ``files`` that the mirror's prune would let go. The line is read only where some may be so
        old; as long as nobody has looked at the backups, the old ones are left for later.
        """
        start = window_start(self._policy, self._clock.now())
        # What may still be had back in the mirror has to lead to points there, as what is promised has.
        spared = earlier(start, timedelta(hours=self._policy.grace_hours))
        old = {each for each in files if datetime.fromtimestamp(each.created, UTC) < spared}
        seen = self._seen()
        if seen is None or not old:
            return old
        line = Line.of(self._source)
        lows = [each.low for each in self._leading(line, seen, start, spared)]
        free = {each.name for each in free_files(line, lows, spared)}
        return free.intersection(files)

    def _leading(self, line: Line, seen: Seen, start: datetime, spared: datetime) -> Iterator[Outline]:
        """The backups that have to lead to points: FORMAT.md, section 14, rule 9."""
        held = seen.held(self._source.shard)
        kept = {each.backup for each in seen.holds}
        yield from (each for each in held if each.finished_at >= spared or each.name in kept)
        harmed = Findings(self._source.repository).harms(self._source.shard)
        before = [each for each in held if each.finished_at < start]
        for each in sorted(before, key=lambda one: one.finished_at, reverse=True):
            yield each
            # One that is damaged cannot be copied, so another one has to lead there.
            if each.name not in harmed and recoverable(line, [Base(each.low, each.high)]):
                return
