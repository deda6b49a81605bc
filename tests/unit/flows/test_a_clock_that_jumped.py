"""The machine's clock jumps by a day and two hours: nothing alive is ended, and no full is skipped for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.lateness import not_wanted_because
from flows.reconciling import RunKnown, dead_runs, missed_fulls
from tests.unit.flows.scheduled_fleets import SHARD_A, described
from tests.unit.flows.test_reconciling import RUN

JUMP = timedelta(hours=26)
NOW = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
DUE = datetime(2026, 3, 3, 2, 0, tzinfo=UTC)
FLEET = described(
    schedule={"full_cron": "0 2 * * *", "incremental_cron": "0 */6 * * *", "stagger_minutes": 0},
    shards=[SHARD_A],
)
A = FLEET.shard("a")


def full_at(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%SZ}-full"


def why_not(due: datetime, now: datetime, *labels: str) -> str | None:
    return not_wanted_because(FLEET, A, "full", due, now=now, labels=labels)


def test_of_the_fulls_that_a_jump_ahead_makes_due_one_is_taken() -> None:
    later = NOW + JUMP
    due = [DUE + timedelta(days=1), DUE + timedelta(days=2)]
    assert due[0] < later
    assert why_not(due[0], later, full_at(DUE)) is None
    # Whichever of them came first began after both were due.
    assert why_not(due[0], later, full_at(DUE), full_at(later))


@pytest.mark.parametrize("ahead", [timedelta(hours=26), timedelta(days=3650)])
def test_a_backup_that_was_dated_ahead_keeps_none_from_being_taken(ahead: timedelta) -> None:
    """It was taken before the clock was set back, and will be the newest for a day, or for ten years."""
    label = full_at(NOW + ahead)
    tomorrow = DUE + timedelta(days=1)
    assert why_not(tomorrow, tomorrow, label) is None
    assert missed_fulls(FLEET, {"a": [label]}, (), (), now=NOW) == {"a": DUE}
    # The one that is taken then counts, and is the only one.
    taken = full_at(tomorrow + timedelta(seconds=3))
    assert why_not(tomorrow, tomorrow + timedelta(minutes=40), label, taken)
    after = tomorrow + timedelta(hours=1)
    assert missed_fulls(FLEET, {"a": [label, taken]}, (), (), now=after) == {}


def test_clocks_that_differ_by_less_than_five_minutes_take_no_full_twice() -> None:
    label = full_at(NOW + timedelta(minutes=4))
    assert why_not(DUE, NOW, label)
    assert missed_fulls(FLEET, {"a": [label]}, (), (), now=NOW) == {}


def test_a_machine_that_is_a_day_behind_the_scheduler_takes_what_is_due_and_once() -> None:
    behind = DUE - JUMP
    assert why_not(DUE, behind, full_at(behind)) is None
    assert why_not(DUE, behind, full_at(DUE))


def dead_after(jump: timedelta, run: RunKnown, *, listened: bool) -> bool:
    return bool(dead_runs([run], (), now=NOW + jump, server_listened=listened))


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "CANCELLING"])
def test_no_run_is_ended_because_the_clock_jumped(state: str) -> None:
    """Right after it the server has no event of the minutes before, as that clock tells them."""
    alive = replace(RUN, state=state, since=NOW - timedelta(seconds=9), heard_at=NOW - timedelta(seconds=5))
    assert not dead_after(JUMP, alive, listened=False)
    for listened in (True, False):
        assert not dead_after(-JUMP, alive, listened=listened)


def test_a_run_that_stays_silent_after_the_jump_is_ended() -> None:
    assert dead_after(JUMP, RUN, listened=True)
