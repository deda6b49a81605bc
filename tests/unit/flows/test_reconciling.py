"""Which runs are dead, and which fulls were missed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from drills.status.schedule_known import KnownSince, ScheduleKnown
from flows.reconciling import RunKnown, dead_runs, missed_fulls
from tests.unit.flows.scheduled_fleets import SHARD_A, described

NOW = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
DUE = datetime(2026, 3, 3, 2, 0, tzinfo=UTC)
FLEET = described(schedule={"full_cron": "0 2 * * *", "stagger_minutes": 0}, shards=[SHARD_A])


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


RUN = RunKnown(UUID(int=1), "full-a", "backup", "a", "full", "RUNNING", ago(60), ago(60), ago(10))


def dead(run: RunKnown, *, at_work: tuple[str, ...] = (), listened: bool = True) -> bool:
    return bool(dead_runs([run], at_work, now=NOW, server_listened=listened))


def test_a_run_that_was_silent_for_long_is_dead() -> None:
    assert dead(RUN)
    assert dead(replace(RUN, heard_at=None))
    assert dead(replace(RUN, state="CANCELLING"))
    assert dead(replace(RUN, shard=None, flow="other"))


def test_a_run_that_was_heard_of_lives() -> None:
    assert not dead(replace(RUN, heard_at=ago(2)))
    assert not dead(replace(RUN, heard_at=None, since=ago(2)))


def test_who_has_the_turn_of_the_shard_lives_whatever_the_scheduler_heard() -> None:
    assert not dead(RUN, at_work=("a",))


def test_a_server_that_was_away_heard_nobody() -> None:
    assert not dead(RUN, listened=False)


def test_a_process_that_never_began_is_given_time() -> None:
    pending = replace(RUN, state="PENDING", heard_at=None)
    assert not dead(replace(pending, since=ago(4)))
    assert dead(replace(pending, since=ago(6)))


def test_a_run_that_is_ahead_is_never_dead() -> None:
    assert not dead(replace(RUN, state="SCHEDULED"))


def missed(labels: list[str], *runs: RunKnown, at_work: tuple[str, ...] = ()) -> dict[str, datetime]:
    return missed_fulls(FLEET, {"a": labels}, runs, at_work, now=NOW)


def test_a_full_is_missed_where_none_began_since_it_was_due() -> None:
    assert missed(["20260302T020000Z-full", "20260303T060000Z-incremental"]) == {"a": DUE}
    assert missed([]) == {"a": DUE}
    assert missed(["20260303T021500Z-full"]) == {}


def test_a_full_is_not_begun_while_somebody_has_the_turn_of_its_shard() -> None:
    assert missed([], at_work=("a",)) == {}
    assert missed([], at_work=("b",)) == {"a": DUE}


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "CANCELLING"])
def test_it_is_not_missed_while_something_is_at_work_on_the_shard(state: Any) -> None:
    assert missed([], replace(RUN, state=state, kind="incremental")) == {}
    assert missed([], replace(RUN, state=state, shard="b")) == {"a": DUE}


def test_it_is_not_missed_while_a_full_is_about_to_begin() -> None:
    ahead = replace(RUN, state="SCHEDULED", expected_at=NOW - timedelta(hours=7))
    assert missed([], ahead) == {}
    assert missed([], replace(ahead, kind="incremental")) == {"a": DUE}
    assert missed([], replace(ahead, expected_at=NOW + timedelta(hours=17))) == {"a": DUE}


def test_the_scheduler_has_some_minutes_for_what_is_due() -> None:
    fleet = described(schedule={"full_cron": "55 8 * * *", "stagger_minutes": 0}, shards=[SHARD_A])
    assert missed_fulls(fleet, {"a": ["20260302T090000Z-full"]}, (), (), now=NOW) == {}


def test_a_shard_that_could_not_be_asked_for_is_left_alone() -> None:
    assert missed_fulls(FLEET, {}, (), (), now=NOW) == {}


def known(tmp_path: Path, *lines: tuple[str, datetime]) -> KnownSince:
    """What is known after these lines, each seen for the first time then."""
    schedule = ScheduleKnown(tmp_path / "schedule.json")
    found: KnownSince = {}
    for line, at in lines:
        fleet = described(schedule={"full_cron": line, "stagger_minutes": 0}, shards=[SHARD_A])
        found = schedule.note(fleet, at)
    return found


def test_a_line_that_was_moved_to_an_earlier_hour_of_today_missed_nothing(tmp_path: Path) -> None:
    """Fulls were taken at 14 o'clock; at nine the line says two."""
    labels = {"a": ["20260302T140000Z-full"]}
    since = known(tmp_path, ("0 14 * * *", ago(60)), ("0 2 * * *", ago(1)))
    assert missed_fulls(FLEET, labels, (), (), now=NOW, known_since=since) == {}
    assert missed_fulls(FLEET, labels, (), (), now=NOW) == {"a": DUE}


def test_what_the_new_line_asks_for_from_then_on_is_missed(tmp_path: Path) -> None:
    labels = {"a": ["20260302T140000Z-full"]}
    since = known(tmp_path, ("0 14 * * *", ago(60)), ("0 2 * * *", ago(1)))
    tomorrow = NOW + timedelta(days=1)
    found = missed_fulls(FLEET, labels, (), (), now=tomorrow, known_since=since)
    assert found == {"a": DUE + timedelta(days=1)}


def test_a_first_line_is_known_since_ever(tmp_path: Path) -> None:
    since = known(tmp_path, ("0 2 * * *", ago(1)))
    assert missed_fulls(FLEET, {"a": []}, (), (), now=NOW, known_since=since) == {"a": DUE}
