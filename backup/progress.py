"""How a backup tells how far it is."""

from __future__ import annotations

import threading
from typing import Protocol


class Progress(Protocol):
    """Told by several threads; must return at once."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """A stage begins; ``total_bytes`` is the donor's own estimate, or ``None``."""
        ...

    def advance(self, count_bytes: int) -> None:
        """So many more bytes of the stage were received."""
        ...


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        pass

    def advance(self, count_bytes: int) -> None:
        pass


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
