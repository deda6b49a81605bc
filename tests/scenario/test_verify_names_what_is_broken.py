"""A damaged pack of a real server's backups: the table is named, and a stored full is whole again."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.archive.catch_up import archive_until_now
from drills.reading import page_check
from fleet.clock import SystemClock
from infra.sandbox.distribution import MysqlDistribution
from repository.index import PackRef, Record
from repository.manifest import Manifest
from repository.reader import BackupReader
from repository.repository import Repository
from repository.verification import Verification, verify_all
from repository.verify import Reading
from tests.scenario.archiving import archive_fleet
from tests.scenario.incrementals import Shard, started_shard

pytestmark = pytest.mark.mysql


class Silent:
    def stage(self, name: str, total_bytes: int | None = None) -> None: ...

    def reach(self, done_bytes: int, total_bytes: int) -> None: ...


@pytest.fixture(scope="module")
def shard(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Shard]:
    with started_shard(scratch_directory / "verify", mysql_distribution, scratch_directory) as started:
        yield started


def verified(shard: Shard) -> Verification:
    return verify_all(shard.repository, ["s1"], Reading(pages=page_check), Silent())


def archive(shard: Shard) -> None:
    """What is written by now; a transaction behind the newest backup, so that it leads to a point."""
    shard.change()
    archive_until_now(
        archive_fleet(shard.donor, shard.folder),
        ["s1"],
        shard.repository,
        clock=SystemClock(),
        cancelled=threading.Event(),
    )


def record_of(repository: Repository, manifest: Manifest, file: str) -> tuple[PackRef, Record]:
    """The first record of the file, and its pack."""
    (number,) = (entry.number for entry in manifest.files if entry.name == file)
    for part in BackupReader(repository, manifest).index_parts():
        for record in part.records():
            if record.file == number and record.offset:
                return part.packs[record.pack], record
    raise AssertionError(file)


def test_a_damaged_pack_is_told_by_its_table_and_a_stored_full_begins_a_whole_window(shard: Shard) -> None:
    full = shard.full()
    shard.change()
    link = shard.incremental()
    referring = shard.full(full="referring")
    archive(shard)

    found = verified(shard)
    assert found.is_sound, found
    packed = sum(report.pages for report in found.backups)
    assert packed > full.files_bytes // 16384 * 0.9
    (before,) = found.windows
    assert before.windows and not before.lost
    assert found.archives[0].transactions > 0

    pack, record = record_of(shard.repository, shard.manifest(full), "app/cold.ibd")
    path = shard.folder / "repository" / pack.name
    content = bytearray(path.read_bytes())
    content[record.frame_offset + record.frame_length // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)

    found = verified(shard)
    assert [damage.name for report in found.backups for damage in report.damages] == [pack.name]
    told = {each.label: {file.table: file for file in each.files} for each in found.broken}
    assert set(told) == {full.label, link.label, referring.label}
    for tables in told.values():
        cold = tables["app.cold"]
        # Some of its pages may have come again in a later stage, or in the incremental.
        last = (record.offset + record.length) // 16384 - 1
        assert all(record.offset // 16384 <= each.first <= each.last <= last for each in cold.ranges)
        assert (cold.unit, cold.name) == ("page", "app/cold.ibd")
    (loss,) = found.windows
    assert loss.windows == () and loss.lost == before.windows

    fresh = shard.full(full="stored")
    archive(shard)
    found = verified(shard)
    assert fresh.label not in {each.label for each in found.broken}
    (after,) = found.windows
    (window,) = after.windows
    # What was committed before it can no longer be reached; what comes later, all of it.
    assert before.windows[-1].last_at <= window.first_at < window.last_at
