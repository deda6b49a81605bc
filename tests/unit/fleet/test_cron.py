"""Cron lines: what a scheduler would take, and what it would only refuse at night."""

from __future__ import annotations

import pytest

from fleet.cron import check_cron


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
