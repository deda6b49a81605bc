"""A real server, and a flipped bit that verify finds: the next backup needs nothing of it, and is whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.consolidate import consolidate
from drills.reading import page_check
from fleet.errors import ObjectDamaged
from infra.sandbox.distribution import MysqlDistribution
from repository.findings import Findings, Noted
from repository.verification import Verification, verify_all
from repository.verify import Reading
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


def test_the_next_incremental_becomes_a_full_that_stores_every_page_and_says_why(
    shard: Shard, scratch_directory: Path
) -> None:
    full = shard.full()
    shard.change()
    link = shard.incremental()
    assert link.became_full_because is None
    pack, record = record_of(shard.repository, shard.manifest(full), "app/cold.ibd")
    path = shard.folder / "repository" / pack.name
    was = path.read_bytes()
    at = record.frame_offset + record.frame_length // 2
    path.chmod(0o600)
    path.write_bytes(was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :])

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
