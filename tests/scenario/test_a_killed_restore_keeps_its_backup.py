"""A restore that was stopped goes on with the backup it was begun with, whatever was taken meanwhile."""

import threading
from pathlib import Path

import pytest

from backup.full import take_full_backup
from fleet.errors import Cancelled, TargetRefused
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from restore.full import plan_full_restore, restore_backup
from tests.scenario.fleets import fill, fleet_of, repository_of

pytestmark = pytest.mark.mysql


class CancelAtFirstBytes:
    """Sets ``cancelled`` as soon as something was fetched."""

    def __init__(self, cancelled: threading.Event) -> None:
        self._cancelled = cancelled

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        if name in ("page", "redo", "recover"):
            self._cancelled.set()

    def advance(self, count_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def test_the_same_command_goes_on_although_a_newer_backup_is_there(
    scratch_server: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    fill(scratch_server, 2000)
    fleet = fleet_of(scratch_server, folder=tmp_path, restore={"mysqld": str(mysql_distribution.mysqld)})
    repository = repository_of(fleet)
    first = take_full_backup(fleet, "s1", repository=repository)
    target, cancelled = tmp_path / "target", threading.Event()
    with pytest.raises(Cancelled):
        restore_backup(
            fleet,
            "s1",
            target,
            repository=repository,
            progress=CancelAtFirstBytes(cancelled),
            cancelled=cancelled,
        )
    newer = take_full_backup(fleet, "s1", repository=repository)
    assert plan_full_restore(fleet, "s1", target, repository=repository).manifest.label == first.label
    with pytest.raises(TargetRefused) as caught:
        plan_full_restore(fleet, "s1", target, repository=repository, label=newer.label)
    assert f"--backup {first.label}" in (caught.value.hint or "")
    assert restore_backup(fleet, "s1", target, repository=repository).label == first.label
