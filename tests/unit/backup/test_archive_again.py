"""A shard whose archiver ended is begun again while others go on; when none is left, that is an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from backup.archive.again import LONGEST_PAUSE_SECONDS, REPLACED_SECONDS, Persistence, pause_after
from backup.archive.news import News
from backup.archive.report import ShardOutcome
from fleet.clock import SystemClock
from fleet.errors import ArchiverReplaced, KeyUnusable, ServerRefused, ToolError

PATIENCE_SECONDS = 30


def lived(shard: str, error: ToolError | None = None) -> ShardOutcome:
    return ShardOutcome(shard, 1, 10, 5, 2, error)


class Shards:
    """Two shards: ``s1`` works until it is let go, ``s2`` does what a test says."""

    def __init__(self, pause_seconds: float = 0.0) -> None:
        self.cancelled = threading.Event()
        self.news: list[News] = []
        self.pauses: list[int] = []

        def pause(_error: ToolError, failures: int) -> float:
            self.pauses.append(failures)
            return pause_seconds

        self._persistence = Persistence(
            2, clock=SystemClock(), cancelled=self.cancelled, tell=self._hear, pause=pause
        )

    def run(
        self, first: Callable[[], ShardOutcome], second: Callable[[], ShardOutcome]
    ) -> tuple[Future[ShardOutcome], Future[ShardOutcome]]:
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(self._persistence.archive, once) for once in (first, second)]
        return futures[0], futures[1]

    def works(self) -> ShardOutcome:
        assert self.cancelled.wait(PATIENCE_SECONDS)
        return lived("s1")

    def _hear(self, news: News) -> None:
        self.news.append(news)


def test_a_shard_that_failed_is_begun_again_while_another_is_archived() -> None:
    shards, left = Shards(), [KeyUnusable("no"), ServerRefused("not now"), None]

    def second() -> ShardOutcome:
        error = left.pop(0)
        if error is None:
            shards.cancelled.set()
        return lived("s2", error)

    first_ended, second_ended = shards.run(shards.works, second)
    assert first_ended.result() == lived("s1")
    assert second_ended.result() == ShardOutcome("s2", 3, 30, 15, 6, None)
    assert shards.pauses == [1, 2]
    assert {(one.shard, one.kind, one.text) for one in shards.news} == {
        ("s2", "waiting", "begun again in 0 s; the other shards go on")
    }


def test_when_no_shard_is_archived_any_more_all_end() -> None:
    """Who keeps the process hears why, and does not wait ten minutes for it."""
    shards = Shards(pause_seconds=600)
    refused = [lived("s1", ServerRefused("no")), lived("s2", KeyUnusable("no"))]
    ended = shards.run(lambda: refused[0], lambda: refused[1])
    assert [one.result() for one in ended] == refused


def test_whoever_waits_is_cancelled_at_once() -> None:
    shards = Shards(pause_seconds=600)
    replaced = lived("s2", ArchiverReplaced("by another"))

    def first() -> ShardOutcome:
        while not shards.news:
            assert not shards.cancelled.wait(0.01)
        shards.cancelled.set()
        return lived("s1")

    ended = shards.run(first, lambda: replaced)
    assert [one.result() for one in ended] == [lived("s1"), replaced]


def test_what_is_no_error_of_the_tool_ends_all() -> None:
    shards = Shards()

    def second() -> ShardOutcome:
        raise ZeroDivisionError

    first_ended, second_ended = shards.run(shards.works, second)
    assert first_ended.result() == lived("s1")
    with pytest.raises(ZeroDivisionError):
        second_ended.result()


def test_pauses_grow_to_a_minute_and_who_was_replaced_leaves_the_other_alone_for_ten() -> None:
    pauses = [pause_after(KeyUnusable("no"), failures) for failures in (1, 2, 3, 7, 100_000)]
    assert pauses == [1, 2, 4, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    assert pause_after(ArchiverReplaced("by another"), 1) == REPLACED_SECONDS == 600
