"""What fulls of days, weeks and months add: reckoned as retention keeps them, day by day, for years."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleet.policy import Retention
from repository.catalog import BackupSummary
from repository.forecast import Keeping, Load, Past, Slot, Taken, kept_alone, plateau, take_all, usage_over
from repository.kept_alone import NOTHING, KeptFulls, Rules
from repository.retention import apply_policy

TODAY = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
LOAD = Load(full_bytes=1000.0, change_a_day=0.01, archive_bytes_a_day=0.0)
STORED = Keeping("stored", 7, 28, 30, 2, 1.0)
REFERRING = Keeping("referring", 35, 28, 30, 2, 1.0)


def timetable(days: int, *, every: int = 1) -> tuple[Slot, ...]:
    """A full in the night, an incremental at noon."""
    fulls = [Slot(day + 0.7, full=True) for day in range(0, days, every)]
    return tuple(sorted([*fulls, *(Slot(day + 0.1, full=False) for day in range(days))]))


def by_retention(taken: list[Taken], day: float, policy: Retention) -> set[int]:
    """The fulls that the policy keeps for a day, a week or a month and for nothing else."""
    backups: list[BackupSummary] = []
    for number, each in enumerate(taken):
        if each.day > day:
            break
        full = each.kind != "incremental"
        at = TODAY + timedelta(days=each.day)
        backups.append(
            BackupSummary(
                shard="s1",
                label=f"b{number:06}",
                kind="full" if full else "incremental",
                started_at=at,
                finished_at=at,
                proven=False,
                files=1,
                files_bytes=1,
                stored_bytes=1,
                donor="a",
                server_version="9.7.4",
                gtid_high="",
                base=None if full else f"b{number - 1:06}",
                broken=None,
            )
        )
    kept = apply_policy(backups, policy, TODAY + timedelta(days=day)).keep
    return {
        int(name.label[1:])
        for name, reasons in kept.items()
        if all(reason.startswith("the newest full of its ") for reason in reasons)
    }


@pytest.mark.parametrize(("daily", "weekly", "monthly"), [(10, 0, 0), (0, 8, 0), (0, 0, 9), (5, 6, 7)])
@pytest.mark.parametrize("every", [1, 3])
def test_the_fulls_are_those_that_the_policy_keeps_on_each_day_of_a_month(
    daily: int, weekly: int, monthly: int, every: int
) -> None:
    policy = Retention(days=30.0, minimum_fulls=2, keep_daily=daily, keep_weekly=weekly, keep_monthly=monthly)
    taken = take_all(LOAD, STORED, timetable(430, every=every))
    kept = KeptFulls(taken, Rules(daily, weekly, monthly, today=TODAY), days=30.0, grace_days=0.0)
    for day in range(395, 426):
        wanted = by_retention(taken, float(day), policy)
        newest = next(number for number, each in enumerate(taken) if each.day >= day - 30.0)
        leads = max(number for number in range(newest) if taken[number].kind != "incremental")
        found = kept.on(float(day), leads)
        assert found.fulls == len(wanted)
        assert found.most_bytes == found.least_bytes == pytest.approx(1000.0 * len(wanted))


def test_a_year_and_longer_after_the_beginning_it_is_what_was_reckoned_for_ever() -> None:
    rules = Rules(daily=7, weekly=5, monthly=11, today=TODAY)
    keeping = replace(STORED, beyond=rules)
    without = list(usage_over(take_all(LOAD, STORED, timetable(500)), LOAD, STORED, [480.0]))
    days = [float(day) for day in range(450, 481)]
    usages = list(usage_over(take_all(LOAD, keeping, timetable(500)), LOAD, keeping, days))
    most = max(each.total_bytes for each in usages) - without[0].total_bytes
    assert kept_alone(LOAD, keeping, timetable(400)).most_bytes == pytest.approx(most, abs=1000.0)
    top, plain = plateau(LOAD, keeping, timetable(400)), plateau(LOAD, STORED, timetable(400))
    assert top is not None and plain is not None
    assert top.total_bytes == plain.total_bytes + kept_alone(LOAD, keeping, timetable(400)).most_bytes


def test_years_of_months_are_reckoned_though_the_forecast_ends_before() -> None:
    found = kept_alone(LOAD, replace(STORED, beyond=Rules(monthly=60, today=TODAY)), timetable(400))
    assert 60 <= found.fulls <= 61
    assert kept_alone(LOAD, STORED, timetable(400)) == NOTHING


def test_fulls_of_one_line_share_its_pages_and_those_of_two_share_none() -> None:
    taken = [
        Taken(0.0, "stored", 1000.0),
        *(Taken(float(day), "referring", 20.0) for day in range(1, 10)),
        Taken(10.0, "stored", 1000.0),
        Taken(11.0, "referring", 20.0),
        Taken(90.0, "stored", 1000.0),
    ]
    kept = KeptFulls(taken, Rules(daily=4, repack_below=0.0, today=TODAY), days=30.0, grace_days=0.0)
    found = kept.on(90.0, 12)
    # Days 11 and 10 of the second line, 9 and 8 of the first: two images, and what changed in between.
    assert (found.fulls, found.least_bytes) == (4, 2 * 1000.0 + 2 * 20.0)
    # Never written anew: all packs of the lines up to what is kept.
    assert found.most_bytes == (1000.0 + 9 * 20.0) + (1000.0 + 20.0)
    some = KeptFulls(taken, Rules(daily=4, repack_below=0.98, today=TODAY), days=30.0, grace_days=0.0)
    assert some.on(90.0, 12).most_bytes == pytest.approx(1020.0 / 0.98 + 1020.0)


def test_what_a_line_of_the_window_holds_anyway_adds_nothing() -> None:
    keeping = replace(REFERRING, beyond=Rules(daily=3, today=TODAY))
    taken = take_all(LOAD, keeping, timetable(90))
    (at,) = usage_over(taken, LOAD, keeping, [60.0])
    (without,) = usage_over(taken, LOAD, REFERRING, [60.0])
    assert at == without


def test_fulls_that_are_there_already_are_kept_too() -> None:
    past = Past(tuple(Taken(float(day), "stored", 10.0) for day in (-400, -200, -100, -50, -40, -1)))
    keeping = replace(STORED, days=7, minimum_fulls=1, beyond=Rules(monthly=3, today=TODAY))
    (now,) = usage_over(past.taken, LOAD, keeping, [0.0], past)
    # The newest and the one that leads to the window's first points; beyond these of three months the newest.
    assert now.total_bytes == 2 * 10.0 + 2 * 10.0
