"""A limit on the rate of reading, in steps so small that the donor never waits long for us."""

from __future__ import annotations

import threading

from fleet.clock import Clock

_STEPS_PER_SECOND = 50
_SMALLEST_STEP = 4096
_LARGEST_STEP = 256 * 1024
_LONGEST_SLEEP = 0.05


class Pace:
    """Shared by all readers of a clone."""

    def __init__(self, bytes_per_second: int, clock: Clock) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock.monotonic()
        self.step = min(max(bytes_per_second // _STEPS_PER_SECOND, _SMALLEST_STEP), _LARGEST_STEP)
        """Bytes to read at once, at most."""

    def spend(self, length: int) -> None:
        """``length`` bytes were read; returns when the next may be."""
        with self._lock:
            # What was not used is lost after one step's time: no burst follows a pause.
            earliest = self._clock.monotonic() - self.step / self._rate
            self._free_at = max(self._free_at, earliest) + length / self._rate
            due = self._free_at
        while (wait := due - self._clock.monotonic()) > 0:
            self._clock.sleep(min(wait, _LONGEST_SLEEP))
