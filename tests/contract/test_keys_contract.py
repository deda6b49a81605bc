"""A key comes, takes over and goes over every kind of store."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import CheckFailed, KeyUnusable
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.ledger import EpochFacts
from repository.catalog import Catalog
from repository.introduction import Introduced, introduce_key
from repository.key_pair import PairSource, create_pair
from repository.key_survey import survey_keys
from repository.keys import FileSource, Keyring, KeySource, create_key_file
from repository.manifest import Manifest
from repository.repository import Repository
from repository.retirement import Retired, retire
from repository.rotation import Rotated, plan_rotation, rotate
from repository.stores.interface import Store
from tests.unit.repository.sealed_backups import UUID, TickingClock, differing, restored, sample, take

# What the other stores do in their own ways, the contract of stores holds them to.
pytestmark = pytest.mark.parametrize(
    "store", ["memory", "filesystem", pytest.param("s3", marks=pytest.mark.s3)], indirect=True
)

SAMPLE = sample(pages=4)
NOTHING = GtidSet.parse("")
FIRST = EpochFacts("first", UUID, "s1-a", NOTHING, None, NOTHING, NOTHING)


def content(store: Store, manifest: Manifest, *keys: KeySource) -> dict[str, bytes]:
    """What the backup gives by these keys alone; the epoch must open as well."""
    repository = Repository.open(store, Keyring(keys))
    assert ShardArchive(repository, "s1").epoch(1).server_uuid == UUID
    return restored(repository, Catalog(repository).read_manifest(manifest.backup))


def test_a_pair_takes_over_from_a_key_file(store: Store, tmp_path: Path) -> None:
    clock = TickingClock()
    create_key_file(tmp_path / "old.key")
    create_pair(tmp_path / "new.key", tmp_path / "new.pub")
    old, new = FileSource("old", tmp_path / "old.key"), PairSource("new", None, tmp_path / "new.key")
    first = Repository.create(store, Keyring([old]), clock)
    manifest = take(first, clock, SAMPLE)
    ShardArchive(first, "s1").open_epoch(FIRST, clock)
    assert introduce_key(first, Keyring([old, new]), "new", clock) is Introduced.NEW
    assert introduce_key(first, Keyring([old, new]), "new", clock) is Introduced.KNOWN

    both = Repository.open(store, Keyring([new, old]))
    with pytest.raises(CheckFailed):
        retire(both, "old", clock)
    assert rotate(both, plan_rotation(both)) == Rotated("new", 2, 0, ())
    assert rotate(both, plan_rotation(both)) == Rotated("new", 0, 2, ())
    assert retire(both, "old", clock) == Retired("old", 2)

    assert differing(content(store, manifest, new), SAMPLE.content()) == []
    with pytest.raises(KeyUnusable):
        content(store, manifest, old)
    survey = survey_keys(Repository.open(store, Keyring([new])), ("new",))
    assert [(key.key_id, key.backups, key.epochs) for key in survey.keys] == [("new", 1, 1)]
    assert [info.key for info in store.list(layout.KEYRING)] == [layout.keyring_entry("new")]
