from __future__ import annotations

import os

from benchmarks.serving import Resting, _at_rest, told  # pyright: ignore[reportPrivateUsage]
from benchmarks.stories import LONE_STORIES

RESTING = (Resting("scheduler", 2, 240_000_000, 0.031), Resting("runner", 2, 120_000_000, 0.009))


def test_serve_is_measured_by_its_start_its_memory_and_its_rest():
    found = told(17.25, 8.5, RESTING, 0.5)
    starts, rest = found.sheets
    assert starts.rows == (("with no state", "17.2"), ("with what that one left", "8.5"))
    assert rest.rows == (
        ("scheduler", "2", "240", "3.1"),
        ("runner", "2", "120", "0.9"),
        ("all", "4", "360", "4.0"),
    )
    assert [(aim.value, aim.limit) for aim in found.aims] == [(17.25, 20.0), (360.0, 900.0), (4.0, 5.0)]
    assert found.notes == ("others used 50% of the machine while it was at rest",)


def test_what_rests_is_looked_at_with_all_its_processes(monkeypatch):
    monkeypatch.setattr("benchmarks.serving.REST_SECONDS", 0.05)
    found, others = _at_rest(os.getpid(), {})
    (supervisor,) = found
    assert (supervisor.part, supervisor.processes) == ("supervisor", 1)
    assert supervisor.pss_bytes > 5_000_000
    assert others >= 0


def test_serve_takes_no_numbers():
    assert not LONE_STORIES["serve"].numbers
