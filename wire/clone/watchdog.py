"""The guard over the donor: no reader may be away from its socket for long.

While a reader is away, the donor may be blocked in a send with a data file pinned, and a RENAME or DROP of
that table then waits with dictionary locks held; others wait behind it. Back-pressure is ours to bear.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from fleet.clock import Clock
from wire.clone.stream import Stream

_LOOKS_PER_BOUND = 10


class Watchdog:
    """While entered, calls ``on_stall`` once, from a thread of its own, when a reader is away too long."""

    def __init__(
        self,
        streams: Sequence[Stream],
        stall_seconds: float,
        clock: Clock,
        on_stall: Callable[[Stream, float], None],
    ) -> None:
        self._streams = streams
        self._bound = stall_seconds
        self._clock = clock
        self._on_stall = on_stall
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="clone-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(self._bound / _LOOKS_PER_BOUND):
            now = self._clock.monotonic()
            for stream in self._streams:
                if (away := stream.away_seconds(now)) > self._bound:
                    self._on_stall(stream, away)
                    return
