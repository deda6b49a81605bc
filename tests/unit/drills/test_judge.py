"""What the facts of a shard mean, and the one command that helps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from backup.archive.report import (
    ArchivedTransaction,
    BranchSeen,
    EpochSeen,
    ShardArchiveStatus,
    SourceLag,
    SpoolUse,
    Window,
)
from backup.archive.status import ArchiveLook
from backup.archive.survey import Survey
from backup.mirror.report import ArchiveBehind, BackupsBehind, LastError, ShardMirrorStatus
from drills.status.disks import judge_disks
from drills.status.judge import ShardFacts, by_urgency, judge_journal, judge_shard, what_to_do
from drills.status.report import (
    BackupSeen,
    Code,
    DiskSeen,
    Health,
    Judged,
    ProofSeen,
    ReplicaSeen,
    RunSeen,
)
from drills.status.run_journal import RunEnded
from drills.status.runs import Overdue
from fleet.errors import KeyUnusable, ObjectDamaged
from fleet.finding import Finding, Level
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.transaction import Gtid
from repository.archive.reckoning import Gap
from repository.layout import BinlogFile

NOW = datetime(2026, 3, 31, 9, 41, tzinfo=UTC)
DAY = timedelta(days=1)
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
FLEET = Fleet.model_validate(
    {
        "name": "shop",
        "regions": ["eu"],
        "shards": [
            {"name": "s1", "servers": [{"name": n, "host": f"db-{n}", "region": "eu"} for n in ("a", "b")]}
        ],
        "accounts": {"backup": {"user": "b", "password": {"env": "P"}}},
        "repository": {"url": "file:///r"},
        "keys": [{"id": "k", "provider": "file", "file": "/k"}],
        "targets": {"rto_seconds": 3600, "rpo_seconds": 900},
    }
)


def backup(days: float, **changes: Any) -> BackupSeen:
    at = NOW - days * DAY
    return replace(BackupSeen(f"{at:%Y%m%dT%H%M%SZ}-full", "full", at, at, 1, 1), **changes)


STATUS = ShardArchiveStatus(
    shard="s1",
    mode="async",
    epoch=EpochSeen(1, "first", "a", NOW - 40 * DAY),
    last=ArchivedTransaction(Gtid.parse(f"{UUID}:9"), NOW - timedelta(seconds=70)),
    lag=SourceLag("a", 0, 0.0, None),
    spool=SpoolUse("/spool", 0, 0, 1),
    window=None,
    windows=(Window(NOW - DAY, NOW),),
    backups=1,
    gaps=(),
    branches=(),
    open_notes=(),
    files=1,
    segments=1,
    stored_bytes=1,
    findings=(),
)
LOOK = ArchiveLook(STATUS, None, Survey((), ()), (), (), None, (), True)
WELL = ShardFacts(
    fleet=FLEET,
    shard=FLEET.shards[0],
    now=NOW,
    backups=(backup(2), backup(0.3)),
    unreadable=(),
    proofs=(ProofSeen("x", NOW - DAY, True, NOW - DAY, 600.0, 1.0),),
    archive=LOOK,
    archive_error=None,
    servers=(ReplicaSeen("a", "eu", "primary", None), ReplicaSeen("b", "eu", "replica", 0.0)),
    overdue=(),
    forecast_rto_seconds=700.0,
    mirror=None,
)


def lagging(transactions: int, seconds: float | None, *, followed: bool | None) -> ArchiveLook:
    status = replace(STATUS, lag=SourceLag("a", transactions, seconds, None))
    return LOOK._replace(status=status, is_followed=followed)


def overdue(state: Any = "not run", *, again: bool = False) -> tuple[Overdue, ...]:
    return (Overdue(RunSeen("full", NOW - DAY / 4, state, because="no reason"), again),)


def mirrored(
    lag_seconds: float | None,
    error: LastError | None = None,
    *,
    lacks: int = 0,
    since: datetime | None = None,
) -> ShardMirrorStatus:
    archive = ArchiveBehind(NOW, NOW, lag_seconds, 0)
    return ShardMirrorStatus("s1", BackupsBehind(None, None, lacks, lacks, since), archive, error)


MISSING = GtidSet.parse(f"{UUID}:3-7")
GAP = Gap(MISSING, None, BinlogFile(1, UUID, "binlog.000007", 0))
FALL = Finding(Level.FAIL, "shard s1", "commits are not store-sync", "See: backstay archive run s1")
ALONE = Finding(Level.FAIL, "shard s1", "no server can be taken for the primary")


def test_a_shard_that_is_well_has_no_finding() -> None:
    assert judge_shard(WELL) == ()


CASES: list[tuple[str, dict[str, Any], list[tuple[Code, Health]], str]] = [
    (
        "no backup at all",
        {"backups": ()},
        [("no-backup", Health.CRITICAL)],
        "backstay backup full s1",
    ),
    (
        "the newest backup is damaged",
        {"backups": (backup(2), backup(0.3, damage="a pack is gone"))},
        [("damage", Health.CRITICAL)],
        "backstay backup full s1 --stored",
    ),
    (
        "an older backup is damaged",
        {"backups": (backup(2, damage="a pack is gone"), backup(0.3))},
        [("damage", Health.WARNING)],
        "backstay verify s1 --quick",
    ),
    (
        "all backups are damaged",
        {"backups": (backup(2, damage="a pack is gone"),)},
        [("no-backup", Health.CRITICAL), ("damage", Health.CRITICAL)],
        "backstay backup full s1 --stored",
    ),
    (
        "a manifest is damaged",
        {"unreadable": [(backup(0.1).label, ObjectDamaged("is cut"))]},
        [("damage", Health.CRITICAL)],
        "backstay backup full s1 --stored",
    ),
    (
        "the key is wrong",
        {"unreadable": [("x", KeyUnusable("wrong key"))], "backups": ()},
        [("key-unusable", Health.CRITICAL)],
        "backstay keys list",
    ),
    (
        "a full was not run",
        {"overdue": overdue()},
        [("backup-overdue", Health.WARNING)],
        "backstay backup full s1",
    ),
    (
        "two fulls were not run",
        {"overdue": overdue(again=True)},
        [("backup-overdue", Health.CRITICAL)],
        "backstay backup full s1",
    ),
    (
        "a full failed",
        {"overdue": overdue("failed")},
        [("backup-failed", Health.WARNING)],
        "backstay backup full s1",
    ),
    (
        "never archived",
        {"archive": LOOK._replace(status=replace(STATUS, epoch=None))},
        [("archive-stopped", Health.WARNING)],
        "backstay archive run s1",
    ),
    (
        "an archiver that is slow",
        {"archive": lagging(5, 500.0, followed=True)},
        [("archive-lag", Health.WARNING)],
        "backstay archive status s1",
    ),
    (
        "an archiver that is slower than the promise",
        {"archive": lagging(5, 900.0, followed=True)},
        [("archive-lag", Health.CRITICAL)],
        "backstay archive status s1",
    ),
    ("an archiver that keeps up", {"archive": lagging(5, 2.0, followed=True)}, [], ""),
    ("nobody tells who follows", {"archive": lagging(0, 0.0, followed=None)}, [], ""),
    (
        "a dead archiver of an idle source",
        {"archive": lagging(0, 0.0, followed=False)},
        [("archive-stopped", Health.WARNING)],
        "backstay archive run s1",
    ),
    (
        "a dead archiver",
        {"archive": lagging(5, 500.0, followed=False)},
        [("archive-stopped", Health.CRITICAL)],
        "backstay archive run s1",
    ),
    (
        "behind for who knows how long",
        {"archive": lagging(5, None, followed=True)},
        [("archive-lag", Health.WARNING)],
        "backstay archive status s1",
    ),
    (
        "a gap",
        {"archive": LOOK._replace(uncovered=(GAP,))},
        [("archive-gap", Health.CRITICAL)],
        "backstay backup full s1",
    ),
    (
        "a fall to async",
        {"archive": LOOK._replace(falls=(FALL,))},
        [("fell-to-async", Health.CRITICAL)],
        "backstay archive run s1",
    ),
    (
        "a setting",
        {"archive": LOOK._replace(settings=(Finding(Level.WARN, "server a", "sync_binlog is 0"),))},
        [("settings", Health.WARNING)],
        "",
    ),
    (
        "an archive that cannot be read",
        {"archive": None, "archive_error": ObjectDamaged("is cut"), "servers": ()},
        [("damage", Health.CRITICAL)],
        "backstay archive verify s1",
    ),
    (
        "a replica that stopped",
        {"servers": (WELL.servers[0], ReplicaSeen("b", "eu", "replica", None, "is stopped"))},
        [("replication-lag", Health.CRITICAL)],
        "mysql -h db-b -P 3306 -E -e 'SHOW REPLICA STATUS'",
    ),
    (
        "a replica that is late",
        {"servers": (WELL.servers[0], ReplicaSeen("b", "eu", "replica", 11.0))},
        [("replication-lag", Health.CRITICAL)],
        "mysql -h db-b -P 3306 -e 'SHOW PROCESSLIST'",
    ),
    (
        "a replica that is gone",
        {"servers": (WELL.servers[0], ReplicaSeen("b", "eu", "unknown", None, "no answer"))},
        [("server-unreachable", Health.WARNING)],
        "mysqladmin -h db-b -P 3306 ping",
    ),
    (
        "a primary that is gone",
        {"servers": (ReplicaSeen("a", "eu", "unknown", None, "no answer"), WELL.servers[1])},
        [("server-unreachable", Health.CRITICAL)],
        "mysqladmin -h db-a -P 3306 ping",
    ),
    (
        "nobody takes writes",
        {
            "servers": (ReplicaSeen("a", "eu", "replica", 0.0), WELL.servers[1]),
            "archive": LOOK._replace(unanswered=ALONE),
        },
        [("server-unreachable", Health.CRITICAL)],
        "",
    ),
    (
        "a restore that failed",
        {"proofs": (*WELL.proofs, ProofSeen("y", NOW, False))},
        [("proof-failed", Health.CRITICAL)],
        "backstay proof run s1",
    ),
    (
        "a restore that failed, and a newer one that did not",
        {"proofs": (ProofSeen("y", NOW - 2 * DAY, False), *WELL.proofs)},
        [],
        "",
    ),
    (
        "a proof that is old",
        {"proofs": (ProofSeen("x", NOW - 31 * DAY, True),)},
        [("proof-overdue", Health.WARNING)],
        "backstay proof run s1",
    ),
    ("never proven, and young", {"proofs": ()}, [], ""),
    (
        "never proven, and old",
        {"proofs": (), "backups": (backup(31), backup(0.3))},
        [("proof-overdue", Health.WARNING)],
        "backstay proof run s1",
    ),
    (
        "a restore would take too long",
        {"forecast_rto_seconds": 3601.0},
        [("rto-over-target", Health.WARNING)],
        "backstay plan s1",
    ),
    (
        "a mirror that is late",
        {"mirror": mirrored(3700.0)},
        [("mirror-lag", Health.WARNING)],
        "backstay mirror run",
    ),
    (
        "a mirror that failed",
        {"mirror": mirrored(0.0, LastError(NOW, "StoreDenied", "no"))},
        [("mirror-lag", Health.WARNING)],
        "backstay mirror run",
    ),
    ("a mirror that is well", {"mirror": mirrored(1.0)}, [], ""),
    (
        "a mirror that lacks backups",
        {"mirror": mirrored(0.0, lacks=2, since=NOW - timedelta(seconds=3601))},
        [("mirror-lag", Health.WARNING)],
        "backstay mirror run",
    ),
    (
        "a mirror that lacks a backup of a minute ago",
        {"mirror": mirrored(0.0, lacks=1, since=NOW - timedelta(seconds=60))},
        [],
        "",
    ),
]


@pytest.mark.parametrize(
    ("changes", "expected", "command"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_is_wrong_is_named_with_the_way_out(
    changes: dict[str, Any], expected: list[tuple[Code, Health]], command: str
) -> None:
    found = judge_shard(WELL._replace(**changes))
    assert [(each.code, each.health) for each in found] == expected
    if command:
        assert found[0].hint is not None
        assert found[0].hint.endswith(f": {command}")


def test_a_full_that_is_overdue_stands_for_the_incremental() -> None:
    link = Overdue(RunSeen("incremental", NOW - DAY / 8, "not run"), True)
    (told,) = judge_shard(WELL._replace(overdue=(link, *overdue())))
    assert (told.code, told.health, told.since) == ("backup-overdue", Health.CRITICAL, NOW - DAY / 4)
    assert told.hint == "Take the full backup now: backstay backup full s1"
    assert "nor was the incremental since" in told.message


def test_a_failure_is_told_beside_what_is_overdue_unless_that_stands_for_it() -> None:
    at = NOW - DAY / 24
    full = RunEnded(flow="full", shard="s1", started_at=at, ended_at=at, outcome="failed")
    failed = (full, full.model_copy(update={"flow": "incremental"}))
    link = Overdue(RunSeen("incremental", NOW - DAY / 8, "not run"), False)
    found = judge_shard(WELL._replace(failed=failed, overdue=(link,)))
    assert [each.code for each in found] == ["backup-failed", "backup-overdue"]
    assert found[0].hint == "Take the full backup now: backstay backup full s1"
    assert [each.code for each in judge_shard(WELL._replace(failed=failed, overdue=overdue()))] == [
        "backup-overdue"
    ]


def test_an_archive_that_lacks_nothing_is_not_late_whatever_is_promised() -> None:
    fleet = FLEET.model_copy(update={"targets": FLEET.targets.model_copy(update={"rpo_seconds": 0})})
    assert judge_shard(WELL._replace(fleet=fleet)) == ()
    (told,) = judge_shard(WELL._replace(fleet=fleet, archive=lagging(1, 0.1, followed=True)))
    assert (told.code, told.health) == ("archive-lag", Health.CRITICAL)


@pytest.mark.parametrize("followed", [True, False])
def test_an_archive_lacks_something_since_its_oldest_missing_transaction(followed: bool) -> None:
    (told,) = judge_shard(WELL._replace(archive=lagging(5, 500.0, followed=followed)))
    assert told.since == NOW - timedelta(seconds=500)


def test_since_when_nobody_follows_an_idle_source_is_not_known() -> None:
    """Its last transaction is a minute old, and says nothing of the archiver."""
    (told,) = judge_shard(WELL._replace(archive=lagging(0, 0.0, followed=False)))
    assert (told.code, told.since) == ("archive-stopped", None)


def test_a_branch_is_told_of_for_a_week() -> None:
    branches = (BranchSeen(2, "x", 3),)
    young = replace(STATUS, branches=branches, epoch=EpochSeen(2, "promotion", "b", NOW - DAY))
    old = replace(young, epoch=EpochSeen(2, "promotion", "b", NOW - 8 * DAY))
    (told,) = judge_shard(WELL._replace(archive=LOOK._replace(status=young)))
    assert (told.code, told.health) == ("archive-branch", Health.WARNING)
    assert judge_shard(WELL._replace(archive=LOOK._replace(status=old))) == ()


def test_every_code_has_its_place_in_what_is_done_first() -> None:
    found = [Judged(Health.WARNING, code, "x", "y") for code in get_args(Code)]
    assert len(by_urgency(found)) == len(found)


def test_what_is_worse_comes_first_and_then_what_is_more_urgent() -> None:
    late = Judged(Health.WARNING, "archive-gap", "a", "b", "one")
    bad = Judged(Health.CRITICAL, "backup-overdue", "a", "b", "two")
    worse = Judged(Health.CRITICAL, "repository-unreachable", "a", "b", "three")
    assert by_urgency([late, bad, worse]) == (worse, bad, late)
    assert what_to_do([late, bad, worse]) == "three"


def test_where_nothing_is_wrong_there_is_nothing_to_do() -> None:
    assert what_to_do([]) == "Nothing: every shard can be recovered."


@pytest.mark.parametrize(
    ("percent", "health"), [(79.9, None), (80.0, Health.WARNING), (90.0, Health.CRITICAL)]
)
def test_a_disk_warns_ten_percent_before_it_is_critical(percent: float, health: Health | None) -> None:
    found = list(judge_disks((DiskSeen("/d", "spool", percent, 5),), 90.0))
    assert [each.health for each in found] == ([health] if health else [])


@pytest.mark.parametrize(
    ("use", "health"), [("proofs", Health.WARNING), ("state of the service, proofs", Health.CRITICAL)]
)
def test_a_full_disk_that_only_proofs_need_is_a_warning(use: str, health: Health) -> None:
    (found,) = judge_disks((DiskSeen("/d", use, 99.0, 5),), 90.0)
    assert found.health is health


def test_what_cannot_be_recovered_comes_before_a_disk_a_clock_and_a_mirror() -> None:
    lost: tuple[Code, ...] = ("no-backup", "archive-gap", "archive-stopped", "backup-failed")
    codes: tuple[Code, ...] = (*lost, "disk-full", "clock", "mirror-lag", "notify-failed")
    found = by_urgency(Judged(Health.CRITICAL, code, "x", "y", code) for code in reversed(codes))
    assert tuple(each.code for each in found) == codes
    assert what_to_do(found) == "no-backup"


def test_the_last_run_of_retention_counts_and_no_older_one() -> None:
    at = NOW - DAY
    failed = RunEnded(flow="retention", shard=None, due_at=at, started_at=at, ended_at=at, outcome="failed")
    done = failed.model_copy(update={"outcome": "done"})
    assert [each.code for each in judge_journal([done, failed], FLEET, at)] == ["retention-refused"]
    assert list(judge_journal([failed, done], FLEET, at)) == []


def test_a_retention_that_failed_is_not_well_because_the_next_was_cancelled() -> None:
    at = NOW - DAY
    failed = RunEnded(flow="retention", started_at=at, ended_at=at, outcome="failed")
    cancelled = failed.model_copy(update={"outcome": "cancelled"})
    assert [each.code for each in judge_journal([failed, cancelled], FLEET, at)] == ["retention-refused"]


def journal_of(*ended: tuple[str, float, Any]) -> list[RunEnded]:
    """Runs by flow, by how many days ago they ended, and by how; and a full of four days ago."""
    runs: list[tuple[str, float, Any]] = [("full", 4.0, "done"), *ended]
    return [
        RunEnded(flow=flow, started_at=NOW - days * DAY, ended_at=NOW - days * DAY, outcome=outcome)
        for flow, days, outcome in runs
    ]


@pytest.mark.parametrize(
    ("ended", "missed"),
    [
        ([], ["retention", "verification"]),
        ([("retention", 0.2, "done"), ("verify", 1.0, "done")], []),
        ([("retention", 1.1, "skipped"), ("verify", 1.9, "done")], []),
        ([("retention", 2.0, "done"), ("verify", 2.1, "done")], ["retention", "verification"]),
        ([("retention", 2.0, "failed"), ("verify", 1.0, "done")], []),
        ([("retention", 0.2, "done"), ("verify", 0.2, "cancelled")], ["verification"]),
    ],
)
def test_what_does_not_run_any_more_is_missed(ended: list[tuple[str, float, Any]], missed: list[str]) -> None:
    found = [each for each in judge_journal(journal_of(*ended), FLEET, NOW) if each.code == "scheduler-down"]
    assert [each.subject for each in found] == missed
    assert all(each.since and each.since < NOW - DAY for each in found)


def test_nothing_is_missed_where_nothing_ever_ran_or_others_carry_it_out() -> None:
    assert list(judge_journal([], FLEET, NOW)) == []
    young = [each.model_copy(update={"started_at": NOW - DAY}) for each in journal_of()]
    assert list(judge_journal(young, FLEET, NOW)) == []
    scheduler = FLEET.scheduler.model_copy(update={"api_url": "http://prefect:4200/api"})
    elsewhere = FLEET.model_copy(update={"scheduler": scheduler})
    assert list(judge_journal(journal_of(), elsewhere, NOW)) == []


def test_a_server_that_does_not_answer_is_no_lag_of_the_archive() -> None:
    look = lagging(0, None, followed=None)._replace(unanswered=ALONE)
    found = judge_shard(
        WELL._replace(archive=look, servers=(ReplicaSeen("a", "eu", "unknown", None, "no answer"),))
    )
    assert [each.code for each in found] == ["server-unreachable"]
