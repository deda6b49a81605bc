"""What of an archive's state is a failure, and what is history."""

from __future__ import annotations

from datetime import UTC, datetime

from backup.archive.report import NoteSeen, SourceLag
from backup.archive.status import judge_falls, judge_gaps
from fleet.finding import Level
from fleet.gtid import GtidSet
from repository.archive.reckoning import Gap
from repository.layout import BinlogFile

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
AT = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
FALL = NoteSeen(2, "fell-to-async", AT, None, "the source no longer waits for the archive")


def test_a_gap_that_no_backup_closes_asks_for_a_backup() -> None:
    gap = Gap(GtidSet.parse(f"{UUID}:5-9"), None, BinlogFile(1, UUID, "binlog.000004", 1))
    (finding,) = judge_gaps("s1", [gap])
    assert finding.level is Level.FAIL
    assert "5 transactions before binlog.000004" in finding.message
    assert finding.hint == "Take a backup now: backstay backup full s1"


def test_a_fall_to_async_that_goes_on_is_a_failure() -> None:
    (finding,) = judge_falls("s1", "local-sync", SourceLag("s1-a", 0, 0.0, False), [FALL], epoch=2)
    assert finding.level is Level.FAIL
    assert "commits are not local-sync since 2026-03-01 02:15:00 UTC" in finding.message
    assert judge_falls("s1", "local-sync", None, [FALL], epoch=2)


def test_a_fall_is_history_in_an_older_epoch_or_when_commits_wait_again() -> None:
    lag = SourceLag("s1-a", 0, 0.0, True)
    assert judge_falls("s1", "local-sync", lag, [FALL], epoch=2) == []
    assert judge_falls("s1", "local-sync", None, [FALL], epoch=3) == []
    assert judge_falls("s1", "async", None, [FALL], epoch=2) == []
