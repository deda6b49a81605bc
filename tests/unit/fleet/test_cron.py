"""Cron lines: what a scheduler would take, and what it would only refuse at night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from fleet.cron import check_cron, firings


@pytest.mark.parametrize(
    "line",
    [
        "* * * * *",
        "0 2 * * *",
        "0 */6 * * *",
        "  0   2\t* * * ",
        "0,15,30,45 0-6,22,23 1-7 * 0",
        "5/10 2 * * *",
        "0 0 29 2 *",
        "0 0 31 * *",
        "0 0 31 2,3 *",
        "0 0 31 2 MON",
        "0 0 * jan-MAR,Dec sun,fri-SAT",
        "59 23 31 12 7",
        "0-58/2 * * * 1-5/2",
    ],
)
def test_a_line_that_can_fire_is_taken(line: str) -> None:
    check_cron(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "not five fields"),
        ("0 2 * *", "not five fields"),
        ("0 2 * * * *", "not five fields"),
        ("@daily", "not five fields"),
        ("60 * * * *", "minute 60 is not between 0 and 59"),
        ("* 24 * * *", "hour 24"),
        ("* * 0 * *", "day of month 0"),
        ("* * 32 * *", "day of month 32"),
        ("* * * 13 *", "month 13"),
        ("* * * * 8", "day of week 8"),
        ("* * * janu *", "month 'janu' is not known"),
        ("mon * * * *", "minute 'mon' is not known"),
        ("*/0 * * * *", "minute step 0"),
        ("*/99 * * * *", "minute step 99"),
        ("10-5 * * * *", "runs backwards"),
        ("* 22-2 * * *", "runs backwards"),
        ("1,,2 * * * *", "minute '1,,2' is not a list"),
        ("-1 * * * *", "is not a list"),
        ("1- * * * *", "is not a list"),
        ("*5 * * * *", "is not a list"),
        ("1.5 * * * *", "is not a list"),
        ("? * * * *", "is not a list"),
        ("* * L * *", "day of month 'l' is not known"),
        ("* * 15W * *", "is not a list"),
        ("* * * * 5#2", "is not a list"),
        ("9999 * * * *", "is not a list"),
        ("\u0661 * * * *", "is not a list"),
        ("0 0 30 2 *", "never fires: no month of 2 has a day 30"),
        ("0 0 31 feb,apr,6 *", "never fires"),
    ],
)
def test_a_line_that_cannot_fire_is_refused_with_the_reason(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_cron(line)


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("0 2 * * *", 28),
        ("0 */6 * * *", 4 * 28),
        ("30 1 * * 0", 4),
        ("30 1 * * 7", 4),
        ("0 0 31 * *", 0),
        ("0 0 1 2 *", 1),
        # Either is enough where both are given; with a star both must fit.
        ("0 0 1 * mon", 5),
        ("0 0 */2 * mon", 2),
    ],
)
def test_a_line_fires_as_often_as_it_says(line: str, count: int) -> None:
    # February 2026 begins on a Sunday.
    start, end = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    fired = list(firings(line, UTC, start, end))
    assert len(fired) == count
    assert fired == sorted(set(fired))


def test_a_line_fires_by_the_clocks_of_its_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 28, tzinfo=UTC)
    fired = list(firings("0 4 * * *", berlin, start, start + timedelta(days=2)))
    assert fired == [datetime(2026, 3, 28, 3, tzinfo=UTC), datetime(2026, 3, 29, 2, tzinfo=UTC)]


def test_an_hour_that_is_skipped_or_repeated_fires_once() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for day in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        assert len(list(firings("30 2 * * *", berlin, day, day + timedelta(hours=12)))) == 1


def test_nothing_fires_before_the_start_or_at_the_end() -> None:
    start = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
    assert list(firings("0 2 * * *", UTC, start, start + timedelta(days=1))) == [start]
