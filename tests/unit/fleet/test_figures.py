"""Figures for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from cli.progress import measured
from fleet import figures


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (2_090_000_000, "2.09 GB"),
        (20_000_000_000_000, "20.0 TB"),
        (5_000_000_000_000_000_000, "5000 PB"),
    ],
)
def test_a_size_has_three_digits_that_matter(count: int, text: str) -> None:
    assert figures.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


def test_a_part_is_told_in_the_unit_of_the_whole() -> None:
    assert figures.part(1_080_000_000, 2_090_000_000) == "1.08 of 2.09 GB"
    assert figures.part(20_000_000, 2_090_000_000) == "0.02 of 2.09 GB"
    assert figures.part(5, 10) == "5 of 10 B"


def test_a_part_is_never_larger_than_the_whole() -> None:
    assert figures.part(3_000_000, 2_000_000) == "2.00 of 2.00 MB"


def test_a_countdown_looks_like_a_clock() -> None:
    assert [figures.countdown(seconds) for seconds in (5, 200, 7500)] == ["0:05", "3:20", "2:05:00"]


def test_a_moment_is_told_in_utc() -> None:
    at = datetime(2026, 3, 1, 4, 15, tzinfo=timezone(timedelta(hours=2)))
    assert figures.moment(at) == "2026-03-01 02:15:00"
    assert figures.moment(at) == figures.moment(at.astimezone(UTC))


def test_nothing_measured_is_a_dash() -> None:
    assert figures.rate(100, 0) == "-"
    assert figures.ratio(100, 0) == "-"
    assert figures.ratio(310, 100) == "3.1 : 1"


def test_progress_says_as_much_as_it_knows() -> None:
    assert measured(0, 100, None, None) == ""
    assert measured(5_000_000, None, 1_000_000, None) == "5.00 MB  1.00 MB/s"
    assert measured(5_000_000, 9_000_000, None, None).rstrip() == "5.00 of 9.00 MB"
    assert measured(5_000_000, 9_000_000, 1e6, 4) == "5.00 of 9.00 MB  1.00 MB/s     0:04 left"
