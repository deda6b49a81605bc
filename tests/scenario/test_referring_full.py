"""Fulls that store only what no older backup holds, and refer to the rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.full import plan_full_backup
from infra.sandbox.distribution import MysqlDistribution
from repository import layout
from repository.catalog import Catalog
from repository.verify import verify_backup
from tests.scenario.incrementals import AtStage, Shard, started_shard

pytestmark = pytest.mark.mysql


@pytest.fixture(scope="module")
def shard(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Shard]:
    """One donor for all tests here; each makes the backups that it needs."""
    with started_shard(scratch_directory / "refer", mysql_distribution, scratch_directory) as started:
        yield started


def test_a_full_that_refers_stores_little_and_an_incremental_goes_on_from_it(
    shard: Shard, tmp_path: Path
) -> None:
    stored = shard.full()
    shard.change()
    link = shard.incremental()
    shard.donor.query("CREATE TABLE app.born SELECT * FROM app.cold")
    shard.donor.query("RENAME TABLE app.cold TO app.colder")
    shard.donor.query("TRUNCATE TABLE app.born")
    shard.change()
    plan = plan_full_backup(shard.fleet(), "s1", repository=shard.repository, full="referring")
    result = shard.full(full="referring")
    assert (plan.kind, plan.built_on) == (result.kind, result.built_on) == ("full", link.label)
    assert result.became_full_because is None and result.base is None
    assert result.stored_bytes < 0.5 * stored.stored_bytes
    assert result.referred_bytes > 0.8 * stored.files_bytes
    manifest = shard.manifest(result)
    assert manifest.base is None and manifest.built_on == link.label
    assert {stored.label} <= {each.label for each in manifest.refers_to} <= {stored.label, link.label}
    assert manifest.needs.read == ("referring",)
    assert verify_backup(shard.repository, manifest).is_sound
    shard.donor.query("RENAME TABLE app.colder TO app.cold")
    shard.change()
    assert shard.incremental().base == result.label
    shard.assert_restores(tmp_path / "data")


def test_one_of_so_many_fulls_stores_every_page(shard: Shard) -> None:
    policy = {"full": "referring", "rebase_every": 3}
    shard.full(full="stored")
    results = [shard.full(policy=policy) for _ in range(4)]
    assert [result.built_on is not None for result in results] == [True, True, False, True]
    assert results[2].became_full_because is not None and "rebase_every" in results[2].became_full_because


def test_a_long_chain_becomes_a_full_that_refers_where_the_config_says_so(shard: Shard) -> None:
    shard.full()
    shard.change()
    shard.incremental()
    result = shard.incremental(policy={"full": "referring", "max_chain": 1})
    assert (result.kind, result.referred_bytes > 0) == ("full", True)
    assert result.became_full_because is not None and "max_chain" in result.became_full_because


def test_without_anything_to_refer_to_every_page_is_stored_and_the_reason_told(shard: Shard) -> None:
    store = shard.repository.store
    for info in list(store.list(layout.manifests("s1"))):
        store.delete(info.key)
    result = shard.full(full="referring")
    assert result.built_on is None and result.referred_bytes == 0
    assert result.became_full_because is not None and "no backup" in result.became_full_because


def test_what_it_refers_to_vanishes_meanwhile_and_every_page_is_stored(shard: Shard) -> None:
    base = shard.full()
    name = layout.manifest(shard.manifest(base).backup)
    progress = AtStage("redo", lambda: shard.repository.store.delete(name))
    result = shard.full(full="referring", progress=progress)
    assert result.built_on is None
    assert result.became_full_because is not None and base.label in result.became_full_because
    assert not Catalog(shard.repository).survey("s1").unreadable


def test_the_donor_sends_only_what_changed_to_a_full_that_refers(shard: Shard, tmp_path: Path) -> None:
    shard.track_pages()
    shard.full()
    shard.change()
    result = shard.full(full="referring")
    assert result.skipped_bytes > 0, result.saving
    assert verify_backup(shard.repository, shard.manifest(result)).is_sound
    shard.assert_restores(tmp_path / "data")
