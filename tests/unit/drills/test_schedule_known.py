"""A cron line asks for nothing before it was known."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from drills.status.runs import overdue_runs, past_of, seen_runs
from drills.status.schedule_known import KnownSince, ScheduleKnown
from fleet.model import Fleet
from tests.unit.drills.test_runs import DAY, HOUR, NOW, TWO, as_planned, fleet

MOVED = fleet(full_cron="0 5 * * *")


def told(config: Fleet, known: KnownSince) -> tuple[set[str], list[str]]:
    """States of the fulls, and what is overdue."""
    shard = config.shards[0]
    past = past_of("s1", as_planned(), (), at_work=False, known_since=known)
    runs = seen_runs(config, shard, past, NOW)
    states = {run.state for run in runs if run.kind == "full"}
    return states, [each.run.kind for each in overdue_runs(config, shard, past, NOW)]


def test_a_daily_full_moved_later_in_the_day_is_not_overdue(tmp_path: Path) -> None:
    schedule = ScheduleKnown(tmp_path / "state" / "schedule.json")
    assert schedule.note(fleet(), NOW - DAY) == {}
    known = schedule.note(MOVED, NOW)
    assert known == {("s1", "full"): NOW}
    assert told(MOVED, known) == (set(), [])
    # As it would be without that knowledge.
    assert told(MOVED, {}) == ({"done", "not run"}, ["full"])


def test_the_first_line_that_is_seen_counts_from_the_first_backup_on(tmp_path: Path) -> None:
    known = ScheduleKnown(tmp_path / "schedule.json").note(MOVED, NOW)
    assert known == {}


def test_a_line_that_stays_keeps_its_beginning_and_is_missed_from_then_on(tmp_path: Path) -> None:
    schedule = ScheduleKnown(tmp_path / "schedule.json")
    schedule.note(fleet(), TWO - DAY)
    schedule.note(MOVED, TWO)
    known = schedule.note(MOVED, NOW)
    assert known == {("s1", "full"): TWO}
    assert told(MOVED, known) == ({"not run"}, ["full"])


def test_another_time_zone_is_another_line_and_a_shard_more_is_not(tmp_path: Path) -> None:
    schedule = ScheduleKnown(tmp_path / "schedule.json")
    schedule.note(fleet(), NOW)
    assert schedule.note(fleet(stagger_minutes=30), NOW + HOUR) == {}
    assert len(schedule.note(fleet(timezone="Europe/Berlin"), NOW + HOUR)) == 2


def test_two_processes_of_which_one_has_the_old_configuration_do_not_move_the_beginning(
    tmp_path: Path,
) -> None:
    schedule, minute = ScheduleKnown(tmp_path / "schedule.json"), timedelta(minutes=1)
    schedule.note(fleet(), NOW)
    for step in range(1, 40, 2):
        assert schedule.note(MOVED, NOW + step * minute) == {("s1", "full"): NOW + minute}
        assert schedule.note(fleet(), NOW + (step + 1) * minute) == {}


def test_a_line_that_comes_back_after_a_while_is_new(tmp_path: Path) -> None:
    schedule = ScheduleKnown(tmp_path / "schedule.json")
    schedule.note(fleet(), NOW)
    schedule.note(MOVED, NOW + HOUR)
    assert schedule.note(fleet(), NOW + 2 * HOUR) == {("s1", "full"): NOW + 2 * HOUR}


def test_a_file_without_sense_is_as_none(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_text("{")
    assert ScheduleKnown(path).note(MOVED, NOW) == {}
