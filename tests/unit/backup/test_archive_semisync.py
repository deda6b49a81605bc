"""When the source stops to wait, and what a configuration promises in vain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backup.archive.report import Mode
from backup.archive.semisync import Fall, SemiSyncWatch, judge_semi_sync
from backup.archive.settings import judge_settings
from fleet.finding import Level
from wire.binlog_admin import BinlogSettings, SemiSyncState

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def state(*, on: bool = True, missed: int = 0, enabled: bool = True, clients: int = 1) -> SemiSyncState:
    return SemiSyncState(enabled, on, missed, clients, wait_for=1, timeout_ms=10_000)


def watched(*states: SemiSyncState | None) -> list[Fall | None]:
    watch = SemiSyncWatch()
    return [watch.observe(one, at(second)) for second, one in enumerate(states)]


def test_a_source_that_waits_says_nothing() -> None:
    assert watched(state(), state(), state()) == [None, None, None]


def test_a_fall_is_told_when_it_begins_and_when_it_ends_with_the_commits_that_went_by() -> None:
    falls = watched(state(missed=5), state(on=False, missed=7), state(on=False, missed=9), state(missed=12))
    assert falls == [None, Fall(at(1), None, 2), None, Fall(at(1), at(3), 7)]


def test_a_fall_between_two_looks_is_seen_by_its_commits() -> None:
    assert watched(state(missed=5), state(missed=8)) == [None, Fall(at(1), at(1), 3)]


def test_a_source_that_was_started_anew_has_not_fallen() -> None:
    assert watched(state(missed=500), state(missed=0)) == [None, None]


def test_a_plugin_that_is_gone_is_a_fall() -> None:
    assert watched(None, None, state()) == [Fall(at(0), None, 0), None, Fall(at(0), at(2), 0)]


def test_a_fall_that_an_earlier_archiver_saw_begin_is_ended_by_this_one() -> None:
    assert SemiSyncWatch(began_at=at(-60)).observe(state(), at(0)) == Fall(at(-60), at(0), 0)


@pytest.mark.parametrize(
    ("mode", "seen", "level", "says"),
    [
        ("local-sync", None, Level.FAIL, "is not loaded"),
        ("store-sync", state(enabled=False), Level.FAIL, "is switched off"),
        ("local-sync", state(clients=3), Level.WARN, "another one than the archive"),
    ],
)
def test_what_a_mode_needs_is_asked_for(
    mode: Mode, seen: SemiSyncState | None, level: Level, says: str
) -> None:
    (finding,) = judge_semi_sync("s1-a", mode, seen)
    assert (finding.level, says in finding.message) == (level, True)
    assert finding.hint


def test_nothing_is_asked_for_in_mode_async_or_when_all_is_well() -> None:
    assert judge_semi_sync("s1-a", "async", None) == []
    assert judge_semi_sync("s1-a", "store-sync", state()) == []


GOOD = BinlogSettings(1, "ROW", "FULL", "FULL", 2_592_000, 1)


def test_a_good_configuration_has_no_findings() -> None:
    assert judge_settings("s1-a", GOOD) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (BinlogSettings(0, "ROW", "FULL", "FULL", 2_592_000, 1), "sync_binlog is 0"),
        (BinlogSettings(1, "MIXED", "FULL", "FULL", 2_592_000, 1), "binlog_format is MIXED"),
        (BinlogSettings(1, "ROW", "MINIMAL", "FULL", 2_592_000, 1), "binlog_row_image is MINIMAL"),
        (BinlogSettings(1, "ROW", "FULL", "MINIMAL", 2_592_000, 1), "binlog_row_metadata is MINIMAL"),
        (BinlogSettings(1, "ROW", "FULL", "FULL", 3600, 1), "binlog_expire_logs_seconds is 3600"),
    ],
)
def test_a_setting_that_harms_the_archive_is_named_with_a_way_out(
    settings: BinlogSettings, says: str
) -> None:
    (finding,) = judge_settings("s1-a", settings)
    assert says in finding.message
    assert finding.hint
    assert finding.hint.startswith("SET PERSIST")


def test_binlogs_that_never_expire_are_fine() -> None:
    assert judge_settings("s1-a", BinlogSettings(1, "ROW", "FULL", "FULL", 0, 1)) == []
