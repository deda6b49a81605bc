"""What people are told of an archive: at 80 columns, with nothing left out that matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import cli.text_archive  # noqa: F401 # pyright: ignore[reportUnusedImport] - it registers the texts
from backup.archive.purge import PurgeOutcome
from backup.archive.purge_plan import PurgeFile, PurgePlan
from backup.archive.report import (
    ArchivedTransaction,
    ArchiveStatus,
    BranchSeen,
    EpochSeen,
    GapSeen,
    NoteSeen,
    ShardArchiveStatus,
    SourceLag,
    SpoolUse,
    Window,
)
from cli.cmd_archive_purge import Purged, PurgesPlanned
from cli.render import show_text
from fleet.finding import Finding, Level
from fleet.transaction import Gtid

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
AT = datetime(2026, 3, 1, 2, 15, 0, 123_456, tzinfo=UTC)

HEALTHY = ShardArchiveStatus(
    shard="s1",
    mode="async",
    epoch=EpochSeen(2, "promotion", "s1-b", AT),
    last=ArchivedTransaction(Gtid(UUID, "", 123_456_789), AT),
    lag=SourceLag("s1-b", 12, 0.44, None),
    spool=SpoolUse("/var/lib/backstay/spool", 2, 12_300_000, 8_589_934_592),
    window=Window(AT, AT),
    windows=(Window(AT, AT),),
    backups=3,
    gaps=(),
    branches=(),
    open_notes=(),
    files=35,
    segments=812,
    stored_bytes=1_234_567_890,
    findings=(),
)
TROUBLED = replace(
    HEALTHY,
    shard="s2",
    mode="store-sync",
    lag=SourceLag("s2-a", 0, 0.0, False),
    spool=SpoolUse("/var/lib/backstay/spool", 0, 0, 8_589_934_592),
    gaps=(GapSeen(f"{UUID}:5-9", 5, "binlog.000004"),),
    branches=(BranchSeen(1, f"{UUID}:70-71", 2),),
    open_notes=(NoteSeen(2, "fell-to-async", AT, None, "the source waited longer than its timeout"),),
    findings=(Finding(Level.WARN, "server s2-a", "sync_binlog is 0", "Set it to 1."),),
)
EMPTY = replace(
    HEALTHY, shard="s3", epoch=None, last=None, lag=None, window=None, windows=(), files=0, segments=0
)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def told(capsys: pytest.CaptureFixture[str], result: object) -> str:
    show_text(result)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_one_shard_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, ArchiveStatus(AT, (HEALTHY,)))
    assert f"last         {UUID}:123456789\n             2026-03-01 02:15:00.123456 UTC\n" in text
    assert "lag          0.4 s, 12 transactions behind s1-b\n" in text
    assert "epoch        2, promotion, on s1-b since 2026-03-01 02:15:00\n" in text
    assert "spool        12.3 MB of at most 8.59 GB in 2 files, /var/lib/backstay/spool\n" in text
    assert "stored       1.23 GB in 812 segments of 35 binlog files\n" in text


def test_stretches_that_gaps_cut_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    later = Window(AT + timedelta(hours=1), AT + timedelta(hours=2))
    text = told(capsys, ArchiveStatus(AT, (replace(HEALTHY, windows=(Window(AT, AT), later)),)))
    assert (
        "recoverable  2026-03-01 02:15:00 to 2026-03-01 02:15:00 UTC\n"
        "             2026-03-01 03:15:00 to 2026-03-01 04:15:00 UTC\n"
    ) in text


def test_an_archive_without_a_backup_recovers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, ArchiveStatus(AT, (replace(HEALTHY, window=None, windows=(), backups=0),)))
    assert "nothing yet: there is no backup; take one: backstay backup full s1" in " ".join(text.split())


def test_a_lag_of_unknown_age_is_told_as_that(capsys: pytest.CaptureFixture[str]) -> None:
    behind = replace(HEALTHY, lag=SourceLag("s1-b", 4, None, None))
    text = " ".join(told(capsys, ArchiveStatus(AT, (behind,))).split())
    assert "lag 4 transactions behind s1-b, and it is not known for how long" in text


def test_what_is_wrong_stands_out(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, ArchiveStatus(AT, (TROUBLED,)))
    assert "store-sync: NOT HELD NOW" in text
    assert "5 transactions before binlog.000004\n" in text
    assert "2 transactions that epoch 1 left behind" in text
    assert "fell-to-async  since 2026-03-01 02:15:00: the source waited" in text
    assert "none: all that s2-a has executed is archived" in text
    assert "warn  server s2-a  sync_binlog is 0" in text


def test_an_empty_archive_says_how_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, ArchiveStatus(AT, (EMPTY,)))
    assert "backstay archive run s3" in text
    assert "unknown: no source could be asked" in text


def test_several_shards_are_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    rows = told(capsys, ArchiveStatus(AT, (HEALTHY, TROUBLED, EMPTY))).splitlines()
    assert rows[0].split() == [
        "shard",
        "epoch",
        "lag",
        "behind",
        "recoverable",
        "from",
        "(UTC)",
        "spool",
        "gaps",
    ]
    assert " ".join(rows[1].split()) == "s1 2 0.4 s 12 2026-03-01 02:15 12.3 MB 0"
    assert " ".join(rows[3].split()) == "s3 - unknown - - 12.3 MB 0"
    assert rows[5].startswith("warn  server s2-a")


def test_files_that_share_a_reason_are_one_row_of_a_purge(capsys: pytest.CaptureFixture[str]) -> None:
    files = [PurgeFile(f"binlog.{n:06}", 1_000_000_000, True, "archived and applied") for n in range(1, 900)]
    files += [
        PurgeFile("binlog.000900", 5_000_000, False, "replica s1-c has not applied 12 of its transactions")
    ]
    files += [PurgeFile("binlog.000901", 4_000_000, False, "one of the 2 newest")]
    text = told(capsys, PurgesPlanned((PurgePlan("s1", "s1-a", tuple(files), "binlog.000900", ()),)))
    assert "binlog.000001 to 000899   899 GB  goes   archived and applied\n" in text
    assert "899 files, 899 GB can be purged; binlog.000900 is the oldest that stays.\n" in text


def test_a_purge_that_would_do_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    kept = PurgeFile("binlog.000001", 5_000_000, False, "one of the 2 newest")
    assert "There is nothing to purge.\n" in told(
        capsys, PurgesPlanned((PurgePlan("s1", "s1-a", (kept,), "binlog.000001", ()),))
    )


def test_a_purge_says_why_it_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    gone = PurgeFile("binlog.000001", 5_000_000, True, "archived and applied")
    outcome = PurgeOutcome("s1", "s1-a", (gone,), "replica s1-c could not be asked what it has applied")
    assert "Purged from s1-a: 1 file, 5.00 MB; the rest stays: replica s1-c" in told(
        capsys, Purged((outcome,))
    )
    assert told(capsys, Purged(())) == "Nothing was purged.\n"
