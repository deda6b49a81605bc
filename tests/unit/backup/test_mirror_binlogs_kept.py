"""Which binlogs a mirror is not to copy: those that its own prune would let go, and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup.mirror.kept import KeptBinlogs
from fleet.gtid import GtidSet
from fleet.policy import Retention
from repository import layout
from repository.archive.archive import ShardArchive
from repository.damage_notes import DamageNotes
from repository.holds import Holds
from repository.layout import BackupName, BinlogFile
from repository.mirror.places import Places
from repository.mirror.round import Looker
from tests.unit.backup.mirrored import World
from tests.unit.repository.archive.archived_binlogs import CREATED
from tests.unit.repository.sealed_backups import UUID

DAY = 86_400


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three binlog files of five transactions each, a backup of the first, and later two of most of it."""
    made = World.made(tmp_path)
    for number in (1, 2, 3):
        made.archive_file(number, uuid=UUID)
    made.take_full()
    made.clock.sleep(10 * DAY)
    made.take_full()
    made.clock.sleep(90 * DAY)
    made.take_full()
    made.run()
    return made


def policy(world: World, *, days: float, grace_hours: float = 0.0) -> Retention:
    return Retention.model_validate({"days": days, "grace_hours": grace_hours, "minimum_fulls": 3})


def left_out(world: World, terms: Retention) -> set[BinlogFile]:
    seen = Looker(Places(world.repository, world.mirrored), terms).look(world.clock.now())
    known = {
        name: each._replace(low=_held(world, name), high=_held(world, name))
        for name, each in seen.known.items()
    }
    later = replace(seen, known=known)
    kept = KeptBinlogs(ShardArchive(world.repository, "s1"), terms, lambda: later, world.clock)
    return set(kept.left_out([each.name for each in world.files]))


def _held(world: World, name: BackupName) -> GtidSet:
    last = 5 if name == world.manifests[0].backup else 12
    return GtidSet.parse(f"{UUID}:1-{last}")


def files(world: World, *numbers: int) -> set[BinlogFile]:
    return {world.files[number].name for number in numbers}


def test_what_no_backup_of_the_window_needs_is_left_out(world: World) -> None:
    assert left_out(world, policy(world, days=30.0)) == files(world, 0, 1)


def test_binlogs_of_the_grace_time_before_the_window_are_copied_however_late(world: World) -> None:
    days = (world.clock.now().timestamp() - CREATED) / DAY - 1
    assert left_out(world, policy(world, days=days)) != set()
    assert left_out(world, policy(world, days=days, grace_hours=48.0)) == set()


def test_what_a_held_backup_leads_to_is_copied(world: World) -> None:
    now = world.clock.now()
    until = now + timedelta(days=9)
    Holds(world.repository).place(world.manifests[0].backup, "audit", until, now=now, by="me")
    assert left_out(world, policy(world, days=30.0)) == files(world, 0)


def test_where_the_backup_before_the_window_is_damaged_the_binlogs_behind_an_older_one_are_copied(
    world: World,
) -> None:
    DamageNotes(world.repository).put(layout.pack(world.manifests[1].backup, 0), "it is not there")
    assert left_out(world, policy(world, days=30.0)) == files(world, 0)
