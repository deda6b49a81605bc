"""Askers: alone while answers come at once, by threads where a store takes its time."""

from __future__ import annotations

import threading

import pytest

from fleet.errors import StoreUnreachable
from repository.askers import Askers
from tests.unit.repository.sealed_backups import TickingClock


class SteppingClock(TickingClock):
    """Stands still but for what an answer takes."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def test_answers_that_come_at_once_are_asked_for_in_one_thread() -> None:
    clock, asked_by = SteppingClock(), set[str]()

    def ask(number: int) -> int:
        asked_by.add(threading.current_thread().name)
        clock.seconds += 0.001
        return number * number

    with Askers("test", clock=clock) as askers:
        assert list(askers.answers(ask, range(100))) == [number * number for number in range(100)]
        assert list(askers.answers(ask, range(3))) == [0, 1, 4]
    assert asked_by == {threading.current_thread().name}


def test_answers_that_take_their_time_are_waited_for_together_and_come_in_order() -> None:
    clock = SteppingClock()
    together = threading.Barrier(8)

    def ask(number: int) -> int:
        if number == 0:
            clock.seconds += 0.03
        else:
            together.wait(timeout=60)
        return number * number

    with Askers("test", clock=clock) as askers:
        assert list(askers.answers(ask, range(81))) == [number * number for number in range(81)]


def test_one_slow_answer_among_many_quick_ones_changes_nothing() -> None:
    clock, asked_by = SteppingClock(), set[str]()

    def ask(number: int) -> None:
        asked_by.add(threading.current_thread().name)
        clock.seconds += 0.05 if number == 90 else 0.0001

    with Askers("test", clock=clock) as askers:
        assert len(list(askers.answers(ask, range(100)))) == 100
    assert asked_by == {threading.current_thread().name}


def test_no_more_answers_are_asked_for_than_a_few_ahead() -> None:
    clock, asked = SteppingClock(), list[int]()

    def ask(number: int) -> int:
        asked.append(number)
        clock.seconds += 1
        return number

    with Askers("test", clock=clock) as askers:
        answers = askers.answers(ask, range(1000))
        assert [next(answers) for _ in range(10)] == list(range(10))
    assert len(asked) <= 10 + 32


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_an_error_comes_at_its_place(seconds: float) -> None:
    clock, seen = SteppingClock(), list[int]()

    def ask(number: int) -> int:
        clock.seconds += seconds
        if number == 5:
            raise StoreUnreachable("gone")
        return number

    with Askers("test", clock=clock) as askers, pytest.raises(StoreUnreachable, match="gone"):
        for number in askers.answers(ask, range(10)):
            seen.append(number)
    assert seen == [0, 1, 2, 3, 4]
