"""Notices that nothing comes in for long: an archiver that waits says so once, and when it is over.

What is waited for is told at once on a terminal, and forgotten as often; in a log only what lasts is worth
a line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from backup.archive.news import NewsKind
from fleet.clock import Clock

STALL_SECONDS = 10.0
"""So long a source or a store may be away without an alarm: a planned restart takes less."""

STEADY_SECONDS = 3.0
"""A connection that lasts so long is one, also when the source has nothing to say."""

_LOOK_SECONDS = 1.0


class Stall:
    """Whether a source is followed. Thread-safe; ``received``: bytes of events that came so far."""

    def __init__(
        self, clock: Clock, received: Callable[[], int], tell: Callable[[NewsKind, str], None]
    ) -> None:
        self._clock = clock
        self._received = received
        self._tell = tell
        self._lock = threading.Lock()
        self._idle_since: float | None = clock.monotonic()
        self._following_since: float | None = None
        self._received_before = 0
        self._reason = ""
        self._is_told = False

    def following(self) -> None:
        """A source sends, or will when it has something."""
        with self._lock:
            self._following_since = self._clock.monotonic()
            self._received_before = self._received()

    def left(self) -> None:
        """It does no longer."""
        with self._lock:
            self._settle()
            self._following_since = None
            if self._idle_since is None:
                self._idle_since = self._clock.monotonic()

    def waits_for(self, reason: str) -> None:
        """Why nothing is followed now."""
        with self._lock:
            self._reason = reason

    def look(self) -> None:
        """Tell what has lasted long enough."""
        with self._lock:
            self._settle()
            since = self._idle_since
            if since is None or self._following_since is not None or self._is_told:
                return
            seconds = self._clock.monotonic() - since
            if seconds >= STALL_SECONDS:
                self._is_told = True
                why = f": {self._reason}" if self._reason else ""
                self._tell("stalled", f"no events were received for {seconds:.0f} s{why}")

    def _settle(self) -> None:
        """A connection counts once it has brought something, or lasted."""
        began = self._following_since
        if began is None or self._idle_since is None:
            return
        now = self._clock.monotonic()
        if self._received() == self._received_before and now - began < STEADY_SECONDS:
            return
        if self._is_told:
            self._tell("recovered", f"a source is followed again, after {began - self._idle_since:.0f} s")
        self._idle_since, self._is_told, self._reason = None, False, ""


@contextmanager
def watching(*looks: Callable[[], None]) -> Generator[None]:
    """Every one of ``looks`` is called each second, in a thread of its own."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_SECONDS):
            for look in looks:
                look()

    threading.Thread(target=watch, name="archive-watch", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
