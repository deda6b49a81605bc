"""Incrementals of a real server: what they hold, what forbids them, and what may happen meanwhile."""

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.incremental import plan_incremental_backup
from fleet.errors import Cancelled, TurnTaken
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from repository import layout
from repository.catalog import Catalog
from repository.verify import verify_backup
from tests.scenario.fleets import wait_free
from tests.scenario.incrementals import MIB, AtStage, Shard, flush, started_shard

pytestmark = pytest.mark.mysql


@pytest.fixture(scope="module")
def shard(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Shard]:
    """One donor for all tests here, with a full backup; each test builds on the newest there is."""
    with started_shard(scratch_directory / "incr", mysql_distribution, scratch_directory) as started:
        started.full()
        yield started


def test_a_chain_holds_what_changed_and_restores_to_what_the_donor_has(shard: Shard, tmp_path: Path) -> None:
    shard.change()
    shard.donor.query("CREATE TABLE app.moved (id INT PRIMARY KEY, pad VARCHAR(300))")
    shard.donor.query("INSERT INTO app.moved SELECT id, pad FROM app.items LIMIT 500")
    shard.donor.query("CREATE TABLE app.emptied LIKE app.moved")
    shard.donor.query("INSERT INTO app.emptied SELECT * FROM app.moved")
    shard.donor.query("CREATE TABLE app.gone SELECT * FROM app.moved")
    first = shard.incremental()
    assert first.kind == "incremental" and first.became_full_because is None
    assert first.base is not None and first.base.endswith("-full")
    shard.donor.query("RENAME TABLE app.moved TO app.renamed")
    shard.donor.query("TRUNCATE TABLE app.emptied")
    shard.donor.query("DROP TABLE app.gone")
    shard.donor.query("ALTER TABLE app.renamed ADD KEY (pad(10)), ALGORITHM=INPLACE")
    shard.change()
    plan = plan_incremental_backup(shard.fleet(), "s1", repository=shard.repository)
    assert (plan.kind, plan.base) == ("incremental", first.label)
    second = shard.incremental()
    assert second.base == first.label
    assert second.unchanged_bytes > 0.8 * second.files_bytes
    assert second.stored_bytes < 0.2 * second.files_bytes
    manifest = shard.manifest(second)
    assert manifest.base is not None and manifest.base.label == first.label
    assert manifest.sizes.unchanged_bytes == second.unchanged_bytes
    assert manifest.sizes.received_bytes == second.received_bytes
    assert verify_backup(shard.repository, manifest).is_sound
    shard.assert_restores(tmp_path / "data")


def test_no_page_is_lost_to_writers_to_a_full_spool_or_to_redo_logging_that_was_off(
    shard: Shard, tmp_path: Path
) -> None:
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            shard.change(50)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        busy = shard.incremental(policy={"rate_bytes_per_second": 60 * MIB})
        assert (busy.kind, busy.damaged_pages) == ("incremental", ())
        assert shard.incremental(policy={"spool_max_bytes": 1}).kind == "incremental"
    finally:
        done.set()
        writer.join()
    shard.donor.query("ALTER INSTANCE DISABLE INNODB REDO_LOG")
    shard.change(200)
    shard.donor.query("CREATE TABLE app.unlogged SELECT * FROM app.cold")
    shard.donor.query("ALTER INSTANCE ENABLE INNODB REDO_LOG")
    result = shard.incremental()
    assert result.kind == "incremental"
    assert verify_backup(shard.repository, shard.manifest(result)).is_sound
    shard.assert_restores(tmp_path / "data")


def test_a_chain_that_is_long_enough_becomes_a_full(shard: Shard) -> None:
    shard.full()
    shard.change()
    first = shard.incremental(policy={"max_chain": 1})
    assert first.kind == "incremental"
    plan = plan_incremental_backup(shard.fleet(max_chain=1), "s1", repository=shard.repository)
    second = shard.incremental(policy={"max_chain": 1})
    assert plan.kind == second.kind == "full"
    assert plan.became_full_because == second.became_full_because
    assert second.became_full_because is not None and "max_chain" in second.became_full_because
    assert second.base is None and shard.manifest(second).base is None
    assert second.label.endswith("-full")


def test_a_base_that_vanishes_meanwhile_makes_it_a_full(shard: Shard) -> None:
    base = shard.full()
    name = layout.manifest(shard.manifest(base).backup)
    result = shard.incremental(progress=AtStage("redo", lambda: shard.repository.store.delete(name)))
    assert result.kind == "full" and result.base is None
    assert result.became_full_because is not None and base.label in result.became_full_because
    assert not Catalog(shard.repository).survey("s1").unreadable
    assert verify_backup(shard.repository, shard.manifest(result)).is_sound


def test_a_second_run_is_refused_and_leaves_the_first_alone(shard: Shard) -> None:
    begun, cancelled = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def take() -> None:
        slow = {"rate_bytes_per_second": 5 * MIB}
        try:
            shard.incremental(
                policy=slow, progress=AtStage("file", begun.set, at_bytes=MIB), cancelled=cancelled
            )
        except Cancelled as error:
            ended.append(error)

    first = threading.Thread(target=take)
    first.start()
    assert begun.wait(20)
    with pytest.raises(TurnTaken, match="shard s1 is taken by"):
        shard.incremental()
    cancelled.set()
    first.join()
    assert ended, "the first was still at work when it was cancelled"
    assert shard.incremental().kind == "incremental"


def test_a_base_of_another_server_is_not_built_on(shard: Shard, scratch_server: ScratchServer) -> None:
    other = Shard(scratch_server, shard.folder, shard.mysqld, shard.clock)
    result = other.incremental()
    assert result.kind == "full"
    assert result.became_full_because is not None and "was copied from scratch" in result.became_full_because
    # The first one's backups are still there, and it goes on with its own.
    assert shard.incremental().kind == "incremental"


def test_the_donor_leaves_out_what_did_not_change_and_says_when_it_cannot(
    shard: Shard, tmp_path: Path
) -> None:
    assert "no list of changed pages" in shard.incremental().saving
    shard.track_pages()
    shard.full()
    shard.change()
    saved = shard.incremental()
    assert saved.skipped_bytes > 0, saved.saving
    assert shard.manifest(saved).sizes.skipped_bytes == saved.skipped_bytes
    shard.assert_restores(tmp_path / "data")


def test_a_donor_that_cannot_tell_what_changed_is_copied_whole_and_the_reason_told(shard: Shard) -> None:
    shard.track_pages()
    shard.full()
    donor, user = shard.donor, shard.donor.backup_account.user

    def why() -> str:
        result = shard.incremental()
        assert (result.kind, result.skipped_bytes) == ("incremental", 0)
        return result.saving

    assert "off" in shard.incremental(policy={"donor_saving": "off"}).saving
    donor.kill()
    donor.start()
    assert "started anew" in why()
    donor.query(f"REVOKE FILE ON *.* FROM '{user}'@'%'")
    assert "lacks FILE" in why()
    donor.query(f"GRANT FILE ON *.* TO '{user}'@'%'")
    donor.query("SELECT mysqlbackup_page_track_set(false)")
    assert "page tracking is off" in why()
    shard.change()
    donor.query("SELECT mysqlbackup_page_track_set(true)")
    assert "after the checkpoint" in why()


def die(shard: Shard, stage: str) -> None:
    """In a process of its own: take an incremental, and be killed at ``stage``."""
    shard.incremental(progress=AtStage(stage, lambda: os.kill(os.getpid(), signal.SIGKILL)))


@pytest.mark.slow
def test_a_killed_incremental_is_no_backup_and_the_next_one_goes_on(shard: Shard) -> None:
    before = shard.incremental()
    for stage in ("file", "page", "redo"):
        child = multiprocessing.get_context("spawn").Process(target=die, args=(shard, stage))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        wait_free(shard.donor, 6)
    after = shard.incremental()
    assert after.base == before.label
    assert verify_backup(shard.repository, shard.manifest(after)).is_sound


def test_a_damaged_page_of_a_cold_table_is_named_and_kept_as_it_is(shard: Shard) -> None:
    page = 5
    shard.donor.query("CREATE TABLE app.broken SELECT * FROM app.cold")
    shard.incremental()
    flush(shard.donor)
    shard.donor.stop()
    with (shard.donor.datadir / "app/broken.ibd").open("r+b") as file:
        file.seek(page * 16384 + 5000)
        byte = file.read(1)[0]
        file.seek(page * 16384 + 5000)
        file.write(bytes([byte ^ 0x55]))
    # It must not meet the page before we do.
    shard.donor.start(innodb_buffer_pool_load_at_startup="OFF")
    result = shard.incremental()
    assert result.kind == "incremental"
    assert [(found.file, found.page) for found in result.damaged_pages] == [("app/broken.ibd", page)]
    assert shard.manifest(result).damaged_pages == result.damaged_pages
    full = shard.full()
    assert full.damaged_pages == result.damaged_pages
    shard.donor.query("DROP TABLE app.broken")


def test_a_donor_that_was_put_back_to_an_older_state_is_copied_in_full(shard: Shard, tmp_path: Path) -> None:
    shard.donor.stop()
    shutil.copytree(shard.donor.datadir, tmp_path / "older")
    shard.donor.start()
    shard.change(500)
    shard.full()
    shard.donor.stop()
    shutil.rmtree(shard.donor.datadir)
    shutil.move(tmp_path / "older", shard.donor.datadir)
    shard.donor.start()
    result = shard.incremental()
    assert result.kind == "full"
    assert result.became_full_because is not None and "older state" in result.became_full_because
