from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from benchmarks.idle_runner import cron_at, idle_deployments
from benchmarks.month import Pace
from benchmarks.month_kills import FIRST, LAST, VICTIMS, plan_kills
from benchmarks.month_report import general, outcome_sheet, stuck
from benchmarks.month_watch import Noted, Taken, TurnSeen, Watch, at_once, chosen, turns_at_once
from benchmarks.scheduling import Case, Measured, part_of, sheet
from benchmarks.stories import LoneStory
from fleet.errors import UsageError
from repository.turn_objects import Turn, TurnTerms

NOON = datetime(2030, 5, 4, 12, tzinfo=UTC)


def at(seconds):
    return NOON + timedelta(seconds=seconds)


def taken(shard, began, ended):
    return Taken(shard, f"{began}-full", "full", at(began), at(ended))


def turn(number, token, beside=None):
    return TurnSeen("s1", number, token, f"host {token}", beside)


def run(name, kind, state, since=0):
    return {
        "name": name,
        "tags": ["backstay", f"kind:{kind}"],
        "parameters": {},
        "state_name": state,
        "state_type": state.upper(),
        "state": {"timestamp": at(since).isoformat()},
    }


def test_backups_of_one_shard_that_overlap_are_found_and_those_of_two_are_not():
    assert at_once([taken("s1", 0, 10), taken("s2", 5, 15), taken("s1", 10, 20)]) == []
    assert len(at_once([taken("s1", 0, 30), taken("s1", 5, 6), taken("s1", 29, 40)])) == 2


def test_a_turn_that_comes_after_anothers_or_beside_it_is_found():
    assert turns_at_once([turn(1, "a"), turn(2, "a"), turn(4, "b"), turn(5, "c")]) == []
    (found,) = turns_at_once([turn(1, "a"), turn(2, "b"), turn(3, "a")])
    assert "turn 3" in found
    assert turns_at_once([turn(1, "a"), turn(2, "b", beside="host a")])


def test_each_victim_is_killed_and_always_the_same_at_the_same_time():
    plan = plan_kills(240, random.Random(1))
    assert plan == plan_kills(240, random.Random(1))
    assert {each.victim for each in plan} == set(VICTIMS)
    assert all(FIRST * 240 <= each.after <= LAST * 240 for each in plan)
    assert [each.after for each in plan] == sorted(each.after for each in plan)
    assert len(plan_kills(1200, random.Random(1))) == 18


def test_the_month_has_two_fulls_and_three_incrementals_to_each():
    assert Pace.of(20) == Pace(10, 3, 3, 4.0)
    assert Pace.of(4) == Pace(2, 1, 2, 2.0)


def test_moments_are_chosen_in_the_window_and_from_all_shards():
    noted = [Noted(shard, at(second), {}) for shard in ("s1", "s2", "s3") for second in range(20)]
    found = chosen(noted, at(10), 5, random.Random(1))
    assert {each.shard for each in found} == {"s1", "s2", "s3"}
    assert all(each.at >= at(10) for each in found)
    assert len(chosen(noted[:2], at(0), 5, random.Random(1))) == 2


def test_runs_are_counted_by_outcome_and_those_ahead_are_not():
    runs = [run("a", "proof", "Completed"), run("b", "proof", "Crashed"), run("c", "proof", "Scheduled")]
    assert outcome_sheet(runs).rows == (("proof", "1", "0", "0", "1", "0", "0", "0", "2"),)


def test_only_runs_that_began_before_and_have_not_ended_are_stuck():
    runs = [run("a", "proof", "Running", 5), run("b", "proof", "Running", 15), run("c", "proof", "Failed", 1)]
    (found,) = stuck(runs, at(10))
    assert found.startswith("a (proof) is Running")


def test_reasons_lose_what_stands_for_one_backup_alone():
    one = general("20300504T120000Z-full was taken since it was due, at 2030-05-04 12:00:00 UTC")
    assert one == general("20300504T130000Z-full was taken since it was due, at 2030-05-04 13:00:01 UTC")


def test_idle_deployments_are_due_once_and_as_many_in_each_minute():
    fleet = SimpleNamespace(name="many")
    found = idle_deployments(fleet, 10, NOON.replace(minute=58), 5)
    lines = [each.schedules[0].line for each in found]
    assert lines[:3] == ["58 12 4 5 *", "59 12 4 5 *", "0 13 4 5 *"]
    assert {lines.count(line) for line in lines} == {2}
    assert cron_at(NOON) == "0 12 4 5 *"


def test_runs_that_did_not_begin_count_as_late_as_they_were():
    measured = Measured("SQLite", Case(5, 2), 3.0, (1.0, 2.0), (90.0,), 0.1, 10**8, 0.0, 0.2)
    (row,) = sheet([measured]).rows
    assert row[2:8] == ("3", "2", "1", "2.0", "90.0", "90.0")
    assert part_of([1, 2, 3], 0.5) == 2


def a_turn(number, token, put, *, released=False):
    terms = TurnTerms("shard", "s1")
    return Turn(terms, number, token, f"host {token}", at(0), at(put), at(put + 120), released)


def watched(*turns):
    watch = Watch(SimpleNamespace(shards=()), None)
    for each in turns:
        watch._saw(each)
    return turns_at_once(watch.turns.values())


def test_a_turn_that_is_put_while_anothers_is_in_force_is_seen():
    (found,) = watched(a_turn(1, "a", 0), a_turn(2, "b", 60))
    assert found == "s1: turn 2 of host b was put while host a had it"


def test_a_turn_after_one_that_was_released_or_is_over_is_not():
    assert watched(a_turn(1, "a", 0), a_turn(2, "a", 9, released=True), a_turn(3, "b", 10)) == []
    assert watched(a_turn(1, "a", 0), a_turn(2, "b", 121)) == []


def test_a_lone_story_is_told_its_own_numbers_and_no_others(tmp_path):
    def play(directory, say, **numbers):
        return numbers

    story = LoneStory(play, 1, {"minutes": 20, "shards": 8})
    assert story.told(tmp_path, {"minutes": 4, "days": None}, print) == {"minutes": 4, "shards": 8}
    with pytest.raises(UsageError, match="--days means nothing"):
        story.told(tmp_path, {"days": 3}, print)
