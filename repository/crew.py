"""A bounded number of jobs at once, whose first error stops all; who hands out work waits for room."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Crew:
    """``threads`` daemon threads that run jobs; ``backlog`` more jobs may wait.

    They are daemons, and nobody joins them without a bound, so a store that never answers cannot keep the
    process from ending. Leaving the block stops them; one that is stuck in a job is waited for no longer
    than ``patience_seconds``.
    """

    def __init__(self, threads: int, *, name: str, backlog: int = 0, patience_seconds: float = 10) -> None:
        self._limit = threads + backlog
        self._patience_seconds = patience_seconds
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._running = 0
        self._failure: BaseException | None = None
        self._stopped = False
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop(error or ValueError("the crew has gone home"))
        self.wait_idle(self._patience_seconds)

    def submit(self, job: Callable[[], None]) -> None:
        """Hand over a job; waits while there is no room for it. Raises the first error of any."""
        with self._changed:
            while not self._failure and len(self._jobs) + self._running >= self._limit:
                self._changed.wait()
            self._raise_failure()
            self._jobs.append(job)
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the first error of any job, if there was one."""
        # Read without the lock: each lane asks once a block, and one block later is early enough.
        if self._failure:
            raise self._failure

    def drain(self) -> None:
        """Wait for all jobs. Raises the first error of any of them."""
        with self._changed:
            while not self._failure and (self._jobs or self._running):
                self._changed.wait()
            self._raise_failure()

    def stop(self, reason: BaseException) -> None:
        """Start no further job; who waits or comes later gets ``reason`` or an earlier error. Never waits."""
        with self._changed:
            self._failure = self._failure or reason
            self._stopped = True
            self._jobs.clear()
            self._changed.notify_all()

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no job runs, at most so long; was that reached?"""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_seconds)

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            failure: BaseException | None = None
            try:
                job()
            except Exception as error:  # noqa: BLE001 - raised again in the threads that submit
                failure = error
            with self._changed:
                self._running -= 1
                if failure:
                    self._failure = self._failure or failure
                    self._jobs.clear()
                self._changed.notify_all()

    def _next_job(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._jobs and not self._failure and not self._stopped:
                self._changed.wait()
            if self._failure or self._stopped:
                return None
            self._running += 1
            return self._jobs.popleft()
