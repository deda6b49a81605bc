"""A full backup of a real server, and everything that can end it early."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.full import plan_full_backup, take_full_backup
from backup.result import BackupResult
from fleet.errors import (
    Cancelled,
    CloneInterrupted,
    DonorBusy,
    ObjectExists,
    ServerRefused,
    ServerUnreachable,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
    ToolError,
    TurnTaken,
)
from fleet.gtid import GtidSet
from fleet.model import Fleet
from infra.sandbox.scratch import ScratchServer
from repository.catalog import Catalog
from repository.repository import Repository
from repository.stores.interface import Buffer, Store, Stored
from repository.stores.opening import open_store
from repository.verify import verify_backup
from tests.scenario.fleets import fill, fleet_of, repository_of, wait_free

pytestmark = pytest.mark.mysql

MIB = 1024 * 1024


class ObservedProgress:
    """Calls ``at_stage`` when the named stage begins, and ``at_bytes`` when so many bytes of it are there."""

    def __init__(self, stage: str, at_bytes: int, act: Callable[[], None]) -> None:
        self._wanted, self._at_bytes, self._act = stage, at_bytes, act
        self._stage, self._count, self._done = "", 0, False

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        self._stage, self._count = name, 0
        self.advance(0)

    def advance(self, count_bytes: int) -> None:
        self._count += count_bytes
        if self._stage == self._wanted and self._count >= self._at_bytes and not self._done:
            self._done = True
            self._act()

    def note(self, text: str) -> None:
        pass


def backup(fleet: Fleet, repository: Repository | None = None, **more: object) -> BackupResult:
    return take_full_backup(fleet, "s1", repository=repository or repository_of(fleet), **more)  # type: ignore[arg-type]


def nothing_but_the_repository(fleet: Fleet) -> bool:
    return not [
        o.key for o in open_store(fleet.repository).list("") if o.key.split("/")[0] in {"data", "manifests"}
    ]


def test_a_backup_is_listed_sound_and_holds_the_donors_facts(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fill(scratch_server, 2000)
    fleet = fleet_of(scratch_server, folder=tmp_path)
    repository = repository_of(fleet)
    plan = plan_full_backup(fleet, "s1", repository=repository)
    assert plan.donor == "scratch" and plan.data_bytes > 30 * MIB
    result = backup(fleet, repository)
    manifest = Catalog(repository).manifest("s1", "latest")
    assert manifest.label == result.label
    assert manifest.donor.server_uuid == scratch_server.query("SELECT @@server_uuid AS u")[0]["u"]
    executed = GtidSet.parse(scratch_server.query("SELECT @@global.gtid_executed AS g")[0]["g"])
    assert manifest.gtid.low == manifest.gtid.high == str(executed)
    assert manifest.lsn.start <= manifest.lsn.checkpoint <= manifest.lsn.end
    names = {entry.name for entry in manifest.files}
    assert {"ibdata1", "mysql.ibd", "undo_001", "app/items.ibd", "#innodb_redo/#ib_redo0"} <= names
    assert result.received_bytes / result.stored_bytes > 1.5
    assert verify_backup(repository, manifest).is_sound
    wait_free(scratch_server)


@pytest.mark.parametrize("stage", ["file", "page", "redo"])
def test_a_cancelled_backup_leaves_nothing_and_frees_the_donor(
    scratch_server: ScratchServer, tmp_path: Path, stage: str
) -> None:
    fleet = fleet_of(scratch_server, folder=tmp_path)
    cancelled = threading.Event()
    with pytest.raises(Cancelled):
        backup(fleet, progress=ObservedProgress(stage, 0, cancelled.set), cancelled=cancelled)
    wait_free(scratch_server)
    assert nothing_but_the_repository(fleet)
    backup(fleet)


@pytest.mark.parametrize("stage", ["file", "page", "redo"])
def test_a_donor_that_dies_in_mid_stage_is_told_and_the_next_run_works(
    scratch_server: ScratchServer, tmp_path: Path, stage: str
) -> None:
    fill(scratch_server, 2000)
    fleet = fleet_of(scratch_server, folder=tmp_path)
    with pytest.raises((CloneInterrupted, ServerUnreachable)) as caught:
        backup(fleet, progress=ObservedProgress(stage, 0, scratch_server.kill))
    assert caught.value.retryable
    assert nothing_but_the_repository(fleet)
    scratch_server.start()
    backup(fleet)


def test_a_donor_that_restarts_is_copied_by_the_next_try_of_the_same_run(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = fleet_of(scratch_server, folder=tmp_path, backup={"donor": "primary", "retries": 3})

    def restart() -> None:
        scratch_server.kill()
        threading.Thread(target=scratch_server.start).start()

    result = backup(fleet, progress=ObservedProgress("file", MIB, restart))
    assert result.interruptions
    assert verify_backup(repository_of(fleet), Catalog(repository_of(fleet)).manifest("s1")).is_sound


def test_a_second_backup_of_the_same_donor_is_refused_and_the_first_goes_on(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fill(scratch_server, 2000)
    slow = fleet_of(
        scratch_server,
        folder=tmp_path,
        backup={"donor": "primary", "retries": 0, "rate_bytes_per_second": 20 * MIB},
    )
    results: list[BackupResult] = []
    begun = threading.Event()
    first = threading.Thread(
        target=lambda: results.append(backup(slow, progress=ObservedProgress("file", MIB, begun.set)))
    )
    first.start()
    assert begun.wait(20)
    with pytest.raises(TurnTaken, match="shard s1 is taken by"):
        backup(slow)
    # Who writes into another repository is refused by the donor itself.
    (tmp_path / "other").mkdir()
    with pytest.raises((DonorBusy, ServerRefused), match="another clone"):
        backup(fleet_of(scratch_server, folder=tmp_path / "other", backup={"retries": 0}))
    first.join()
    assert len(results) == 1


class FailingStore:
    """The store below, until the ``nth`` put of a pack; then ``error``."""

    def __init__(self, store: Store, nth: int, error: ToolError) -> None:
        self._store, self._left, self._error = store, nth, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        if "/p0" in key:
            self._left -= 1
            if self._left <= 0:
                raise self._error
        return self._store.put(key, data, if_absent=if_absent, sha256=sha256)


class SlowStore(FailingStore):
    """More than half a second for each pack."""

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        if "/p0" in key:
            time.sleep(0.6)
        return self._store.put(key, data, if_absent=if_absent, sha256=sha256)


@pytest.mark.parametrize(
    "error", [StoreUnreachable("gone"), StoreFull("full"), StoreDenied("read-only"), ObjectExists("taken")]
)
def test_a_store_that_fails_in_the_middle_ends_the_backup_with_its_own_error(
    scratch_server: ScratchServer, tmp_path: Path, error: ToolError
) -> None:
    fleet = fleet_of(scratch_server, folder=tmp_path)
    plain = repository_of(fleet).store
    failing = repository_of(fleet, FailingStore(plain, 2, error))  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        backup(fleet, failing)
    wait_free(scratch_server)
    assert not Catalog(repository_of(fleet)).backups()
    backup(fleet)


def test_a_small_spool_bounds_memory_and_disk_and_loses_nothing(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    """A store slower than the donor, and a spool that fills: the stream is let go of and resumed."""
    fill(scratch_server, 150_000)
    fleet = fleet_of(
        scratch_server,
        folder=tmp_path,
        repository={"url": f"file://{tmp_path}/repository", "pack_size_bytes": MIB},
        backup={
            "donor": "primary",
            "retries": 0,
            "memory_queue_bytes": 8 * MIB,
            "spool_max_bytes": 16 * MIB,
            "stall_seconds": 0.5,
        },
        parallelism={"compress_threads": 1, "upload_threads": 1},
    )
    plain = repository_of(fleet).store

    result = backup(fleet, repository_of(fleet, SlowStore(plain, 0, StoreFull("never"))))  # type: ignore[arg-type]
    assert result.spilled_bytes > 0
    assert result.resumes > 0
    assert verify_backup(repository_of(fleet), Catalog(repository_of(fleet)).manifest("s1")).is_sound
