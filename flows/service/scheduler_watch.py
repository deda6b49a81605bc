"""Whether the embedded scheduler does its work: it answers, and its database is there and can be written to.

Asked from outside and without importing it. ``GET /api/health`` answers ``true`` as long as the server runs,
whatever became of its database (tried with Prefect 3.8.8); so that is looked at by itself.
"""

from __future__ import annotations

import http.client
import sqlite3
from base64 import b64encode
from contextlib import closing, suppress
from pathlib import Path

from fleet.clock import Clock

LOOK_SECONDS = 10.0
_EARLY_LOOK_SECONDS = 0.5
_TIMEOUT_SECONDS = 2.0


class SchedulerWatch:
    """Looks at one run of the scheduler after the other. ``is_ready``: it has answered since its start;
    ``has_deployments``: it has been told what is to run.

    It may take ``start_seconds`` to answer first, then be silent for ``silent_seconds``; its database may be
    locked for ``locked_seconds``. After that ``verdict`` is why it should be started again.
    """

    def __init__(
        self,
        port: int,
        directory: Path,
        clock: Clock,
        *,
        start_seconds: float = 180.0,
        silent_seconds: float = 30.0,
        locked_seconds: float = 90.0,
    ) -> None:
        self.is_ready = self.has_deployments = False
        self.verdict: str | None = None
        self.problem: str | None = None
        self.lost_database = False
        self._port = port
        self._database = directory / "prefect" / "prefect.db"
        self._clock = clock
        self._start_seconds = start_seconds
        self._silent_seconds = silent_seconds
        self._locked_seconds = locked_seconds
        self._pid: int | None = None
        self._auth: str | None = None
        self._identity: tuple[int, int] | None = None
        self._next_look = 0.0
        self._silent_since: float | None = None
        self._locked_since: float | None = None

    def look(self, pid: int | None, auth: str | None = None) -> None:
        """See how the scheduler with that process does; None: it does not run. Takes 2 seconds at most.

        ``auth``: ``user:password``, as it asks for it.
        """
        self._auth = auth
        now = self._clock.monotonic()
        if pid != self._pid:
            self._begin(pid, now)
        if pid is None or now < self._next_look:
            return
        self._listen(now)
        if self.is_ready:
            self._look_at_database(now)
            self.has_deployments = self.has_deployments or self._has_deployments()
        # Until it does its work somebody waits for it.
        self._next_look = now + (LOOK_SECONDS if self.has_deployments else _EARLY_LOOK_SECONDS)

    def _begin(self, pid: int | None, now: float) -> None:
        self._pid = pid
        self.is_ready = self.has_deployments = False
        self.verdict = self.problem = self._identity = self._locked_since = None
        self.lost_database = False
        self._silent_since = now
        self._next_look = now

    def _listen(self, now: float) -> None:
        if self._answers():
            self.is_ready, self._silent_since = True, None
            self.problem = None
            return
        self._silent_since = now if self._silent_since is None else self._silent_since
        silent = now - self._silent_since
        if silent >= (self._silent_seconds if self.is_ready else self._start_seconds):
            self.verdict = f"does not answer on port {self._port} for {silent:.0f} s"
        elif self.is_ready and silent:
            self.problem = f"does not answer on port {self._port}"

    def _answers(self) -> bool:
        return self._asked("GET", "/api/health") is not None

    def _has_deployments(self) -> bool:
        count = self._asked("POST", "/api/deployments/count", b"{}")
        return count is not None and count.strip() not in (b"", b"0")

    def _asked(self, verb: str, path: str, body: bytes | None = None) -> bytes | None:
        """What it answers; None if it does not, or not with 200."""
        with suppress(OSError, http.client.HTTPException):
            link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
            with closing(link):
                link.request(
                    verb, path, body, {"Content-Type": "application/json", **_credentials(self._auth)}
                )
                answer = link.getresponse()
                return answer.read() if answer.status == 200 else None
        return None

    def _look_at_database(self, now: float) -> None:
        identity = _identity_of(self._database)
        if self._identity is None:
            self._identity = identity
        if identity is None or identity != self._identity:
            # The server goes on with the file that it holds open, and all it plans is lost with it.
            self.lost_database = True
            self.verdict = "has lost its database: the file was moved away or replaced"
            return
        if _can_be_written(self._database):
            self._locked_since = None
            return
        self._locked_since = now if self._locked_since is None else self._locked_since
        if (locked := now - self._locked_since) >= self._locked_seconds:
            self.verdict = f"cannot write to its database: it is locked for {locked:.0f} s"
        elif locked:
            self.problem = "cannot write to its database: it is locked"


def _credentials(auth: str | None) -> dict[str, str]:
    if auth is None:
        return {}
    return {"Authorization": f"Basic {b64encode(auth.encode()).decode()}"}


def _identity_of(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _can_be_written(path: Path) -> bool:
    """Whether the lock of a writer is free at this moment; it is given back at once."""
    try:
        with closing(
            sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=0.2, isolation_level=None)
        ) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return True
