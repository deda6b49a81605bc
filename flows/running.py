"""A story of a room, carried out so that whatever ends its flow ends the story too. Without Prefect.

Signals reach the main thread of a process alone. So the story runs in a thread of its own, and the main
thread watches: it tells how far the story is, and when it is ended itself, it asks the story to stop and
waits until everything is let go of. A donor is never left with a recipient that nobody needs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fleet.clock import Clock
from fleet.errors import Cancelled
from fleet.figures import duration
from fleet.progress import Progress

POLL_SECONDS = 0.2

_ENDING = (signal.SIGTERM, signal.SIGINT)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Story(Protocol[T_co]):
    """What is carried out; it ends soon after ``cancelled`` is set. Raises ``ToolError``."""

    def __call__(self, progress: Progress, cancelled: threading.Event) -> T_co: ...


@dataclass(frozen=True, slots=True)
class HowFar:
    """How far a story is. ``notes``: what it said since it was last asked."""

    stage: str
    done_bytes: int
    total_bytes: int | None
    notes: tuple[str, ...]


class Watched:
    """Progress that another thread may look at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stage, self._done, self._notes = "beginning", 0, list[str]()
        self._total: int | None = None

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        with self._lock:
            self._stage, self._total, self._done = name, total_bytes, 0

    def advance(self, count_bytes: int) -> None:
        with self._lock:
            self._done += count_bytes

    def note(self, text: str) -> None:
        with self._lock:
            self._notes.append(text)

    def look(self) -> HowFar:
        """How far it is; each note is given once."""
        with self._lock:
            notes, self._notes = tuple(self._notes), []
            return HowFar(self._stage, self._done, self._total, notes)


def carry_out(
    story: Story[T],
    clock: Clock,
    *,
    tell: Callable[[HowFar], None],
    limit_seconds: float | None = None,
) -> T:
    """What ``story`` returns, or raises. ``tell`` is called in this thread, several times a second, and once
    at the end.

    A story that takes longer than ``limit_seconds`` is cancelled; then, unless it had come to its end all the
    same, ``Cancelled`` is raised. Whatever is raised here meanwhile (a signal, a deadline of the scheduler)
    is raised again after the story has ended.
    """
    cancelled, watched, run = threading.Event(), Watched(), _Run[T]()
    # No daemon: a story that still holds something must keep the process alive.
    thread = threading.Thread(target=run.through, args=(story, watched, cancelled), name="story")
    deadline = None if limit_seconds is None else clock.monotonic() + limit_seconds
    try:
        thread.start()
        has_ended = False
        while not has_ended:
            # No join: one that a signal interrupts takes the thread for ended, up to Python 3.12.
            has_ended = run.ended.wait(POLL_SECONDS)
            tell(watched.look())
            if deadline is not None and clock.monotonic() > deadline:
                cancelled.set()
    except BaseException:
        with _deaf():
            cancelled.set()
            # A thread that has not begun yet cannot be waited for, and will find that it need not.
            if thread.ident is not None:
                run.ended.wait()
        raise
    if isinstance(run.error, Cancelled) and cancelled.is_set() and limit_seconds is not None:
        raise Cancelled(
            f"it took longer than {duration(limit_seconds)}, and was cancelled", hint=run.error.hint
        ) from run.error
    return run.result()


class _Run(Generic[T]):
    """How the story ended."""

    def __init__(self) -> None:
        self._results: list[T] = []
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def through(self, story: Story[T], progress: Progress, cancelled: threading.Event) -> None:
        try:
            if cancelled.is_set():
                raise Cancelled("it was cancelled before it began")
            self._results.append(story(progress, cancelled))
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            self.error = error
        finally:
            self.ended.set()

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self._results[0]


@contextmanager
def _deaf() -> Generator[None]:
    """However often somebody insists: only kill -9 ends a process that holds a donor."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, receiver in before.items():
            signal.signal(number, receiver)
