"""A look at a fleet, and what is left of it when the repository does not answer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drills.status import places
from drills.status.forecast import Readings, forecast_rto
from drills.status.lag_history import LagHistory
from drills.status.last_known import keep, last_known
from drills.status.look import Looker
from drills.status.ran import RanHistory
from drills.status.report import BackupSeen, FleetStatus, Health, LagPoint
from drills.status.run_journal import RunEnded, RunJournal
from drills.status.served import with_service
from drills.status.service_state import PartSeen, ServiceSeen, write_service
from drills.status.shelf import Memory, read_shelf
from fleet.errors import DiskFull, NotFound
from fleet.model import Fleet
from fleet.state_place import state_directory
from repository import layout
from repository.catalog import Catalog
from repository.manifest import Manifest, Proof
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.turns import TurnTerms, turn
from tests.unit.drills.seen_fleets import NOW, fleet_that_is_well
from tests.unit.repository.sealed_backups import UUID, TickingClock, file_keyring, sample, take

HOUR = timedelta(hours=1)


class StandingClock:
    """It is noon of the day on which the backups were taken."""

    at = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Two shards whose servers are not there; a disk that is full is no matter here."""
    key = tmp_path / "k1.key"
    return Fleet.model_validate(
        {
            "name": "shop",
            "regions": ["eu"],
            "shards": [
                {
                    "name": f"s{n}",
                    "servers": [{"name": f"s{n}-a", "host": "127.0.0.1", "port": n, "region": "eu"}],
                }
                for n in (1, 2)
            ],
            "accounts": {"backup": {"user": "b", "password": {"inline": "p"}}},
            "allow_inline_secrets": True,
            "repository": {"url": f"file://{tmp_path}/repository"},
            "keys": [{"id": "k1", "provider": "file", "file": str(key)}],
            "service": {"directory": str(tmp_path / "state")},
            "alerts": {"disk_percent": 100.0},
        }
    )


@pytest.fixture
def repository(fleet: Fleet, tmp_path: Path) -> Repository:
    return Repository.create(FilesystemStore(fleet.repository.path), file_keyring(tmp_path), TickingClock())


@pytest.fixture
def manifest(repository: Repository) -> Manifest:
    return take(repository, TickingClock(), sample())


@pytest.fixture
def look(fleet: Fleet, clock: StandingClock, manifest: Manifest) -> Callable[..., FleetStatus]:
    return Looker(fleet, clock=clock).look


def codes(status: FleetStatus) -> dict[str, list[str]]:
    return {shard.shard: [finding.code for finding in shard.findings] for shard in status.shards}


def proof_of(manifest: Manifest, **changes: Any) -> Proof:
    facts: dict[str, Any] = {
        "repository_id": manifest.repository_id,
        "shard": manifest.shard,
        "label": manifest.label,
        "proven": True,
        "gtid_executed": f"{UUID}:1-5",
        "server_version": "9.7.4",
        "seconds": {"fetch": 8.0, "recover": 2.0},
        "finished_at": StandingClock.at - HOUR,
        "created_by": "backstay 0.1.0",
    }
    return Proof(**facts | changes)


def test_a_look_tells_what_there_is_and_what_is_missing(
    look: Callable[..., FleetStatus], manifest: Manifest
) -> None:
    status = look()
    first, second = status.shards
    assert first.last_full is not None
    assert first.last_full.label == manifest.label
    assert first.last_full.stored_bytes == manifest.sizes.stored_bytes
    assert second.last_full is None
    assert codes(status) == {
        "s1": ["server-unreachable", "backup-overdue"],
        "s2": ["server-unreachable", "no-backup"],
    }
    assert status.health is Health.CRITICAL
    assert status.what_to_do == "See whether s1-a runs: mysqladmin -h 127.0.0.1 -P 1 ping"


def test_only_what_is_asked_for_is_looked_at_and_not_kept_as_the_last_known(
    look: Callable[..., FleetStatus], fleet: Fleet
) -> None:
    assert [shard.shard for shard in look(["s2"]).shards] == ["s2"]
    assert not places.status_file(fleet).exists()


def test_a_cron_line_that_was_changed_between_two_looks_is_not_applied_to_the_past(
    look: Callable[..., FleetStatus], fleet: Fleet, clock: StandingClock
) -> None:
    look()
    schedule = fleet.schedule.model_copy(update={"incremental_cron": "*/10 * * * *"})
    moved = fleet.model_copy(update={"schedule": schedule})
    first = Looker(moved, clock=clock).look().shards[0]
    assert [run.due_at for run in first.runs if run.due_at < clock.at] == []
    assert codes(Looker(moved, clock=clock, keeps=False).look())["s1"][-1] == "backup-overdue"
    assert "backup-overdue" not in [finding.code for finding in first.findings]


def test_while_somebody_has_the_turn_of_a_shard_it_is_running_since_then(
    fleet: Fleet, clock: StandingClock, manifest: Manifest, repository: Repository
) -> None:
    clock.at = datetime.now(UTC)
    looker = Looker(fleet, clock=clock)
    with turn(repository, TurnTerms("shard", "s1")):
        first, second = looker.look().shards
    assert first.running_since is not None
    assert second.running_since is None
    assert looker.look().shards[0].running_since is None


def test_who_looks_at_the_mirror_leaves_nothing_behind(
    fleet: Fleet, clock: StandingClock, manifest: Manifest
) -> None:
    looker = Looker(fleet, clock=clock, keeps=False)
    assert looker.look().unreachable is None
    assert not state_directory(fleet).exists()
    keep(places.status_file(fleet), replace(fleet_that_is_well(), fleet="shop"))
    shutil.rmtree(fleet.repository.path)
    assert looker.look().shards == ()


def test_what_a_mirror_lacks_and_what_only_it_has_is_told(
    fleet: Fleet, clock: StandingClock, repository: Repository, manifest: Manifest, tmp_path: Path
) -> None:
    shutil.copytree(fleet.repository.path, tmp_path / "mirror")
    mirrored = Fleet.model_validate(
        {**fleet.model_dump(exclude_unset=True), "mirror": {"url": f"file://{tmp_path}/mirror"}}
    )
    look = Looker(mirrored, clock=clock).look
    assert "mirror-lag" not in {each.code for each in (*look().findings, *look().shards[0].findings)}
    later = TickingClock()
    later.sleep(3600)
    there = Repository.open(FilesystemStore(tmp_path / "mirror"), file_keyring(tmp_path))
    alien = take(there, later, sample())
    (told,) = [each for each in look().findings if each.code == "mirror-lag"]
    assert (told.health, told.subject) == (Health.WARNING, "shard s1")
    assert alien.label in told.message
    later.sleep(3600)
    missing = take(repository, later, sample())
    (told,) = [each for each in look().shards[0].findings if each.code == "mirror-lag"]
    assert told.message.startswith("its mirror lacks 1 backup, the oldest finished ")
    assert told.since == missing.timings.finished_at


def test_what_ails_the_service_is_told_with_the_rest(
    look: Callable[..., FleetStatus], fleet: Fleet, clock: StandingClock
) -> None:
    status = look()
    directory = state_directory(fleet)
    assert with_service(status, fleet, directory, clock.now()) == status
    part = PartSeen(
        name="mirror", state="failing", since=clock.now(), down_since=clock.now() - HOUR, starts=9
    )
    write_service(directory, ServiceSeen(pid=os.getpid(), started_at=clock.now(), parts=(part,)))
    told = with_service(status, fleet, directory, clock.now())
    assert [each.code for each in told.findings] == ["mirror-lag"]
    assert told.health is Health.CRITICAL
    assert told.what_to_do == status.what_to_do


def test_a_shard_that_is_not_there_is_told_as_that(look: Callable[..., FleetStatus]) -> None:
    with pytest.raises(NotFound, match="s9"):
        look(["s9"])


def test_a_second_look_sees_what_came_and_what_went(
    look: Callable[..., FleetStatus], repository: Repository, manifest: Manifest
) -> None:
    look()
    clock = TickingClock()
    clock.sleep(3600)
    newer = take(repository, clock, sample())
    Catalog(repository).record_proof(newer, proof_of(newer))
    shard = look().shards[0]
    assert [each.label for each in shard.backups] == [manifest.label, newer.label]
    assert [each.proven_at for each in shard.backups] == [None, StandingClock.at - HOUR]
    repository.store.delete(layout.manifest(newer.backup))
    assert [each.label for each in look().shards[0].backups] == [manifest.label]


def test_a_proof_without_room_is_told_until_another_is_carried_out(
    look: Callable[..., FleetStatus], fleet: Fleet, repository: Repository, manifest: Manifest
) -> None:
    at = StandingClock.at - HOUR
    full = RunEnded(
        flow="proof", started_at=at, ended_at=at, outcome="failed", exit_code=DiskFull.exit_code, message="s1"
    )
    RunJournal(places.runs_file(fleet)).append(full)

    def told() -> list[str]:
        return [each.message for each in look().findings if each.subject == "proof"]

    assert told() == ["the last proof could not be carried out: s1"]
    # A restore that somebody asked for goes elsewhere.
    since = StandingClock.at - HOUR / 2
    Catalog(repository).record_proof(manifest, proof_of(manifest, finished_at=since))
    assert told() == ["the last proof could not be carried out: s1"]
    measured = proof_of(manifest, finished_at=since + HOUR / 4, rto_seconds=60.0)
    Catalog(repository).record_proof(manifest, measured)
    assert told() == []


def test_a_backup_whose_manifest_is_damaged_is_not_the_last_full(
    look: Callable[..., FleetStatus], repository: Repository, manifest: Manifest
) -> None:
    name = layout.manifest(manifest.backup)
    path = repository.store.describe().removeprefix("file://")
    damaged = Path(path) / name
    data = bytearray(damaged.read_bytes())
    data[-9] ^= 1
    damaged.write_bytes(data)
    shard = look().shards[0]
    assert shard.last_full is None
    assert {"damage", "no-backup"} <= {each.code for each in shard.findings}


@pytest.mark.parametrize("what", ["manifest", "keys"])
def test_a_backup_that_was_whole_and_is_not_any_more_is_seen_at_the_next_look(
    look: Callable[..., FleetStatus], repository: Repository, manifest: Manifest, what: str
) -> None:
    assert look().shards[0].last_full is not None
    if what == "keys":
        for info in list(repository.store.list(layout.wrapped_keys(manifest.backup))):
            repository.store.delete(info.key)
    else:
        path = Path(repository.store.describe().removeprefix("file://")) / layout.manifest(manifest.backup)
        path.write_bytes(path.read_bytes()[:-9])
    shard = look().shards[0]
    assert shard.last_full is None
    assert {"damage", "key-unusable"} & {each.code for each in shard.findings}


def test_bytes_that_rot_in_their_place_are_seen_within_an_hour(
    look: Callable[..., FleetStatus], repository: Repository, manifest: Manifest, clock: StandingClock
) -> None:
    assert look().shards[0].last_full is not None
    path = Path(repository.store.describe().removeprefix("file://")) / layout.manifest(manifest.backup)
    was, data = path.stat(), bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert look().shards[0].last_full is not None
    clock.sleep(3600)
    assert look().shards[0].last_full is None


def test_what_is_there_as_it_was_is_not_read_again(repository: Repository, manifest: Manifest) -> None:
    memory = Memory()
    first = read_shelf(repository, ["s1"], memory, now=StandingClock.at)
    remembered = memory.outlines[manifest.backup]
    assert read_shelf(repository, ["s1"], memory, now=StandingClock.at + HOUR / 2) == first
    assert memory.outlines[manifest.backup] is remembered


def test_a_repository_that_is_gone_leaves_the_last_known_and_nothing_of_it_is_well(
    look: Callable[..., FleetStatus], fleet: Fleet, clock: StandingClock
) -> None:
    before = look()
    shutil.move(fleet.repository.path, fleet.repository.path.with_name("away"))
    clock.sleep(7200)
    status = look()
    assert (status.health, status.seen_at) == (Health.CRITICAL, before.seen_at)
    assert status.unreachable is not None
    assert status.unreachable.endswith("known as of 2 h 00 min ago")
    assert status.findings[0].code == "repository-unreachable"
    assert status.findings[0].since == before.seen_at
    assert "init" not in status.what_to_do
    assert [shard.backups for shard in status.shards] == [shard.backups for shard in before.shards]
    assert [shard.shard for shard in look(["s2"]).shards] == ["s2"]
    shutil.move(fleet.repository.path.with_name("away"), fleet.repository.path)
    assert look().unreachable is None


def test_a_repository_that_never_answered_is_not_well_either(fleet: Fleet, clock: StandingClock) -> None:
    status = Looker(fleet, clock=clock).look()
    assert (status.health, status.shards) == (Health.CRITICAL, ())
    assert status.unreachable is not None
    assert status.unreachable.endswith("nothing was known before")


def test_a_status_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "state" / "status.json"
    status = fleet_that_is_well()
    assert keep(path, status)
    assert last_known(path, fleet=status.fleet) == status
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in path.parent.iterdir()] == ["status.json"]


def test_what_another_fleet_or_an_older_version_kept_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    keep(path, fleet_that_is_well())
    assert last_known(path, fleet="another") is None
    path.write_text(json.dumps({"fleet": fleet_that_is_well().fleet}))
    assert last_known(path, fleet=fleet_that_is_well().fleet) is None


def test_no_shard_of_the_last_known_is_well(tmp_path: Path, fleet: Fleet, clock: StandingClock) -> None:
    well = replace(fleet_that_is_well(), fleet="shop")
    shards = tuple(replace(shard, shard=name) for shard, name in zip(well.shards, ("s1", "s2"), strict=False))
    keep(places.status_file(fleet), replace(well, shards=shards))
    status = Looker(fleet, clock=clock).look()
    assert {shard.health for shard in status.shards} == {Health.UNKNOWN}


def test_the_history_of_lags_is_a_day_long_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "lag.json"
    history = LagHistory(path)
    history.note({"s1": 1.0, "s2": None}, NOW - 25 * HOUR)
    history.note({"s1": 2.0}, NOW - HOUR)
    assert LagHistory(path).note({"s1": 3.0, "s2": 4.0}, NOW) == {
        "s1": (LagPoint(NOW - HOUR, 2.0), LagPoint(NOW, 3.0)),
        "s2": (LagPoint(NOW, 4.0),),
    }


def test_who_looks_all_the_time_does_not_drown_the_day(tmp_path: Path) -> None:
    history, start = LagHistory(tmp_path / "lag.json"), NOW - HOUR
    for second in range(69):
        history.note({"s1": float(second % 30)}, start + timedelta(seconds=second))
    told = history.note({"s1": 9.0}, start + timedelta(seconds=69))
    assert [(point.at - start).total_seconds() for point in told["s1"]] == [0.0, 29.0, 58.0]
    assert [point.seconds for point in told["s1"]] == [28.0, 29.0, 29.0]


def test_a_history_that_cannot_be_read_or_written_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lag.json"
    path.write_text("{")
    assert LagHistory(path).note({"s1": 3.0}, NOW) == {"s1": (LagPoint(NOW, 3.0),)}
    below_a_file = tmp_path / "lag.json" / "lag.json"
    assert LagHistory(below_a_file).note({"s1": 3.0}, NOW) == {"s1": (LagPoint(NOW, 3.0),)}


def seen(manifest: Manifest, files_bytes: int) -> BackupSeen:
    at = manifest.timings.finished_at
    return BackupSeen(manifest.label, "full", at, at, files_bytes, 1)


def test_a_restore_of_twice_as_much_takes_twice_as_long(manifest: Manifest) -> None:
    backups = [seen(manifest, 100), replace(seen(manifest, 200), label="newer")]
    staged, measured = proof_of(manifest), proof_of(manifest, rto_seconds=60.0)
    assert forecast_rto([staged], backups) == (20.0, f"the restore of {manifest.label}")
    assert forecast_rto([measured, staged], backups) == (120.0, f"the proof of {manifest.label}")


def test_what_measured_no_restore_forecasts_none(manifest: Manifest) -> None:
    backups = [seen(manifest, 100)]
    assert forecast_rto([], backups) is None
    assert forecast_rto([proof_of(manifest, proven=False)], backups) is None
    assert forecast_rto([proof_of(manifest, seconds={"check": 0.1})], backups) is None
    assert forecast_rto([proof_of(manifest)], []) is None


def test_all_was_read_again_after_so_many_samples_as_cover_it() -> None:
    def read(hours: float, outcome: Any = "done") -> RunEnded:
        at = NOW + hours * HOUR
        return RunEnded(flow="verify", started_at=at, ended_at=at + HOUR / 2, outcome=outcome)

    journal = [read(-1), read(1), read(2, "failed"), read(3), read(4), read(5)]
    readings = Readings(journal, 30.0)
    assert readings.verified_at(NOW) == NOW + 5.5 * HOUR
    assert readings.verified_at(NOW + 2 * HOUR) is None
    assert Readings(journal, 100.0).verified_at(NOW) == NOW + 1.5 * HOUR


def test_a_backup_that_was_due_while_the_service_was_away_says_so(
    look: Callable[..., FleetStatus], fleet: Fleet
) -> None:
    history = RanHistory(places.ran_file(fleet))
    for hour in (2, 8):
        history.note(["service"], StandingClock.at.replace(hour=hour))
    (told,) = [each for each in look().shards[0].findings if each.code == "backup-overdue"]
    assert "backstay serve did not run here then (since 2026-03-01 02:00 UTC until 2026-03-01 08:00)" in (
        told.message
    )


def test_why_a_backup_is_missing_is_read_from_the_journal(
    look: Callable[..., FleetStatus], fleet: Fleet
) -> None:
    six = StandingClock.at.replace(hour=6)
    run = RunEnded(
        flow="incremental",
        shard="s1",
        due_at=six,
        started_at=six,
        ended_at=six,
        outcome="failed",
        message="s1-b serves another clone",
    )
    RunJournal(places.runs_file(fleet)).append(run)
    (told,) = [each for each in look().shards[0].findings if each.code == "backup-failed"]
    assert "s1-b serves another clone" in told.message
    assert told.since == six


def test_a_backup_that_failed_is_told_though_none_was_due(
    look: Callable[..., FleetStatus], fleet: Fleet
) -> None:
    at = StandingClock.at - HOUR / 2
    run = RunEnded(
        flow="full",
        shard="s1",
        started_at=at,
        ended_at=at,
        outcome="failed",
        message="s1-b serves another clone (on box-2)",
        hint="Wait for it, or name another donor.",
    )
    RunJournal(places.runs_file(fleet)).append(run)
    (told,) = [each for each in look().shards[0].findings if each.code == "backup-failed"]
    assert (told.health, told.subject, told.since) == (Health.WARNING, "shard s1", at)
    assert told.message == (
        "the last full backup, begun at 2026-03-01 11:30:00 UTC, failed: s1-b serves another clone (on box-2)"
    )
    assert told.hint == "Wait for it, or name another donor."
