"""What the schedule asked for, and what came of it: a scheduler that was down is seen, never absent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drills.status.run_journal import RunEnded
from drills.status.runs import Past, failed_runs, next_run, overdue_runs, past_of, seen_runs
from drills.status.shelf import Taken
from fleet.model import Fleet

NOW = datetime(2026, 3, 31, 9, 41, tzinfo=UTC)
TWO = NOW.replace(hour=2, minute=0)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def fleet(**schedule: Any) -> Fleet:
    """Fulls at two, incrementals every six hours, of one shard."""
    return Fleet.model_validate(
        {
            "name": "shop",
            "regions": ["eu"],
            "shards": [{"name": "s1", "servers": [{"name": "a", "host": "db", "region": "eu"}]}],
            "accounts": {"backup": {"user": "b", "password": {"env": "P"}}},
            "repository": {"url": "file:///r"},
            "keys": [{"id": "k", "provider": "file", "file": "/k"}],
            "schedule": schedule,
        }
    )


def taken(at: datetime, kind: str = "full") -> Taken:
    return Taken(f"{at:%Y%m%dT%H%M%SZ}-{kind}", kind, at, at + timedelta(minutes=20))


def as_planned(until: datetime = NOW) -> tuple[Taken, ...]:
    """A week of what the schedule wants, each begun seven seconds late."""
    late = timedelta(seconds=7)
    found = [taken(TWO - day * DAY + late) for day in range(7)]
    midnight = TWO - 2 * HOUR
    found += [taken(midnight + (hour * 6 - 144) * HOUR + late, "incremental") for hour in range(30)]
    return tuple(
        sorted((each for each in found if each.started_at < until), key=lambda each: each.started_at)
    )


def past(backups: tuple[Taken, ...], *journal: RunEnded, at_work: bool = False) -> Past:
    return past_of("s1", backups, journal, at_work=at_work)


def ended(kind: str, due: datetime, outcome: Any, message: str | None = None) -> RunEnded:
    return RunEnded(
        flow=kind,
        shard="s1",
        due_at=due,
        started_at=due + timedelta(seconds=3),
        ended_at=due + timedelta(minutes=2),
        outcome=outcome,
        message=message,
    )


def states(found: Past, now: datetime = NOW, **schedule: Any) -> list[tuple[str, str]]:
    config = fleet(**schedule)
    return [
        (f"{run.kind[:4]} {run.due_at:%d %H}", run.state)
        for run in seen_runs(config, config.shards[0], found, now)
    ]


def overdue(found: Past, now: datetime = NOW, **schedule: Any) -> list[tuple[str, str, bool]]:
    config = fleet(**schedule)
    return [
        (f"{each.run.kind[:4]} {each.run.due_at:%d %H}", each.run.state, each.again)
        for each in overdue_runs(config, config.shards[0], found, now)
    ]


def test_a_week_as_planned_is_done_and_nothing_is_overdue() -> None:
    found = past(as_planned())
    assert {state for _, state in states(found)} == {"done"}
    assert len(states(found)) == 2 + 8
    assert overdue(found) == []


def test_what_a_dead_scheduler_did_not_start_was_not_run() -> None:
    found = past(as_planned(until=TWO - DAY))
    assert states(found)[-7:] == [
        ("full 30 02", "not run"),
        ("incr 30 06", "not run"),
        ("incr 30 12", "not run"),
        ("incr 30 18", "not run"),
        ("incr 31 00", "not run"),
        ("full 31 02", "not run"),
        ("incr 31 06", "not run"),
    ]
    assert overdue(found) == [("full 31 02", "not run", True), ("incr 31 06", "not run", True)]


def test_nothing_was_expected_before_the_first_backup() -> None:
    found = past((taken(NOW - 5 * HOUR),))
    assert states(found) == [("incr 31 06", "not run")]
    assert overdue(found) == [("incr 31 06", "not run", False)]
    assert states(past(())) == []


def test_what_is_just_due_waits_and_is_not_overdue_yet() -> None:
    now = NOW.replace(hour=6, minute=30)
    found = past(as_planned(until=NOW.replace(hour=6, minute=0)))
    assert states(found, now)[-1] == ("incr 31 06", "waiting")
    assert overdue(found, now) == []


def test_a_backup_at_work_is_running_and_not_overdue() -> None:
    found = past(as_planned(until=NOW.replace(hour=6, minute=0)), at_work=True)
    assert states(found)[-1] == ("incr 31 06", "running")
    assert overdue(found) == []


def test_a_failure_is_told_at_once_and_says_why() -> None:
    six = NOW.replace(hour=6, minute=0)
    found = past(as_planned(until=six), ended("incremental", six, "failed", "s1-b is busy"))
    now = six + timedelta(minutes=5)
    assert states(found, now)[-1] == ("incr 31 06", "failed")
    assert overdue(found, now) == [("incr 31 06", "failed", False)]
    config = fleet()
    assert seen_runs(config, config.shards[0], found, now)[-1].because == "s1-b is busy"


def test_a_failure_that_a_later_try_made_good_is_done() -> None:
    six = NOW.replace(hour=6, minute=0)
    found = past(
        (*as_planned(until=six), taken(six + HOUR, "incremental")), ended("incremental", six, "failed", "why")
    )
    assert states(found)[-1] == ("incr 31 06", "done")
    assert overdue(found) == []


def test_a_skipped_run_was_not_run_and_says_why() -> None:
    six = NOW.replace(hour=6, minute=0)
    found = past(as_planned(until=six), ended("incremental", six, "skipped", "a newer one covers it"))
    config = fleet()
    run = seen_runs(config, config.shards[0], found, NOW)[-1]
    assert (run.state, run.because) == ("not run", "a newer one covers it")


def test_of_runs_a_minute_apart_each_has_its_own_end() -> None:
    minute = timedelta(minutes=1)
    last = NOW - 3 * minute
    before = taken(last - minute + timedelta(seconds=2), "incremental")
    before = before._replace(finished_at=before.started_at + timedelta(seconds=9))
    cancelled = ended("incremental", last, "cancelled", "it was cancelled")
    config = fleet(incremental_cron="* * * * *")
    found = past((taken(NOW - 3 * HOUR), before), cancelled)
    runs = seen_runs(config, config.shards[0], found, NOW)[-5:]
    assert [(NOW - run.due_at, run.state, run.because) for run in runs if run.due_at < NOW] == [
        (4 * minute, "done", None),
        (3 * minute, "failed", "it was cancelled"),
        (2 * minute, "not run", "nothing started it"),
        (1 * minute, "not run", "nothing started it"),
    ]


def test_an_incremental_that_a_longer_full_covers_is_done() -> None:
    six = NOW.replace(hour=6, minute=0)
    skipped = ended("incremental", six, "skipped", "another backup is being taken")
    full = taken(six - timedelta(minutes=15))
    found = past((*as_planned(until=full.started_at), full), skipped)
    config = fleet()
    run = seen_runs(config, config.shards[0], found, NOW)[-1]
    assert (run.state, run.label) == ("done", full.label)
    assert overdue(found) == []


def test_a_full_stands_for_an_incremental_and_not_the_other_way_round() -> None:
    six = NOW.replace(hour=6, minute=0)
    found = past((*as_planned(until=six), taken(six + HOUR)))
    assert overdue(found) == []
    only = tuple(each for each in as_planned() if each.kind == "incremental" or each.started_at < TWO - DAY)
    assert ("full 31 02", "not run", True) in overdue(past(only))


def test_a_weekly_full_that_is_missing_is_overdue_days_later() -> None:
    links = tuple(each for each in as_planned() if each.kind == "incremental")
    found = past((taken(NOW - 10 * DAY), *links))
    assert overdue(found, full_cron="0 2 * * sat") == [("full 28 02", "not run", False)]


def test_runs_of_other_shards_and_flows_say_nothing() -> None:
    six = NOW.replace(hour=6, minute=0)
    other = ended("incremental", six, "failed", "why").model_copy(update={"shard": "s2"})
    found = past(as_planned(until=six), other, ended("proof", six, "failed", "why"))
    assert states(found)[-1] == ("incr 31 06", "not run")


def test_the_next_run_is_the_next_that_is_due() -> None:
    config = fleet()
    (shard,) = config.shards
    following = next_run(config, shard, NOW)
    assert following is not None
    assert (following.kind, following.due_at) == ("incremental", NOW.replace(hour=12, minute=0))
    at_two = fleet(incremental_cron="0 2 * * *")
    following = next_run(at_two, at_two.shards[0], NOW)
    assert following is not None
    assert following.kind == "full"


def by_hand(kind: str, hour: int, outcome: Any) -> RunEnded:
    """Asked for by somebody, and not by the schedule."""
    return ended(kind, NOW.replace(hour=hour, minute=0), outcome).model_copy(update={"due_at": None})


@pytest.mark.parametrize(
    ("journal", "expected"),
    [
        ((("full", 7, "failed"),), ["full"]),
        ((("incremental", 7, "failed"),), ["incremental"]),
        ((("full", 7, "failed"), ("incremental", 8, "failed")), ["full", "incremental"]),
        ((("incremental", 7, "failed"), ("full", 8, "done")), []),
        ((("full", 7, "failed"), ("full", 8, "done")), []),
        ((("full", 7, "failed"), ("incremental", 8, "done")), ["full"]),
        ((("full", 7, "failed"), ("full", 8, "cancelled")), ["full"]),
        ((("full", 7, "failed"), ("full", 8, "skipped")), ["full"]),
        ((("full", 8, "cancelled"),), []),
        ((("full", 1, "failed"), ("incremental", 5, "failed")), []),
    ],
)
def test_a_failure_counts_until_a_backup_as_good_is_taken(
    journal: tuple[tuple[str, int, str], ...], expected: list[str]
) -> None:
    """What the schedule asked for was taken: at two a full, at six an incremental."""
    found = past(as_planned(), *(by_hand(*each) for each in journal))
    assert overdue(found) == []
    assert [run.flow for run in failed_runs(found)] == expected


@pytest.mark.parametrize(
    ("kind", "taken_kind", "is_healed"),
    [
        ("incremental", "full", True),
        ("incremental", "incremental", True),
        ("full", "full", True),
        ("full", "incremental", False),
    ],
)
def test_a_backup_that_another_machine_took_heals_a_failure(
    kind: str, taken_kind: str, is_healed: bool
) -> None:
    """No journal tells of it here: it is in the repository."""
    after = taken(NOW.replace(hour=8, minute=0), taken_kind)
    assert list(failed_runs(past((after,), by_hand(kind, 9, "failed")))) != []
    assert (list(failed_runs(past((after,), by_hand(kind, 7, "failed")))) == []) is is_healed
