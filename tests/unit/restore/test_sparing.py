"""What a restore leaves free for the service that lives on the same disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import DiskFull
from fleet.gtid import GtidSet
from fleet.model import Fleet
from repository.chain import Chain
from repository.manifest import FileEntry
from restore import replaying
from restore.journal import JournalState, ReplayBegun
from restore.plan import plan_restore
from restore.point_plan import Estimate, PointPlan, Stretch
from restore.point_planning import check_room
from restore.replay import ReplayOrder, ReplayState
from restore.replaying import Given, replay_telling
from restore.sparing import check_spared, look_sparing, spared_bytes, spared_for
from restore.target import TargetFacts
from tests.unit.restore.test_restore_plan import MANIFEST

GB = 10**9
CHAIN = Chain((MANIFEST,))
OTHER_DISK = Path("/dev/shm")


def fleet_with(state: Path, spool: Path) -> Fleet:
    server = {"name": "a", "host": "db", "region": "eu"}
    return Fleet.model_validate(
        {
            "name": "shop",
            "regions": ["eu"],
            "shards": [{"name": "s1", "servers": [server]}],
            "accounts": {"backup": {"user": "b", "password": {"env": "P"}}},
            "repository": {"url": "file:///r"},
            "keys": [{"id": "k", "provider": "file", "file": "/k"}],
            "service": {"directory": str(state)},
            "archive": {"spool_directory": str(spool)},
        }
    )


@pytest.mark.parametrize(
    ("disk", "spared"),
    [(1000 * GB, 10 * GB), (100 * GB, 5 * GB), (4 * GB, 256 << 20), (1 << 30, 256 << 20), (8 << 20, 2 << 20)],
)
def test_a_twentieth_is_spared_within_bounds_and_never_most_of_a_small_disk(disk: int, spared: int) -> None:
    assert spared_bytes(disk) == spared


def test_only_a_disk_that_the_service_lives_on_is_spared(tmp_path: Path) -> None:
    nowhere, target = tmp_path / "nowhere", tmp_path / "restored"
    assert spared_for(fleet_with(nowhere, nowhere), target) == 0
    for name in ("state", "spool"):
        (tmp_path / name).mkdir()
    for fleet in (fleet_with(tmp_path / "state", nowhere), fleet_with(nowhere, tmp_path / "spool")):
        spared = spared_for(fleet, target)
        assert spared > 0
        assert look_sparing(fleet, target).spared_bytes == spared
        if OTHER_DISK.is_dir() and OTHER_DISK.stat().st_dev != tmp_path.stat().st_dev:
            assert spared_for(fleet, OTHER_DISK / "restored") == 0


def test_a_state_directory_that_this_user_may_not_look_at_is_spared_and_refuses_no_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, asked = tmp_path / "closed" / "state", Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == state:
            raise PermissionError(13, "Permission denied", str(path))
        return asked(path, follow_symlinks=follow_symlinks)

    state.parent.mkdir()
    monkeypatch.setattr(Path, "stat", stat)
    assert spared_for(fleet_with(state, tmp_path / "nowhere"), tmp_path / "restored") > 0


def test_below_a_state_directory_that_is_not_there_yet_it_is_spared_too(tmp_path: Path) -> None:
    fleet = fleet_with(tmp_path / "state", tmp_path / "nowhere")
    assert spared_for(fleet, tmp_path / "state" / "proofs" / "s1") > 0


def test_what_is_spared_is_shown_and_is_not_used() -> None:
    facts = TargetFacts(Path("/data"), free_bytes=10 * GB, spared_bytes=9 * GB)
    steps = plan_restore(CHAIN, facts, None).steps()
    assert any("10.0 GB are free, of which 9.00 GB must stay free for the service" in step for step in steps)
    full = replace(facts, spared_bytes=10 * GB)
    with pytest.raises(DiskFull, match=r"are needed, 10.0 GB are free, of which 10.0 GB must stay free"):
        plan_restore(CHAIN, full, None)


def test_binlogs_that_wait_are_not_put_into_what_is_spared() -> None:
    facts = TargetFacts(Path("/data"), free_bytes=10 * GB, spared_bytes=9 * GB)
    plan = plan_restore(CHAIN, facts, None)
    check_room(plan, Stretch(log_bytes=100 << 20))
    with pytest.raises(DiskFull, match=r"to be applied, 10.0 GB are free, of which 9.00 GB must stay"):
        check_room(plan, Stretch(log_bytes=900 << 20))


def test_a_replay_that_goes_on_is_not_refused_for_what_it_has_grown_into() -> None:
    header = plan_restore(CHAIN, TargetFacts(Path("/data"), free_bytes=10 * GB), None).header
    fetched = JournalState(header, fetched=True)
    facts = TargetFacts(Path("/data"), exists=True, free_bytes=6 * GB, spared_bytes=9 * GB, journal=fetched)
    with pytest.raises(DiskFull):
        check_room(plan_restore(CHAIN, facts, None, to_point=True), Stretch(log_bytes=1))
    begun = replace(facts, journal=replace(fetched, replay=ReplayBegun("", standby=False)))
    check_room(plan_restore(CHAIN, begun, None, to_point=True), Stretch(log_bytes=1))


def test_what_grows_into_the_half_of_it_is_stopped(tmp_path: Path) -> None:
    there = TargetFacts(tmp_path / "restored")
    check_spared(there)
    check_spared(replace(there, spared_bytes=2))
    with pytest.raises(DiskFull, match=r"the replay grows, and .* are free, less than the 576 PB at which"):
        check_spared(replace(there, spared_bytes=1 << 60))


def test_a_replay_looks_at_the_disk_until_it_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a real replay does others test: here the disk ends it, or comes too late for that."""
    done = 2

    def replay(*_: object, on_state: Callable[[ReplayState], None], **_options: object) -> None:
        on_state(ReplayState(done, 2, 3, 4.0))

    monkeypatch.setattr(replaying, "replay", replay)
    anything: Any = None
    given = Given(anything, anything, cancelled=threading.Event())
    order = ReplayOrder(gtids=GtidSet(), skipped=GtidSet(), stop_before=None, log_bytes=1)
    full = TargetFacts(tmp_path, spared_bytes=1 << 60)
    replay_telling(given, anything, anything, order, full)
    done = 1
    with pytest.raises(DiskFull, match="the replay grows"):
        replay_telling(given, anything, anything, order, full)


def test_on_a_disk_of_its_own_a_replay_ends_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What mysqld says on a full disk would pass for a shard that cannot be recovered."""
    free = [65 << 20, 63 << 20]

    def statvfs(_path: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 100 * GB // 4096, 0, free.pop(0) // 4096, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    check_spared(TargetFacts(tmp_path))
    with pytest.raises(DiskFull, match=r"less than the 67.1 MB at which it ends"):
        check_spared(TargetFacts(tmp_path))


def planned(log_bytes: int, files_bytes: int, *, transactions: int = 23) -> PointPlan:
    plan = plan_restore(CHAIN, TargetFacts(Path("/data"), free_bytes=1 << 50), None)
    sized = replace(plan, chain=Chain((MANIFEST.model_copy(update={"files": (_file(files_bytes),)}),)))
    estimated = Estimate(1.0, 1.0, 10.0)
    point: Any = None
    return PointPlan(point, point, sized, 1, Stretch(log_bytes=log_bytes), transactions, estimated)


def _file(size: int) -> FileEntry:
    return FileEntry(number=0, name="ibdata1", size=size, space_id=0, page_size=16384)


def test_the_plan_has_room_for_what_a_real_replay_was_seen_to_take() -> None:
    """A proof whose rows came in random order of three indexes, and of which a third was changed then. At its
    worst moment its directory took 168 MB of data, 57 of undo, 105 of redo, 56 of relay logs and 30 of
    doublewrite and temporary files.
    """
    backup, binlog, taken = 212_095_225, 40_343_017, 415_776_768
    assert backup + binlog < taken
    assert taken <= backup + planned(binlog, 84_000_000).replay_bytes <= 1.2 * taken


def test_a_shard_is_not_taken_to_more_than_double_and_what_replays_nothing_adds_nothing() -> None:
    assert planned(900 * GB, 100 * GB).replay_bytes == 100 * GB + (1 << 30)
    assert planned(900 * GB, 100 * GB, transactions=0).replay_bytes == 0
