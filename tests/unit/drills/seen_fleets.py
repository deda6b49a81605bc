"""Fleets to look at: one that is well, one that is ill in every way, one that nobody can ask."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backup.archive.report import GapSeen, Window
from drills.status.report import (
    BackupSeen,
    Cell,
    DiskSeen,
    FleetStatus,
    Health,
    Judged,
    LagPoint,
    ProofSeen,
    RecoveryMap,
    ReplicaSeen,
    RunSeen,
    ShardStatus,
    UnconfiguredShard,
)
from fleet.skew import Skew

NOW = datetime(2026, 3, 31, 9, 41, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def backup(at: datetime, kind: str = "full", size: int = 40_000_000_000) -> BackupSeen:
    return BackupSeen(
        f"{at:%Y%m%dT%H%M%SZ}-{kind}",
        "full" if kind == "full" else "incremental",
        at,
        at + timedelta(minutes=12 if kind == "full" else 2),
        3 * size,
        size,
    )


def month_of_backups() -> tuple[BackupSeen, ...]:
    first = NOW.replace(hour=2, minute=7, second=0) - timedelta(days=29)
    found: list[BackupSeen] = []
    for day in range(30):
        start = first + timedelta(days=day)
        found.append(backup(start, size=int(40e9 + day * 3e8)))
        found += [
            backup(start + hours * HOUR, "incremental", int(2e9 + 1e9 * math.sin(day + hours)))
            for hours in (4, 10, 16, 22)
            if start + hours * HOUR < NOW
        ]
    return tuple(found)


def shard_that_is_well(name: str = "shard_0") -> ShardStatus:
    backups = month_of_backups()
    start = NOW.replace(minute=0, second=0) - 719 * HOUR
    cells = [Cell.VERIFIED] * 400 + [Cell.PROVEN] * 60 + [Cell.VERIFIED] * 200 + [Cell.ARCHIVED] * 60
    cells[450:454] = [Cell.DRILLED] * 4
    proof = ProofSeen(backups[-2].label, NOW - 2 * HOUR, True, NOW - 2 * HOUR, 1412.0, 1.2)
    return ShardStatus(
        shard=name,
        health=Health.OK,
        backups=backups,
        last_full=next(each for each in reversed(backups) if each.kind == "full"),
        last_incremental=next(each for each in reversed(backups) if each.kind == "incremental"),
        last_proof=proof,
        proofs=(proof, replace(proof, at=NOW - 26 * HOUR, rto_seconds=1390.0)),
        archive_mode="async",
        archived_until=NOW - timedelta(seconds=1),
        archive_lag_seconds=0.8,
        windows=(Window(start, NOW),),
        gaps=(),
        runs=tuple(
            RunSeen("incremental", NOW - hours * HOUR, "done", "20260330T060000Z-incremental")
            for hours in (42, 36, 30, 24, 18, 12, 6)
        ),
        next_run=RunSeen("incremental", NOW + 3 * HOUR, "waiting"),
        forecast_rto_seconds=1500.0,
        forecast_by="cold",
        mirror_lag_seconds=4.0,
        servers=(
            ReplicaSeen("users-0-a", "us-east", "primary", None, clock=Skew(0.001, 0.002)),
            ReplicaSeen("users-0-b", "us-east", "replica", 0.0),
            ReplicaSeen("users-0-c", "eu-west", "replica", 0.4),
        ),
        recovery=RecoveryMap(start, tuple(cells)),
        lag_history=tuple(
            LagPoint(NOW - timedelta(seconds=30 * n), 0.6 + 0.5 * math.sin(n / 40) ** 2 + (n % 977 == 0) * 3)
            for n in range(2880, 0, -1)
        ),
        findings=(),
    )


def shard_that_is_ill(name: str = "shard_1") -> ShardStatus:
    well = shard_that_is_well(name)
    cells = list(well.recovery.cells)
    cells[:120] = [Cell.NOTHING] * 120
    cells[300:331] = [Cell.LOST] * 31
    cells[690:] = [Cell.LOST] * 30
    damaged = replace(well.backups[-3], damage="2 pages of app.orders cannot be read")
    proof = ProofSeen(well.backups[-2].label, NOW - 5 * HOUR, False)
    findings = (
        Judged(
            Health.CRITICAL,
            "archive-stopped",
            f"shard {name}",
            "nothing has been archived for 7 h 12 min, and 81,220 transactions wait at users-1-a",
            f"Start its archiver: backstay archive run {name}",
            NOW - timedelta(hours=7, minutes=12),
        ),
        Judged(
            Health.WARNING,
            "backup-overdue",
            f"shard {name}",
            "the full backup of 02:07 has not run",
            f"Take it now: backstay backup full {name}",
            NOW - timedelta(hours=5),
        ),
    )
    return replace(
        well,
        health=Health.CRITICAL,
        backups=(*well.backups[:-3], damaged, *well.backups[-2:]),
        last_proof=proof,
        proofs=(proof,),
        archive_lag_seconds=25_920.0,
        archived_until=NOW - timedelta(hours=7),
        windows=(Window(well.windows[0].first_at, NOW - 40 * HOUR), Window(NOW - 30 * HOUR, NOW - 7 * HOUR)),
        gaps=(GapSeen("3e11fa47-71ca-11e1-9e33-c80aa9429562:100-180", 81, "binlog.000412"),),
        runs=(
            *well.runs[:-2],
            RunSeen("full", NOW - 7 * HOUR, "not run", because="the scheduler was down"),
            RunSeen("incremental", NOW - 3 * HOUR, "failed", because="no server of shard_1 answers"),
        ),
        forecast_rto_seconds=15_840.0,
        servers=(
            ReplicaSeen("users-1-a", "us-east", "primary", None, clock=Skew(-71.8, 0.002)),
            ReplicaSeen("users-1-b", "us-east", "replica", None, "its SQL thread has stopped: error 1062"),
        ),
        recovery=RecoveryMap(well.recovery.first_hour, tuple(cells)),
        lag_history=tuple(
            LagPoint(point.at, 25_920.0 * max(0.0, 1 - (NOW - point.at) / timedelta(hours=7.2)))
            for point in well.lag_history
            if not timedelta(hours=14) < NOW - point.at < timedelta(hours=17)
        ),
        findings=findings,
    )


def fleet_of(*shards: ShardStatus) -> FleetStatus:
    ill = [finding for shard in shards for finding in shard.findings]
    order = list(Health)
    return FleetStatus(
        fleet="users",
        repository="s3://example-backups/mysql",
        seen_at=NOW - timedelta(seconds=12),
        health=max((shard.health for shard in shards), key=order.index),
        shards=shards,
        disks=(DiskSeen("/var/lib/backstay", "spool and state", 41.0, 812_000_000_000),),
        findings=(),
        what_to_do=ill[0].hint or "" if ill else "Nothing to do.",
        rto_target_seconds=3600,
        rpo_target_seconds=900,
    )


def fleet_that_is_well() -> FleetStatus:
    return fleet_of(*(shard_that_is_well(f"shard_{number}") for number in range(8)))


def fleet_that_is_ill() -> FleetStatus:
    gone = backup(NOW - timedelta(days=9))
    return replace(
        fleet_of(shard_that_is_well(), shard_that_is_ill()),
        unconfigured=(UnconfiguredShard("old_7", 12, gone, gone.finished_at + timedelta(days=30)),),
        store_clock=Skew(0.4, 0.6),
    )


def fleet_that_nobody_can_ask() -> FleetStatus:
    return replace(
        fleet_that_is_well(),
        seen_at=NOW - 3 * HOUR,
        health=Health.UNKNOWN,
        unreachable="s3://example-backups/mysql gives no answer: connection refused",
        what_to_do="See why the store does not answer; what stands below may have changed since.",
    )
