"""A few threads with a short backlog: who hands out work waits when they cannot follow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

Job = TypeVar("Job")


class Crew(Generic[Job]):
    """``threads`` threads that do ``work``; at most as many jobs again wait.

    The first error of a job ends all work and is raised to whoever submits or drains. Leaving the block
    stops the threads; one that is stuck in a job is waited for no longer than ``patience_seconds``.
    """

    def __init__(self, threads: int, work: Callable[[Job], None], *, patience_seconds: float = 10) -> None:
        self._work = work
        self._backlog = threads
        self._patience_seconds = patience_seconds
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._busy = 0
        self._error: BaseException | None = None
        self._is_over = False
        self._threads = [
            threading.Thread(target=self._run, name=f"restore-{n}", daemon=True) for n in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_over = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(self._patience_seconds)

    def submit(self, job: Job) -> None:
        """Hand out a job, when there is room for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or len(self._waiting) < self._backlog)
            self._raise()
            self._waiting.append(job)
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until every job is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or not (self._waiting or self._busy))
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._work(job)
            except Exception as error:  # noqa: BLE001 - it is raised again in the thread that submits
                self._fail(error)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if self._is_over:
                return None
            self._busy += 1
            job = self._waiting.popleft()
            self._changed.notify_all()
            return job

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._waiting.clear()
