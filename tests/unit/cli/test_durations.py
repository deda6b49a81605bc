"""Spans of time on the command line."""

from __future__ import annotations

import pytest

from cli.durations import parse_duration_option
from fleet.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("2d", 172_800)],
)
def test_a_span_is_whole_seconds(text: str, seconds: int) -> None:
    assert parse_duration_option(text, "--delay") == seconds


@pytest.mark.parametrize("text", ["", "1", "1 hour", "-1h", "30m1h", "1.5h"])
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"--delay: .* is no span of time") as caught:
        parse_duration_option(text, "--delay")
    assert "1h30m" in (caught.value.hint or "")


def test_a_span_of_centuries_is_a_slip() -> None:
    with pytest.raises(UsageError, match="longer than ten years"):
        parse_duration_option("99999d", "--delay")
