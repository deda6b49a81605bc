"""A real server, and a flipped bit that verify or a restore finds: the next backup needs nothing of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.consolidate import consolidate
from drills.reading import page_check
from fleet.errors import ObjectDamaged, TargetRefused
from infra.sandbox.distribution import MysqlDistribution
from repository.findings import Findings, Noted
from repository.index import PackRef, Record
from repository.verification import Verification, verify_all
from repository.verify import Reading
from restore.full import restore_backup
from tests.scenario.incrementals import Shard, started_shard
from tests.scenario.test_verify_names_what_is_broken import Silent, record_of

pytestmark = pytest.mark.mysql


@pytest.fixture(scope="module")
def shard(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Shard]:
    with started_shard(scratch_directory / "spread", mysql_distribution, scratch_directory) as started:
        yield started


def verify(shard: Shard) -> tuple[Verification, Noted]:
    reading = Reading(pages=page_check)
    found = verify_all(shard.repository, ["s1"], reading, Silent())
    return found, Findings(shard.repository).settle(found, reading)


def flip(shard: Shard, pack: PackRef, record: Record) -> tuple[Path, bytes]:
    """A bit in the middle of the record's frame; returns the file, and what was in it."""
    path = shard.folder / "repository" / pack.name
    was = path.read_bytes()
    at = record.frame_offset + record.frame_length // 2
    path.chmod(0o600)
    path.write_bytes(was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :])
    return path, was


def test_the_next_incremental_becomes_a_full_that_stores_every_page_and_says_why(
    shard: Shard, scratch_directory: Path
) -> None:
    full = shard.full()
    shard.change()
    link = shard.incremental()
    assert link.became_full_because is None
    pack, record = record_of(shard.repository, shard.manifest(full), "app/cold.ibd")
    path, was = flip(shard, pack, record)

    # Until somebody has read it, nobody knows.
    shard.change()
    second = shard.incremental()
    assert (second.kind, second.base) == ("incremental", link.label)
    found, noted = verify(shard)
    assert not found.is_sound and noted == Noted(recorded=(pack.name,))
    (finding,) = Findings(shard.repository).all("s1")
    assert finding.labels == (full.label, link.label, second.label)

    shard.change()
    with pytest.raises(ObjectDamaged, match="verify found pack"):
        consolidate(shard.repository, "s1", second.label)
    fresh = shard.incremental()
    assert (fresh.kind, fresh.became_full_because) == ("full", finding.short)
    assert not shard.manifest(fresh).refers_to
    found, _ = verify(shard)
    assert fresh.label not in {each.label for each in found.broken}
    shard.assert_restores(scratch_directory / "spread-restored")

    # It goes on from the whole one, and from there alone.
    shard.change()
    link = shard.incremental()
    assert (link.kind, link.base) == ("incremental", fresh.label)
    path.write_bytes(was)
    found, noted = verify(shard)
    assert found.is_sound and noted == Noted(taken_away=(pack.name,))
    assert Findings(shard.repository).all() == ()


def test_a_restore_that_meets_damage_tells_it_and_the_next_incremental_is_not_built_on_it(
    shard: Shard, scratch_directory: Path
) -> None:
    full = shard.full()
    shard.change()
    link = shard.incremental()
    pack, record = record_of(shard.repository, shard.manifest(full), "app/cold.ibd")
    flip(shard, pack, record)

    fleet, met = shard.fleet(), scratch_directory / "spread-met"
    with pytest.raises(ObjectDamaged) as failed:
        restore_backup(fleet, "s1", met, repository=shard.repository)
    assert pack.name in failed.value.message
    assert "is written down" in str(failed.value.hint)
    (finding,) = Findings(shard.repository).all("s1")
    assert (finding.object, finding.labels) == (pack.name, (full.label, link.label))

    shard.change()
    fresh = shard.incremental()
    assert fresh.base not in {full.label, link.label}
    with pytest.raises(TargetRefused, match=f"spread-met holds a restore of s1/{link.label} .* damaged on"):
        restore_backup(fleet, "s1", met, repository=shard.repository)
    shard.assert_restores(met, delta=True)
