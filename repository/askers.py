"""Asks a store for many objects: one after another, or by threads where it takes its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

from fleet.clock import Clock, SystemClock

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

_THREADS = 8
_AHEAD = 4 * _THREADS
"""Answers that wait to be looked at; a thousand manifests would not fit into memory."""

_QUICK_SECONDS = 0.002
_GRACE_SECONDS = 0.004


class Askers:
    """Whoever asks alone waits for each answer; threads wait together, but take the interpreter from each
    other. So nobody helps while an answer takes 2 ms or less on average, as on a local disk, where eight
    threads would need twice the time; from then on eight ask. Belongs to one thread.
    """

    def __init__(self, name: str, *, clock: Clock | None = None) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
        self._clock: Clock = clock or SystemClock()
        self._asked, self._seconds = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    def answers(self, ask: Callable[[Asked], Answer], wanted: Iterable[Asked]) -> Iterator[Answer]:
        """``ask`` of each, in the order of ``wanted``. What the taker does with an answer is not counted as
        waiting, and is done by one thread alone. Raises what ``ask`` raises, at its place.
        """
        left = iter(wanted)
        while self._is_quick and (here := list(islice(left, 1))):
            began = self._clock.monotonic()
            answer = ask(here[0])
            self._seconds += self._clock.monotonic() - began
            self._asked += 1
            yield answer
        ahead: deque[Future[Answer]] = deque(self._threads.submit(ask, one) for one in islice(left, _AHEAD))
        while ahead:
            answer = ahead.popleft().result()
            ahead.extend(self._threads.submit(ask, one) for one in islice(left, 1))
            yield answer

    @property
    def _is_quick(self) -> bool:
        return self._seconds <= _GRACE_SECONDS + _QUICK_SECONDS * self._asked
