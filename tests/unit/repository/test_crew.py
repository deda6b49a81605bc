from __future__ import annotations

import threading

import pytest

from repository.crew import Crew

PATIENCE_SECONDS = 10


class BrokenJobError(Exception):
    pass


def broken() -> None:
    raise BrokenJobError


def test_every_job_is_done_when_the_crew_is_drained() -> None:
    done: list[int] = []
    with Crew(3, name="test") as crew:
        for number in range(100):
            crew.submit(lambda number=number: done.append(number))
        crew.drain()
        assert sorted(done) == list(range(100))


@pytest.mark.parametrize("backlog", [0, 2])
def test_who_hands_out_more_than_there_is_room_for_waits(backlog: int) -> None:
    gate, accepted, all_in = threading.Event(), threading.Semaphore(0), threading.Event()
    with Crew(2, name="test", backlog=backlog) as crew:

        def hand_out() -> None:
            for _ in range(2 + backlog + 1):
                crew.submit(lambda: gate.wait(PATIENCE_SECONDS) and None)
                accepted.release()
            all_in.set()

        thread = threading.Thread(target=hand_out)
        thread.start()
        for _ in range(2 + backlog):
            assert accepted.acquire(timeout=PATIENCE_SECONDS)
        assert not all_in.wait(0.1)
        gate.set()
        assert all_in.wait(PATIENCE_SECONDS)
        thread.join()
        crew.drain()


def test_the_first_error_reaches_whoever_submits_checks_or_drains_and_no_job_starts_after_it() -> None:
    started: list[int] = []
    crew = Crew(1, name="test", backlog=10)
    held = threading.Event()
    crew.submit(lambda: held.wait(PATIENCE_SECONDS) and None)
    crew.submit(broken)
    crew.submit(lambda: started.append(1))
    held.set()
    with pytest.raises(BrokenJobError):
        crew.drain()
    with pytest.raises(BrokenJobError):
        crew.submit(lambda: started.append(2))
    with pytest.raises(BrokenJobError):
        crew.check()
    assert crew.wait_idle(PATIENCE_SECONDS)
    assert started == []


def test_leaving_the_block_ends_waiting_jobs_and_waits_for_running_ones_no_longer_than_told() -> None:
    stuck, started = threading.Event(), threading.Event()
    late: list[int] = []

    def hang() -> None:
        started.set()
        stuck.wait(PATIENCE_SECONDS)

    with (
        pytest.raises(BrokenJobError),
        Crew(1, name="test", backlog=1, patience_seconds=0.05) as crew,
    ):
        crew.submit(hang)
        crew.submit(lambda: late.append(1))
        assert started.wait(PATIENCE_SECONDS)
        raise BrokenJobError
    stuck.set()
    assert crew.wait_idle(PATIENCE_SECONDS)
    assert late == []
    with pytest.raises(BrokenJobError):
        crew.check()
