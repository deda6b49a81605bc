"""What could not be copied, and places that are away: each told once, and written down."""

from __future__ import annotations

import threading

from backup.archive.news import News, NewsKind, Tell
from backup.mirror.journal import EVERYTHING, Journal
from backup.mirror.report import LastError, NotMirrored
from fleet.clock import Clock
from fleet.errors import MirrorParted, ToolError

_ALL = "mirror"
"""Stands in news where they concern all shards."""


class Refusals:
    """Gathers from many threads. Thread-safe."""

    def __init__(self, tell: Tell, journal: Journal, clock: Clock) -> None:
        self._tell = tell
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: dict[tuple[str, str], ToolError] = {}
        self._away: ToolError | None = None

    def refuse(self, shard: str, name: str, error: ToolError) -> None:
        """``name`` was not copied. The same told again is not news."""
        with self._lock:
            before = self._refused.get((shard, name))
            self._refused[shard, name] = error
        if before is None or before.message != error.message:
            self._news(shard, "failed", error.message)
            self._record(shard, error)

    def has_parted(self, shard: str) -> bool:
        """Is it known by now that repository and mirror hold different objects of the shard?"""
        with self._lock:
            return any(
                isinstance(error, MirrorParted) for (of, _), error in self._refused.items() if of == shard
            )

    def away(self, error: ToolError) -> None:
        """A store does not answer, or refuses for now."""
        with self._lock:
            is_new, self._away = self._away is None, error
        if is_new:
            self._news(_ALL, "store", f"{error.message}; it is tried again")
        self._record(EVERYTHING, error)

    def back(self) -> None:
        """Both places have answered."""
        with self._lock:
            was_away, self._away = self._away is not None, None
        if was_away:
            self._news(_ALL, "recovered", "both places answer again")

    def all(self) -> tuple[NotMirrored, ...]:
        with self._lock:
            return tuple(
                NotMirrored(shard, name, type(error).__name__, error.message)
                for (shard, name), error in sorted(self._refused.items())
            )

    def first(self) -> ToolError | None:
        """The worst there is: that a shard has parted, or any other."""
        with self._lock:
            errors = list(self._refused.values())
        return next((each for each in errors if isinstance(each, MirrorParted)), next(iter(errors), None))

    def _news(self, shard: str, kind: NewsKind, text: str) -> None:
        self._tell(News(shard, kind, text, self._clock.now()))

    def _record(self, shard: str, error: ToolError) -> None:
        self._journal.record(shard, LastError(self._clock.now(), type(error).__name__, error.message))
