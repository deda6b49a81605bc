from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drills import proof
from drills.proof import plan_proof
from drills.proof_turn import Standing
from fleet.errors import DiskFull, NotFound
from fleet.model import Fleet
from repository.keys import FileSource, Keyring
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from tests.conftest import ManualClock


@pytest.fixture
def fleet() -> Fleet:
    shards = [
        {"name": name, "servers": [{"name": f"{name}-a", "host": f"{name}.example", "region": "here"}]}
        for name in ("s1", "s2", "s3")
    ]
    return Fleet.model_validate(
        {
            "name": "test",
            "allow_inline_secrets": True,
            "regions": ["here"],
            "shards": shards,
            "accounts": {"backup": {"user": "backup", "password": {"inline": "x"}}},
            "repository": {"url": "file:///nowhere"},
            "keys": [{"id": "k1", "provider": "file", "file": "/nowhere/key"}],
        }
    )


@pytest.fixture
def repository(tmp_path: Path, clock: ManualClock) -> Repository:
    """With a backup of s1 and one of s2; s1 was never proven."""
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    keyring, store = Keyring([FileSource("k1", key)]), MemoryStore()
    Repository.create(store, keyring, clock)
    for name in ("manifests/s1/", "manifests/s2/", "proofs/s2/20260301T021500Z-full/"):
        store.put(f"{name}20260301T021500Z{'' if name.startswith('proofs') else '-full'}", b"sealed")
    return Repository.open(store, keyring)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose plan was made; that of s1 finds its disk too small."""
    asked: list[str] = []

    def plan(_fleet: Fleet, standing: Standing, label: str, **_given: Any) -> str:
        asked.append(standing.shard)
        if standing.shard == "s1":
            raise DiskFull("s1 does not fit")
        return f"{standing.shard}/{label}"

    monkeypatch.setattr(proof, "plan_shard", plan)
    return asked


def test_a_shard_that_does_not_fit_takes_no_turns_of_the_others(
    fleet: Fleet, repository: Repository, planned: list[str], tmp_path: Path
) -> None:
    found: Any = plan_proof(fleet, None, repository=repository, directory=tmp_path)
    assert (found, planned) == ("s2/20260301T021500Z-full", ["s1", "s2"])


def test_a_shard_that_is_named_and_does_not_fit_is_refused(
    fleet: Fleet, repository: Repository, planned: list[str], tmp_path: Path
) -> None:
    with pytest.raises(DiskFull, match="s1 does not fit"):
        plan_proof(fleet, "s1", repository=repository, directory=tmp_path)
    with pytest.raises(NotFound, match="no backup of shard s3"):
        plan_proof(fleet, "s3", repository=repository, directory=tmp_path)
    assert planned == ["s1"]
