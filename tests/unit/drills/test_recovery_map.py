"""Which hours of the last 30 days can be recovered, hour by hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup.archive.report import SourceLag, Window
from drills.status.recovery_map import HOURS, Known, Span, proven_spans, reach_of, recovery_map
from drills.status.report import BackupSeen, Cell, ProofSeen

NOW = datetime(2026, 3, 31, 9, 41, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
THIS_HOUR = NOW.replace(minute=0, second=0)


def never(_moment: datetime) -> datetime | None:
    return None


def known(**changes: Any) -> Known:
    """A shard whose first backup is ten hours old, archived without a gap since."""
    start = NOW - 10 * HOUR
    facts: dict[str, Any] = {
        "since": start,
        "until": NOW,
        "windows": (Window(start, NOW),),
        "proven": (),
        "verified_at": never,
    }
    return Known(**facts | changes)


def last(count: int, facts: Known) -> list[Cell]:
    return list(recovery_map(facts, NOW).cells[-count:])


def test_there_is_a_cell_for_every_hour_and_the_last_one_is_going_on() -> None:
    found = recovery_map(known(), NOW)
    assert len(found.cells) == HOURS == 720
    assert found.first_hour + (HOURS - 1) * HOUR == THIS_HOUR


def test_before_the_first_backup_nothing_is_asked_for() -> None:
    assert last(12, known()) == [Cell.NOTHING] + [Cell.ARCHIVED] * 11
    assert set(recovery_map(known(since=None), NOW).cells) == {Cell.NOTHING}


def test_an_hour_that_is_torn_by_a_gap_is_lost() -> None:
    gap = THIS_HOUR - 3 * HOUR + timedelta(minutes=10)
    windows = (Window(NOW - 10 * HOUR, gap), Window(gap + timedelta(minutes=5), NOW))
    assert last(5, known(windows=windows)) == [
        Cell.ARCHIVED,
        Cell.LOST,
        Cell.ARCHIVED,
        Cell.ARCHIVED,
        Cell.ARCHIVED,
    ]


def test_without_an_archive_every_hour_since_the_first_backup_is_lost() -> None:
    assert last(2, known(windows=())) == [Cell.LOST, Cell.LOST]


def test_what_nobody_knows_is_not_called_lost() -> None:
    end = THIS_HOUR - 2 * HOUR
    facts = known(windows=(Window(NOW - 10 * HOUR, end),), until=end)
    assert last(4, facts) == [Cell.ARCHIVED, Cell.NOTHING, Cell.NOTHING, Cell.NOTHING]


def test_a_restore_proves_the_hours_that_it_went_through() -> None:
    proven = (Span(THIS_HOUR - 3 * HOUR + timedelta(minutes=5), THIS_HOUR - 2 * HOUR),)
    assert last(5, known(proven=proven)) == [
        Cell.ARCHIVED,
        Cell.PROVEN,
        Cell.PROVEN,
        Cell.ARCHIVED,
        Cell.ARCHIVED,
    ]


def test_a_restore_proves_no_hour_that_is_lost() -> None:
    facts = known(windows=(), proven=(Span(NOW - 5 * HOUR, NOW),))
    assert last(3, facts) == [Cell.LOST] * 3


def test_an_hour_is_verified_once_all_of_it_was_read_after_its_end() -> None:
    read_until = THIS_HOUR - HOUR

    def read_at(moment: datetime) -> datetime | None:
        return NOW if moment <= read_until else None

    assert last(4, known(verified_at=read_at)) == [Cell.VERIFIED, Cell.VERIFIED, Cell.ARCHIVED, Cell.ARCHIVED]


def test_a_proof_goes_from_its_backup_to_what_it_reached() -> None:
    at = NOW - 5 * HOUR
    backup = BackupSeen("one", "full", at, at + timedelta(minutes=5), 1, 1)
    far = ProofSeen("one", NOW, True, reached_at=NOW - HOUR)
    near, failed = ProofSeen("one", NOW, True), ProofSeen("one", NOW, False, reached_at=NOW)
    gone = ProofSeen("of another one", NOW, True)
    assert proven_spans((far, near, failed, gone), (backup,)) == (
        Span(backup.finished_at, NOW - HOUR),
        Span(backup.finished_at, backup.finished_at),
    )


LAST = NOW - HOUR


@pytest.mark.parametrize(
    ("lag", "until", "end"),
    [
        (None, LAST, LAST),
        (SourceLag("a", 0, 0.0, None), NOW, NOW),
        (SourceLag("a", 3, 20.0, None), NOW - timedelta(seconds=20), NOW - timedelta(seconds=20)),
        (SourceLag("a", 3, 90.0, None), NOW, NOW - timedelta(seconds=90)),
        (SourceLag("a", 3, None, None), NOW, LAST),
    ],
    ids=["not asked", "nothing new", "behind within the rpo", "behind beyond it", "behind, who knows"],
)
def test_an_idle_source_is_recoverable_until_now(
    lag: SourceLag | None, until: datetime, end: datetime
) -> None:
    windows = (Window(NOW - 9 * HOUR, NOW - 8 * HOUR), Window(NOW - 5 * HOUR, LAST))
    reach = reach_of(windows, LAST, lag, rpo_seconds=60, now=NOW)
    assert reach == (until, (windows[0], Window(NOW - 5 * HOUR, end)))


def test_behind_a_gap_that_no_backup_closes_nothing_reaches_until_now() -> None:
    windows = (Window(NOW - 9 * HOUR, NOW - 8 * HOUR),)
    assert reach_of(windows, LAST, SourceLag("a", 0, 0.0, None), rpo_seconds=60, now=NOW) == (NOW, windows)
