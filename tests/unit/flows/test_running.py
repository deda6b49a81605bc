"""A story runs in a thread of its own, and ends with whatever ends the thread that waits for it."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import pytest

from fleet.clock import SystemClock
from fleet.errors import Cancelled, StoreUnreachable
from fleet.progress import Progress
from flows.running import HowFar, carry_out


def nobody(_: HowFar) -> None:
    pass


def test_what_the_story_returns_is_returned_and_its_error_is_raised() -> None:
    def failing(progress: Progress, cancelled: threading.Event) -> None:
        raise StoreUnreachable("gone")

    assert carry_out(lambda progress, cancelled: 7, SystemClock(), tell=nobody) == 7
    with pytest.raises(StoreUnreachable, match="gone"):
        carry_out(failing, SystemClock(), tell=nobody)


def test_what_it_tells_is_told_in_the_thread_that_waits() -> None:
    seen: list[HowFar] = []
    threads: set[threading.Thread] = set()

    def story(progress: Progress, cancelled: threading.Event) -> None:
        progress.stage("file", 100)
        progress.advance(30)
        progress.advance(12)
        progress.note("the donor is slow")

    def tell(far: HowFar) -> None:
        threads.add(threading.current_thread())
        seen.append(far)

    carry_out(story, SystemClock(), tell=tell)
    assert (seen[-1].stage, seen[-1].done_bytes, seen[-1].total_bytes) == ("file", 42, 100)
    assert [note for far in seen for note in far.notes] == ["the donor is slow"]
    assert threads == {threading.main_thread()}


class Ended(BaseException):
    """As Prefect ends a flow: no Exception."""


def test_a_signal_asks_the_story_to_stop_and_is_raised_after_it_has_let_go() -> None:
    let_go = threading.Event()

    def story(progress: Progress, cancelled: threading.Event) -> None:
        signal.raise_signal(signal.SIGTERM)
        assert cancelled.wait(20)
        # Whoever insists meanwhile changes nothing.
        signal.raise_signal(signal.SIGTERM)
        threading.Event().wait(0.3)
        let_go.set()
        raise Cancelled("the backup was cancelled")

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Ended):
            carry_out(story, SystemClock(), tell=nobody)
        assert let_go.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_from_outside_which_interrupts_the_waiting_itself_waits_for_the_story_too() -> None:
    let_go, told = threading.Event(), threading.Event()
    others = {signal.SIGTERM}

    def story(progress: Progress, cancelled: threading.Event) -> None:
        # So that the kernel gives it to the thread that waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, others)
        assert told.wait(20)
        # By now it waits again: where it does not yet, the test is not as hard as it could be.
        threading.Event().wait(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        assert cancelled.wait(20)
        threading.Event().wait(0.3)
        let_go.set()

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Ended):
            carry_out(story, SystemClock(), tell=lambda _: told.set())
        assert let_go.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_fails_while_it_tells_ends_the_story_too() -> None:
    let_go = threading.Event()

    def story(progress: Progress, cancelled: threading.Event) -> None:
        assert cancelled.wait(20)
        let_go.set()

    def tell(far: HowFar) -> None:
        raise Ended

    with pytest.raises(Ended):
        carry_out(story, SystemClock(), tell=tell)
    assert let_go.is_set()


def test_a_story_that_takes_too_long_is_cancelled_and_told_apart() -> None:
    def story(progress: Progress, cancelled: threading.Event) -> None:
        assert cancelled.wait(20)
        raise Cancelled("the backup was cancelled", hint="Nothing was kept.")

    with pytest.raises(Cancelled, match="took longer than") as caught:
        carry_out(story, SystemClock(), tell=nobody, limit_seconds=0.1)
    assert caught.value.hint == "Nothing was kept."


def test_a_story_that_came_to_its_end_all_the_same_is_not_lost() -> None:
    def story(progress: Progress, cancelled: threading.Event) -> str:
        assert cancelled.wait(20)
        return "stored"

    assert carry_out(story, SystemClock(), tell=nobody, limit_seconds=0.1) == "stored"
