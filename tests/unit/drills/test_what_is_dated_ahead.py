"""A clock that was set back, or is behind: what is dated ahead excuses nothing, and the status says so."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drills.status import places
from drills.status.judge import judge_shard
from drills.status.lag_history import LagHistory
from drills.status.look import Looker
from drills.status.report import Health, LagPoint
from drills.status.run_journal import RunEnded, RunJournal
from drills.status.schedule_known import ScheduleKnown
from drills.status.service_state import PartSeen, ServiceSeen, judge_service
from fleet.model import Fleet
from repository.manifest import Manifest
from tests.unit.drills.test_judge import LOOK, STATUS, WELL, backup
from tests.unit.drills.test_look import StandingClock, fleet, manifest, repository
from tests.unit.drills.test_notify import LAG, shard, told
from tests.unit.drills.test_notify import fleet as looked_at
from tests.unit.drills.test_runs import fleet as scheduled

__all__ = ["fleet", "manifest", "repository"]

JUMP = timedelta(hours=26)
NOW = datetime(2026, 3, 31, 9, 41, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_shard_of_which_something_is_dated_ahead_is_not_well() -> None:
    assert judge_shard(WELL) == ()
    last = replace(STATUS.last, committed_at=NOW + JUMP) if STATUS.last else None
    for facts in (
        WELL._replace(backups=(backup(-1.1),)),
        WELL._replace(archive=LOOK._replace(status=replace(STATUS, last=last))),
    ):
        [found] = judge_shard(facts)
        assert (found.health, found.code) == (Health.WARNING, "clock")
        assert "26 h" in found.message or "1 d 2 h" in found.message
    assert judge_shard(WELL._replace(backups=(backup(-0.003),))) == ()


def test_what_was_written_down_by_a_clock_that_was_ahead_does_not_say_that_it_is_done(
    fleet: Fleet, manifest: Manifest
) -> None:
    """A run that Prefect began a day early is the only one that it makes for that time."""
    now = StandingClock.at
    journal = RunJournal(places.runs_file(fleet))

    def overdue() -> bool:
        first = Looker(fleet, clock=StandingClock()).look().shards[0]
        return "backup-overdue" in {finding.code for finding in first.findings}

    def write_down(ended_at: datetime) -> None:
        run = RunEnded(
            flow="incremental",
            shard="s1",
            due_at=now.replace(hour=6),
            started_at=ended_at - timedelta(minutes=1),
            ended_at=ended_at,
            outcome="done",
        )
        journal.append(run)

    assert overdue()
    write_down(now + JUMP)
    assert overdue()
    write_down(now - 5 * HOUR)
    assert not overdue()


def test_a_cron_line_that_became_known_in_the_future_is_known_from_now_on(tmp_path: Path) -> None:
    schedule = ScheduleKnown(tmp_path / "schedule.json")
    schedule.note(scheduled(), NOW + JUMP - HOUR)
    moved = scheduled(full_cron="0 5 * * *")
    assert schedule.note(moved, NOW + JUMP) == {("s1", "full"): NOW + JUMP}
    assert schedule.note(moved, NOW) == {("s1", "full"): NOW}
    assert schedule.note(moved, NOW + HOUR) == {("s1", "full"): NOW}


@pytest.mark.parametrize("ahead", [JUMP, timedelta(days=3650)])
def test_who_was_told_in_the_future_is_told_again_within_a_day(ahead: timedelta) -> None:
    trouble = looked_at(shard("s1", LAG), hours=ahead / HOUR)
    _, known = told(trouble, {})
    again, known = told(looked_at(shard("s1", LAG)), known)
    assert again == [("s1", "warning", True)]
    assert told(looked_at(shard("s1", LAG), hours=1), known)[0] == []
    # A look that began before somebody else's ended tells nothing twice.
    assert told(looked_at(shard("s1", LAG), hours=-0.01), known)[0] == []


def test_a_part_that_is_down_since_a_time_to_come_is_told(tmp_path: Path) -> None:
    def found(down_since: datetime) -> int:
        part = PartSeen(name="runner", state="starting", since=down_since, down_since=down_since)
        seen = ServiceSeen(pid=os.getpid(), started_at=NOW, parts=(part,))
        return len(judge_service(seen, tmp_path, NOW))

    assert [found(NOW + JUMP), found(NOW - JUMP)] == [1, 1]
    assert [found(NOW + timedelta(seconds=1)), found(NOW - timedelta(seconds=1))] == [0, 0]


def test_the_lag_of_the_last_day_is_that_of_the_last_day_whatever_the_clock_did(tmp_path: Path) -> None:
    history = LagHistory(tmp_path / "lag.json")
    for at in (NOW, NOW + JUMP, NOW + timedelta(minutes=1), NOW - JUMP):
        points = history.note({"s1": 1.0}, at)["s1"]
        assert points[-1] == LagPoint(at, 1.0)
        assert all(at - timedelta(days=1) <= each.at <= at for each in points)
