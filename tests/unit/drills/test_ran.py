"""Why nothing was started: because nobody was there to do it, where this machine knows that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drills.status.ran import STEP, Ran, RanHistory, Span

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def history(tmp_path: Path) -> RanHistory:
    return RanHistory(tmp_path / "state" / "ran.json")


def test_notes_in_a_row_are_one_span_and_a_pause_begins_another(history: RanHistory) -> None:
    for minutes in (0, 1, 2, 90, 91):
        history.note(["service"], NOON + minutes * MINUTE)
    assert history.read() == Ran(
        service=(Span(NOON, NOON + 2 * MINUTE), Span(NOON + 90 * MINUTE, NOON + 91 * MINUTE))
    )


def test_a_restart_is_no_pause(history: RanHistory) -> None:
    history.note(["service"], NOON)
    history.note(["service"], NOON + 2 * MINUTE)
    assert len(history.read().service) == 1


def test_what_was_due_while_the_service_was_away_says_since_when_and_until_when() -> None:
    ran = Ran(service=(Span(NOON - 9 * HOUR, NOON - 5 * HOUR), Span(NOON - 2 * HOUR, NOON)))
    assert ran.why_not(NOON - 3 * HOUR) == (
        "backstay serve did not run here then (since 2026-03-31 07:00 UTC until 2026-03-31 10:00)"
    )
    assert ran.why_not(NOON + HOUR) == (
        "backstay serve did not run here then (since 2026-03-31 12:00 UTC, and not yet again)"
    )


def test_what_was_due_while_it_ran_or_before_it_ever_did_is_not_explained_so() -> None:
    ran = Ran(service=(Span(NOON - HOUR, NOON),))
    for due in (NOON - HOUR, NOON, NOON + STEP, NOON - 2 * HOUR):
        assert ran.why_not(due) is None
    assert Ran().why_not(NOON) is None


def test_a_service_whose_scheduler_did_not_run_says_so(history: RanHistory) -> None:
    for minutes in range(120):
        runs = minutes < 10 or minutes > 100
        history.note(["service", "schedule"] if runs else ["service"], NOON + minutes * MINUTE)
    ran = history.read()
    assert len(ran.service) == 1
    assert ran.why_not(NOON + HOUR) == (
        "the scheduler of backstay serve did not run then (since 2026-03-31 12:09 UTC until 2026-03-31 13:41)"
    )
    assert ran.why_not(NOON + 5 * MINUTE) is None


def test_what_a_clock_that_was_ahead_noted_is_taken_back(history: RanHistory) -> None:
    history.note(["service"], NOON)
    history.note(["service"], NOON + 26 * HOUR)
    history.note(["service"], NOON + MINUTE)
    assert history.read().service == (Span(NOON, NOON + MINUTE),)


def test_it_is_kept_for_two_months_and_a_file_without_sense_is_nothing(
    history: RanHistory, tmp_path: Path
) -> None:
    history.note(["service"], NOON - timedelta(days=61))
    history.note(["service"], NOON)
    assert history.read().service == (Span(NOON, NOON),)
    (tmp_path / "state" / "ran.json").write_text('{"service": [[1]]}')
    assert history.read() == Ran()
    (tmp_path / "file").write_text("")
    assert not RanHistory(tmp_path / "file" / "ran.json").note(["service"], NOON)
