"""A region is lost with its bucket: the mirror leads to the last point, and then becomes the repository."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backup.archive.news import News
from backup.full import take_full_backup
from backup.mirror.report import ArchiveBehind
from backup.mirror.run import Mirroring, run_mirror
from backup.mirror.status import mirror_status
from cli.mirroring import places_to_look_at, places_to_mirror
from fleet.clock import SystemClock
from fleet.errors import ToolError
from fleet.gtid import GtidSet
from fleet.model import Fleet, MirrorConfig, RepositoryConfig
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.objectstore import SeaweedServer
from infra.sandbox.scratch import ScratchServer
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.catalog import Catalog
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store
from restore.full import Leave
from restore.point import RecoveryTarget
from restore.point_restore import restore_to_point
from tests.scenario.archiving import (
    Archiver,
    Writers,
    archive_fleet,
    executed,
    wait_archived,
    wait_until,
    write,
)
from tests.scenario.fleets import bucket_section, repository_of
from tests.scenario.test_restore_backup import opened

pytestmark = [pytest.mark.mysql, pytest.mark.s3, pytest.mark.slow]


def two_regions(
    scratch: ScratchServer, seaweed: SeaweedServer, distribution: MysqlDistribution, folder: Path
) -> Fleet:
    """With its repository in one bucket, and the mirror in another."""
    home, away = (bucket_section(seaweed, name, folder, versioning=False) for name in ("home", "away"))
    fleet = archive_fleet(scratch, folder).model_copy(
        update={
            "repository": RepositoryConfig.model_validate(home),
            "mirror": MirrorConfig.model_validate(away | {"poll_seconds": 0.1}),
        }
    )
    restore = fleet.restore.model_copy(update={"mysqld": distribution.mysqld})
    return fleet.model_copy(update={"restore": restore})


class Mirror:
    """``mirror run`` in a thread of this process; stopped in order at the end of the ``with``."""

    def __init__(self, fleet: Fleet) -> None:
        self.news: list[News] = []
        self.cancelled = threading.Event()
        self.error: BaseException | None = None
        self._fleet = fleet
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.cancelled.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the mirror does not end"
        if self.error is not None and kind is None:
            raise self.error

    def _run(self) -> None:
        try:
            run_mirror(
                Mirroring(
                    self._fleet,
                    lambda: places_to_mirror(self._fleet),
                    SystemClock(),
                    self.cancelled,
                    progress=self.news.append,
                )
            )
        except BaseException as error:
            self.error = error


def behind(fleet: Fleet) -> ArchiveBehind:
    (shard,) = mirror_status(fleet, places_to_look_at(fleet), ["s1"], clock=SystemClock()).shards
    assert shard.archive is not None
    return shard.archive


def at_the_mirror(fleet: Fleet) -> tuple[Fleet, Repository]:
    """As ``--from mirror`` has it, and as it is after the url was changed."""
    there = fleet.at_mirror()
    return there, Repository.open(open_store(there.repository), Keyring.from_config(there.keys))


def lose(seaweed: SeaweedServer, bucket: str) -> None:
    """The region is gone, and all that was in it."""
    client = seaweed.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    for names in [[{"Key": each["Key"]} for each in page.get("Contents", [])] for page in pages]:
        client.delete_objects(Bucket=bucket, Delete={"Objects": names})
    client.delete_bucket(Bucket=bucket)


def test_a_lost_region_is_restored_from_the_mirror_which_then_is_the_repository(
    scratch_server: ScratchServer,
    seaweed: SeaweedServer,
    mysql_distribution: MysqlDistribution,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fleet = two_regions(scratch_server, seaweed, mysql_distribution, tmp_path)
    repository = repository_of(fleet)
    lags: list[float] = []
    with Mirror(fleet) as mirror, Archiver(fleet, repository) as archiver:
        archiver.wait_for("following")
        with Writers(scratch_server, pause_seconds=0.002) as writers:
            backup = take_full_backup(fleet, "s1", repository=repository)
            for _ in range(4):
                writers.wait_for(50)
                lags.append(behind(fleet).lag_seconds)
        wait_archived(ShardArchive(repository, "s1"), scratch_server)
        wait_until(lambda: behind(fleet).bytes_to_copy == 0, "the mirror has all binlogs")
        there, mirrored = at_the_mirror(fleet)
        wanted = executed(scratch_server)
    # Before the region goes: the backup is looked for less often than the newest binlogs.
    run_once(fleet)
    assert [each.label for each in Catalog(mirrored).backups("s1")] == [backup.label]
    assert not [each for each in mirror.news if each.is_alarm]
    with closing(scratch_server.connect()) as connection:
        sums = checksums(connection)

    lose(seaweed, urlsplit(fleet.repository.url).netloc)
    with pytest.raises(ToolError):
        behind(fleet)
    result = restore_to_point(
        there,
        "s1",
        tmp_path / "data",
        RecoveryTarget.latest(),
        repository=mirrored,
        leave=Leave.RUNNING,
        check="none",
    )
    assert GtidSet.parse(result.gtid_executed) == wanted
    with opened(result) as connection:
        assert checksums(connection) == sums

    # The url was changed: archive and backups go on where the mirror ends.
    with Archiver(there, mirrored) as archiver:
        archiver.wait_for("following")
        write(scratch_server, "after the loss")
        wait_archived(ShardArchive(mirrored, "s1"), scratch_server)
    line = Line.of(ShardArchive(mirrored, "s1"))
    assert (line.epoch.epoch, line.gaps) == (1, ())
    second = take_full_backup(there, "s1", repository=mirrored)
    assert [each.label for each in Catalog(mirrored).backups("s1")] == [backup.label, second.label]
    print(f"lag of the mirror under load: {sorted(lags)[len(lags) // 2]:.2f} s, at most {max(lags):.2f} s")


def run_once(fleet: Fleet) -> None:
    outcome = run_mirror(
        Mirroring(fleet, lambda: places_to_mirror(fleet), SystemClock(), threading.Event(), once=True)
    )
    assert not outcome.refused
