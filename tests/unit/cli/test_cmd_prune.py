"""``backstay prune``: what it says before it deletes, and when it refuses."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from door import Backstay
from test_cmd_backups import facts
from test_cmd_expire import Then

from fleet.parallelism import Parallelism
from repository import layout
from repository.keys import FileSource, Keyring
from repository.layout import BackupName
from repository.marks import Marks
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.writer import begin_backup


@pytest.fixture
def labels(backstay: Backstay, home: Path) -> list[str]:
    """Two backups of ``s1``; the older one's mark is a day old and more."""
    config = home / "backstay.toml"
    config.write_text(config.read_text() + "\n[retention]\nminimum_fulls = 1\n")
    backstay("init", "--new-key", "k1.key")
    found: list[str] = []
    for number in range(2):
        with begin_backup(
            opened(home),
            "s1",
            "full",
            parallelism=Parallelism(),
            pack_size=1 << 20,
            level=1,
            clock=Then(40 - number),
        ) as writer:
            found.append(writer.complete(facts().model_copy(update={"files": ()})).label)
    Marks(opened(home)).put(BackupName("s1", found[0]), "40 days old, and the window is 30 days")
    age(home, layout.expired_mark(BackupName("s1", found[0])), hours=25)
    return found


def opened(home: Path) -> Repository:
    return Repository.open(FilesystemStore(home / "repository"), Keyring([FileSource("k1", home / "k1.key")]))


def age(home: Path, name: str, *, hours: float) -> None:
    """The store's own time of an object is that of its file."""
    then = time.time() - hours * 3600
    os.utime(home / "repository" / name, (then, then))


def test_a_backup_goes_in_two_runs_and_each_says_when_to_run_it_again(
    backstay: Backstay, home: Path, labels: list[str]
) -> None:
    old = BackupName("s1", labels[0])
    dry = backstay("prune", "--dry-run")
    assert dry.exit_code == 0
    assert f"s1/{labels[0]}" in dry.out
    assert "its hour begins: 40 days old, and the window is 30 days" in dry.out
    assert "Kept: 1 backup of" in dry.out
    assert not (home / "repository" / layout.pruning_mark(old)).exists()
    first = backstay("prune")
    assert first.exit_code == 0
    assert "Deleted: no backup" in first.out
    assert first.out.splitlines()[-1].startswith("Run again after 20")
    again = backstay("prune")
    assert "goes after 20" in again.out
    assert again.out.splitlines()[-1].startswith("Run again after 20")
    age(home, layout.pruning_mark(old), hours=2)
    last = backstay("prune", "--json").json
    assert last["backups"] == [str(old)]
    assert last["next_at"] is None
    assert (last["marked"], last["archives"], last["spared"]) == ([], [], [])
    assert [name for name in (home / "repository").rglob(f"*{labels[0]}*") if name.is_file()] == []
    assert backstay("prune").out.splitlines()[-1] == "Nothing more to do."
    assert backstay("backup", "list", "s1").out.count("-full") == 1


def test_what_cannot_be_read_stops_it_and_the_way_out_can_be_typed(
    backstay: Backstay, home: Path, labels: list[str]
) -> None:
    (home / "repository" / layout.manifest(BackupName("s1", labels[1]))).chmod(0o600)
    (home / "repository" / layout.manifest(BackupName("s1", labels[1]))).write_bytes(b"noise")
    refused = backstay("prune")
    assert refused.exit_code == 45
    assert f"--give-up s1/{labels[1]}" in " ".join(refused.err.split())
    assert refused.out.splitlines()[-1] == "Nothing is deleted: see below."
    told = backstay("prune", "--dry-run", "--json").json
    assert told["unreadable"][0]["label"] == labels[1]
    assert told["error"]["exit_code"] == 45
    given_up = backstay("prune", "--dry-run", "--give-up", f"s1/{labels[1]}", "--json").json
    assert given_up["refused"] is None
    assert [each["why"] for each in given_up["backups"]] == ["given up"]
    assert given_up["backups"][0]["stored_bytes"] > 0
    # Without the newer one it is the newest that is whole.
    assert [each["label"] for each in given_up["marked"]] == [labels[0]]


@pytest.mark.parametrize("text", ["s1", "s1/yesterday", "/", "s1/20260301T021500Z-full/x"])
def test_give_up_takes_the_name_of_a_backup(backstay: Backstay, labels: list[str], text: str) -> None:
    answer = backstay("prune", "--give-up", text)
    assert answer.exit_code == 2
    assert "SHARD/LABEL" in answer.err
    assert len(labels) == 2


def test_its_plan_fits_into_80_columns(
    backstay: Backstay, labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = backstay("prune", "--dry-run").out
    assert max(map(len, out.splitlines())) <= 80
    assert f"s1/{labels[0]} " in out


def test_a_shard_that_is_nowhere_is_a_slip_of_the_fingers(backstay: Backstay, labels: list[str]) -> None:
    assert backstay("prune", "s3").exit_code == 40
    assert len(labels) == 2
