"""A backup tells how far it is, in steps that somebody can watch."""

from __future__ import annotations

import threading

from fleet.progress import Progress


class Reporter:
    """Tells ``progress`` about every few megabytes, not about every page."""

    STEP_BYTES = 4 * 1024 * 1024

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._untold = 0

    def stage(self, name: str, total_bytes: int) -> None:
        with self._lock:
            self._untold = 0
        self._progress.stage(name, total_bytes or None)

    def advance(self, count_bytes: int) -> None:
        with self._lock:
            self._untold += count_bytes
            if self._untold < self.STEP_BYTES:
                return
            told, self._untold = self._untold, 0
        self._progress.advance(told)
