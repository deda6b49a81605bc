"""Beginning the archiving of a shard again after it ended with an error, while other shards go on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from backup.archive.news import News, Tell
from backup.archive.report import ShardOutcome
from fleet.clock import Clock
from fleet.errors import ArchiverReplaced, ToolError

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
REPLACED_SECONDS = 600.0
"""Until one whose shard another archiver took over tries to take it back: that one may have died since."""
STEADY_SECONDS = 60.0
"""Who archived so long is begun again soon, as if it had never failed."""
_TURN_SECONDS = 1.0


def pause_after(error: ToolError, failures: int) -> float:
    """Seconds to wait after ``error`` ended a shard for the ``failures``-th time in a row, from 1 on."""
    if isinstance(error, ArchiverReplaced):
        return REPLACED_SECONDS
    # The power is bounded, too: years of failures are no number.
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16))


class Persistence:
    """Archives each of ``shards`` shards again and again, each in a thread of its own, until ``cancelled``.

    It gives up as soon as all of them wait after an error: then nothing is archived, and who keeps the
    process has to hear of it. ``pause``: as ``pause_after``.
    """

    def __init__(
        self,
        shards: int,
        *,
        clock: Clock,
        cancelled: threading.Event,
        tell: Tell,
        pause: Callable[[ToolError, int], float] = pause_after,
    ) -> None:
        self._at_work = shards
        self._clock = clock
        self._cancelled = cancelled
        self._tell = tell
        self._pause = pause
        self._lock = threading.Lock()
        self._nobody_works = threading.Event()

    def archive(self, once: Callable[[], ShardOutcome]) -> ShardOutcome:
        """What all lives of one shard did, and how the last one ended."""
        outcome: ShardOutcome | None = None
        failures = 0
        while True:
            began = self._clock.monotonic()
            latest = self._lived(once)
            outcome = latest if outcome is None else _together(outcome, latest)
            if outcome.error is None:
                return outcome
            steady = self._clock.monotonic() - began >= STEADY_SECONDS
            failures = 1 if steady else failures + 1
            if not self._rest(outcome.shard, self._pause(outcome.error, failures)):
                return outcome

    def _lived(self, once: Callable[[], ShardOutcome]) -> ShardOutcome:
        try:
            return once()
        except BaseException:
            # Nobody knows what it left behind: who keeps the process begins all of them again.
            self._cancelled.set()
            raise

    def _rest(self, shard: str, seconds: float) -> bool:
        """Wait; whether it is to be begun again then."""
        with self._lock:
            self._at_work -= 1
            if not self._at_work:
                self._nobody_works.set()
        if not self._is_over():
            text = f"begun again in {seconds:g} s; the other shards go on"
            self._tell(News(shard, "waiting", text, self._clock.now()))
        deadline = self._clock.monotonic() + seconds
        while not self._is_over() and (left := deadline - self._clock.monotonic()) > 0:
            self._cancelled.wait(min(_TURN_SECONDS, left))
        with self._lock:
            if self._is_over():
                return False
            self._at_work += 1
            return True

    def _is_over(self) -> bool:
        return self._cancelled.is_set() or self._nobody_works.is_set()


def _together(before: ShardOutcome, latest: ShardOutcome) -> ShardOutcome:
    return ShardOutcome(
        shard=latest.shard,
        transactions=before.transactions + latest.transactions,
        received_bytes=before.received_bytes + latest.received_bytes,
        stored_bytes=before.stored_bytes + latest.stored_bytes,
        segments=before.segments + latest.segments,
        error=latest.error,
    )
