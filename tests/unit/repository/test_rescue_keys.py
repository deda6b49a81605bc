"""The second reader and the keys of two halves."""

from __future__ import annotations

from pathlib import Path

import pytest
from sealed_backups import TickingClock, differing, sample, take
from test_rescue import assert_failed, files_below, rescue

from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.ledger import EpochFacts
from repository.key_pair import PairSource, create_pair
from repository.keys import FileSource, Keyring, create_key_file
from repository.repository import Repository
from repository.retirement import retire
from repository.rotation import plan_rotation, rotate
from repository.stores.filesystem import FilesystemStore

NOTHING = GtidSet.parse("")
FIRST = EpochFacts("first", "3e11fa47-71ca-11e1-9e33-c80aa9429562", "s1-a", NOTHING, None, NOTHING, NOTHING)


@pytest.fixture
def folder(tmp_path: Path, ticking: TickingClock) -> Path:
    """A copy of a repository that was written with the public half alone."""
    create_pair(tmp_path / "p.key", tmp_path / "p.pub")
    sealing = PairSource("p", tmp_path / "p.pub", None)
    repository = Repository.create(FilesystemStore(tmp_path / "copy"), Keyring([sealing]), ticking)
    take(repository, ticking, sample())
    return tmp_path / "copy"


def test_the_private_half_opens_what_the_public_one_sealed(folder: Path, tmp_path: Path) -> None:
    run = rescue(folder, "restore", folder, "s1", "latest", tmp_path / "out", "--key", tmp_path / "p.key")
    assert run.returncode == 0, run.stderr
    assert differing(files_below(tmp_path / "out"), sample().content()) == []


def test_the_public_half_opens_nothing(folder: Path, tmp_path: Path) -> None:
    run = rescue(folder, "list", folder, "--key", tmp_path / "p.pub")
    assert_failed(run, f"cannot read a key from {tmp_path}/p.pub")


def test_the_private_half_of_another_pair_is_said_to_be_none_of_these(folder: Path, tmp_path: Path) -> None:
    create_pair(tmp_path / "q.key", tmp_path / "q.pub")
    run = rescue(folder, "list", folder, "--key", tmp_path / "q.key")
    assert_failed(run, "none of those that the repository knows: p")


def test_after_rotation_and_retirement_the_new_key_alone_is_needed(
    tmp_path: Path, ticking: TickingClock
) -> None:
    create_pair(tmp_path / "p.key", tmp_path / "p.pub")
    create_key_file(tmp_path / "old.key")
    old, new = FileSource("old", tmp_path / "old.key"), PairSource("new", None, tmp_path / "p.key")
    store = FilesystemStore(tmp_path / "copy")
    first = Repository.create(store, Keyring([old, new]), ticking)
    take(first, ticking, sample())
    ShardArchive(first, "s1").open_epoch(FIRST, ticking)
    repository = Repository.open(store, Keyring([new, old]))
    rotate(repository, plan_rotation(repository))
    retire(repository, "old", ticking)
    listed = rescue(tmp_path / "copy", "list", tmp_path / "copy", "--key", tmp_path / "p.key")
    assert listed.returncode == 0, listed.stderr
    assert "000001" in listed.stdout or "epoch" in listed.stdout
    assert "new" in listed.stdout and "old" not in listed.stdout
    run = rescue(tmp_path / "copy", "list", tmp_path / "copy", "--key", tmp_path / "old.key")
    assert_failed(run, "none of those that the repository knows: new")
