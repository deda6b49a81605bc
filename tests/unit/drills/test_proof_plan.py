from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drills import proof
from drills.proof import PassedShard, ProofResult, plan_proof, prove
from drills.proof_turn import Standing
from fleet.errors import (
    Cancelled,
    DiskFull,
    KeyUnusable,
    NotFound,
    StoreUnreachable,
    TargetRefused,
    ToolError,
    VersionMismatch,
)
from fleet.model import Fleet
from repository.keys import FileSource, Keyring
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from restore.replaying import Given
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
    with pytest.raises(DiskFull, match="no room for a proof of s1: s1 does not fit") as refused:
        plan_proof(fleet, "s1", repository=repository, directory=tmp_path)
    assert "proof.directory" in str(refused.value.hint)
    with pytest.raises(NotFound, match="no backup of shard s3"):
        plan_proof(fleet, "s3", repository=repository, directory=tmp_path)
    assert planned == ["s1"]


@pytest.mark.parametrize("error", [VersionMismatch, KeyUnusable, TargetRefused, DiskFull])
def test_a_shard_that_cannot_be_tried_takes_no_turns_of_the_others(
    fleet: Fleet,
    repository: Repository,
    tmp_path: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    error: type[ToolError],
) -> None:
    refusing, begun, tried = {"s1"}, list[str](), Trying(monkeypatch)

    def begin(_given: Given, standing: Standing, into: Path) -> str:
        begun.append(standing.shard)
        if standing.shard in refusing:
            raise error(f"{standing.shard} cannot be tried", hint="Look at it.")
        return standing.shard

    monkeypatch.setattr(proof, "_begin", begin)

    def run(shard: str | None = None) -> ProofResult:
        return prove(fleet, shard, repository=repository, directory=tmp_path / "proofs", clock=clock)

    assert run().passed_over == (PassedShard("s1", "s1 cannot be tried"),)
    assert (begun, tried.shards) == (["s1", "s2"], ["s2"])
    with pytest.raises(error, match="s1 cannot be tried"):
        run("s1")
    refusing.add("s2")
    with pytest.raises(error, match="s1 cannot be tried"):
        run()


@pytest.mark.parametrize("error", [StoreUnreachable, Cancelled])
def test_what_is_not_of_one_shard_alone_ends_the_proof(
    fleet: Fleet,
    repository: Repository,
    tmp_path: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    error: type[ToolError],
) -> None:
    tried = Trying(monkeypatch)

    def begin(_given: Given, standing: Standing, into: Path) -> str:
        if standing.shard == "s1":
            raise error("away", hint="Try again.")
        return standing.shard

    monkeypatch.setattr(proof, "_begin", begin)
    with pytest.raises(error, match="away"):
        prove(fleet, None, repository=repository, directory=tmp_path / "proofs", clock=clock)
    assert tried.shards == []


@dataclass(frozen=True)
class Told:
    passed_over: tuple[PassedShard, ...] = ()


class Trying:
    """Stands for the restore: whose was carried out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shards: list[str] = []

        def carry_out(_given: Given, trial: str) -> str:
            self.shards.append(trial)
            return trial

        monkeypatch.setattr(proof, "_carry_out", carry_out)

        def judge(_given: Given, _trial: str, _seen: str) -> Told:
            return Told()

        monkeypatch.setattr(proof, "_judge", judge)

        def record(_repository: Repository, result: Told) -> Told:
            return result

        monkeypatch.setattr(proof, "record", record)
