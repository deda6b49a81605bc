"""What could not be copied, and places that are away: each told once, and written down."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from backup.archive.news import News, NewsKind, Tell
from backup.mirror.journal import EVERYTHING, Journal
from backup.mirror.report import LastError, NotMirrored
from fleet.clock import Clock
from fleet.errors import MirrorParted, ToolError

BACKUPS = "backups"
"""The scope of who copies backups, those of all shards."""
_ALL = "mirror"
"""Stands in news where they concern all shards."""


def archive_of(shard: str) -> str:
    """The scope of who copies the binlogs of ``shard``."""
    return f"archive of {shard}"


class Refusals:
    """Gathers from many threads. Thread-safe."""

    def __init__(self, tell: Tell, journal: Journal, clock: Clock) -> None:
        self._tell = tell
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: dict[tuple[str, str], ToolError] = {}
        self._away: set[str] = set()
        self._looks: dict[str, set[tuple[str, str]]] = {}
        self._scopes: dict[tuple[str, str], str] = {}
        self._looked: set[str] = set()
        self._may_be_over = True

    @contextmanager
    def looking(self, scope: str) -> Generator[None]:
        """Everything of ``scope`` is looked at: what was refused before, and is not again, has been put
        right. That a shard has parted stays, for nobody looks at it any more.
        """
        with self._lock:
            again = self._looks[scope] = set()
        yield
        with self._lock:
            for key, error in list(self._refused.items()):
                if self._scopes[key] == scope and key not in again and not isinstance(error, MirrorParted):
                    del self._refused[key]
            self._looked.add(scope)
        self._forget_what_is_over()

    def refuse(self, scope: str, shard: str, name: str, error: ToolError) -> None:
        """``name`` was not copied. The same told again is not news."""
        with self._lock:
            self._looks.setdefault(scope, set()).add((shard, name))
            self._scopes[shard, name] = scope
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

    def away(self, scope: str, error: ToolError) -> None:
        """Who works on ``scope`` got no answer from a store, or a refusal that may pass."""
        with self._lock:
            is_new = not self._away
            self._away.add(scope)
        if is_new:
            self._news(_ALL, "store", f"{error.message}; it is tried again")
        self._record(EVERYTHING, error)

    def back(self, scope: str) -> None:
        """Who works on ``scope`` got through. Told when nobody waits any more."""
        with self._lock:
            was_away = bool(self._away)
            self._away.discard(scope)
            is_over = was_away and not self._away
        if is_over:
            self._news(_ALL, "recovered", "both places answer again")
        self._forget_what_is_over()

    def gave_up(self, error: ToolError) -> None:
        """The run ends with ``error``."""
        with self._lock:
            # Others may still get through, and that ends nothing.
            self._away.add(EVERYTHING)
        self._record(EVERYTHING, error)

    def all(self) -> tuple[NotMirrored, ...]:
        with self._lock:
            return tuple(
                NotMirrored(shard, name, type(error).__name__, error.message)
                for (shard, name), error in sorted(self._refused.items())
            )

    def _forget_what_is_over(self) -> None:
        """A shard of which all was looked at, and nothing refused, has no last error."""
        if not self._may_be_over:
            return
        failed = self._journal.failed()
        self._may_be_over = bool(failed)
        for shard in failed:
            with self._lock:
                is_over = self._is_over(shard)
            if is_over:
                self._journal.clear(shard)

    def _is_over(self, shard: str) -> bool:
        if any(of == shard for of, _ in self._refused):
            return False
        if shard == EVERYTHING:
            return BACKUPS in self._looked and not self._away
        return {BACKUPS, archive_of(shard)} <= self._looked

    def _news(self, shard: str, kind: NewsKind, text: str) -> None:
        self._tell(News(shard, kind, text, self._clock.now()))

    def _record(self, shard: str, error: ToolError) -> None:
        self._may_be_over = True
        self._journal.record(shard, LastError(self._clock.now(), type(error).__name__, error.message))
