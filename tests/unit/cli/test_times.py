"""Moments on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.times import parse_time_option
from fleet.errors import UsageError
from fleet.moments import from_microseconds, microseconds, precise


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T02:15:00Z", datetime(2026, 3, 1, 2, 15, tzinfo=UTC)),
        ("2026-03-01 02:15:00.5z", datetime(2026, 3, 1, 2, 15, 0, 500_000, tzinfo=UTC)),
        ("2026-03-01 02:15:00.000001 UTC", datetime(2026, 3, 1, 2, 15, 0, 1, tzinfo=UTC)),
        ("2026-03-01T02:15+02:00", datetime(2026, 3, 1, 0, 15, tzinfo=UTC)),
        ("2026-03-01T02:15:00-0330", datetime(2026, 3, 1, 5, 45, tzinfo=UTC)),
        (" 2026-03-01t02:15:00Z ", datetime(2026, 3, 1, 2, 15, tzinfo=UTC)),
    ],
)
def test_a_time_with_its_zone_is_one_moment(text: str, moment: datetime) -> None:
    parsed = parse_time_option(text, "--to")
    assert (parsed, parsed.utcoffset()) == (moment, timedelta(0))


def test_a_naive_time_is_refused_and_the_hint_shows_both_ways_out() -> None:
    with pytest.raises(UsageError) as refused:
        parse_time_option("2026-03-01 02:15", "--to")
    assert refused.value.message == "--to: '2026-03-01 02:15' does not say in which time zone"
    assert "2026-03-01T02:15:00Z if it is UTC" in str(refused.value.hint)
    assert "2026-03-01T02:15:00+02:00" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("yesterday", "is no time"),
        ("", "is no time"),
        ("2026-03-01", "is a day, and should be a moment"),
        ("2026-03-01Z", "is a day"),
        ("2026-02-30T00:00:00Z", "day is out of range"),
        ("2026-03-01T24:00:00Z", "hour must be in 0..23"),
        ("2026-03-01T23:59:60Z", "second must be in 0..59"),
        ("2026-03-01T02:15:00.1234567Z", "is no time"),
        ("2026-03-01T02:15:00+25:00", "is no time"),
        ("2026-03-01T02:15:00+02:99", "minutes of an offset"),
        ("0001-01-01T00:00:00+02:00", "is no time"),
        ("1740795300", "is no time"),
    ],
)
def test_what_is_no_moment_is_refused_with_the_option_and_an_example(text: str, fault: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_time_option(text, "--between")
    assert refused.value.message.startswith("--between: ")
    assert fault in refused.value.message
    assert "Write it like 2026-03-01T02:15:00Z." in str(refused.value.hint)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001
def test_a_moment_survives_text_and_microseconds(naive: datetime, hours: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert parse_time_option(moment.isoformat(), "--to") == moment
    assert from_microseconds(microseconds(moment)) == moment
    assert parse_time_option(precise(moment) + "Z", "--to") == moment
