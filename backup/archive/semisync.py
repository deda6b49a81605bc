"""Does the source still wait for us? Each time that it stops to, a promise is broken, and that is recorded.

MySQL turns semi-synchronous replication off for everybody when an acknowledgement takes longer than its
time-out, and on again when a replica has caught up. In between commits are not durable here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from fleet.clock import Clock
from fleet.errors import ToolError
from fleet.finding import Finding, Level
from wire.binlog_admin import SemiSyncState, semi_sync_state
from wire.session import Session

POLL_SECONDS = 0.5


class Fall(NamedTuple):
    """The source did not wait, from ``began_at`` on; ``ended_at`` is None while it goes on.

    ``commits``: how many were not waited for, as far as known.
    """

    began_at: datetime
    ended_at: datetime | None
    commits: int


@dataclass(slots=True)
class SemiSyncWatch:
    """Turns what the source says, again and again, into falls. Pure.

    ``began_at``: of a fall that an earlier archiver saw begin, and not end.
    """

    began_at: datetime | None = None
    _before: int | None = None
    _at_fall: int = 0

    def observe(self, state: SemiSyncState | None, at: datetime) -> Fall | None:
        """A fall that begins, or ends, with this observation. ``state`` None: no plugin there."""
        holds = state is not None and state.is_enabled and state.is_on
        count = state.unacknowledged if state is not None else 0
        before, self._before = self._before, count
        # After the source's restart the count begins anew.
        missed = max(0, count - (before if before is not None else count))
        if not holds and self.began_at is None:
            self.began_at, self._at_fall = at, count - missed
            return Fall(at, None, missed)
        if holds and self.began_at is not None:
            began_at, self.began_at = self.began_at, None
            return Fall(began_at, at, max(0, count - self._at_fall))
        if holds and missed:
            # It fell and came back between two looks.
            return Fall(at, at, missed)
        return None


class SemiSyncGuard:
    """A thread that asks the source, while one connection lasts. A context manager.

    ``fell`` is called with each fall as it begins and again as it ends.
    """

    def __init__(
        self,
        connect: Callable[[], Session],
        watch: SemiSyncWatch,
        clock: Clock,
        fell: Callable[[Fall], None],
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._connect = connect
        self._watch = watch
        self._clock = clock
        self._fell = fell
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="archive-semi-sync", daemon=True)

    def __enter__(self) -> SemiSyncGuard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        # The source calls us a client of semi-sync only some moments after the dump began.
        self._stopping.wait(self._poll_seconds)
        while not self._stopping.is_set():
            try:
                self._ask_until_stopped()
            except ToolError:
                # The dump's own connection tells that the source is gone; this one only looks again.
                self._stopping.wait(self._poll_seconds)

    def _ask_until_stopped(self) -> None:
        with closing(self._connect()) as session:
            while not self._stopping.is_set():
                fall = self._watch.observe(semi_sync_state(session), self._clock.now())
                if fall is not None:
                    self._fell(fall)
                self._stopping.wait(self._poll_seconds)


def judge_semi_sync(
    server: str, mode: Literal["async", "local-sync", "store-sync"], state: SemiSyncState | None
) -> list[Finding]:
    """What stands in the way of the promise that ``mode`` makes; nothing in mode async."""
    subject = f"server {server}"
    if mode == "async":
        return []
    if state is None:
        return [
            Finding(
                Level.FAIL,
                subject,
                f"archive.mode is {mode}, and the plugin for semi-synchronous replication is not loaded",
                "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so', then SET PERSIST "
                "rpl_semi_sync_source_enabled = ON.",
            )
        ]
    found: list[Finding] = []
    if not state.is_enabled:
        found.append(
            Finding(
                Level.FAIL,
                subject,
                f"archive.mode is {mode}, and semi-synchronous replication is switched off",
                "SET PERSIST rpl_semi_sync_source_enabled = ON.",
            )
        )
    elif state.clients > state.wait_for:
        found.append(
            Finding(
                Level.WARN,
                subject,
                f"commits wait for {state.wait_for} of {state.clients} semi-synchronous replicas, "
                "so another one than the archive may let them go",
                "Set rpl_semi_sync_source_wait_for_replica_count to the number of such replicas, the archive "
                "included.",
            )
        )
    return found
