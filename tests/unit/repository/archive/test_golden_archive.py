"""An archive that an earlier version wrote is read byte for byte, through both readers, for ever."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import repository.repository
from repository.archive.archive import ShardArchive
from repository.keys import FileSource, Keyring
from repository.layout import BinlogFile
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from tests.golden.make_archive_1 import described

GOLDEN = Path(__file__).parents[3] / "golden" / "archive-1"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
OUR_RESCUE = Path(repository.repository.__file__).with_name("rescue") / "rescue.py"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A checkout does not keep a file's permissions, and a key that others can read is refused."""
    path = tmp_path / "backup.key"
    shutil.copyfile(GOLDEN / "backup.key", path)
    path.chmod(0o600)
    return path


@pytest.fixture
def golden(key: Path) -> ShardArchive:
    keyring = Keyring([FileSource("office-safe", key)])
    return ShardArchive(Repository.open(FilesystemStore(GOLDEN / "repository"), keyring), "s1")


def test_every_file_comes_back_byte_for_byte(golden: ShardArchive) -> None:
    for *name, size, sha256, previous in EXPECTED["files"]:
        file = golden.file(BinlogFile(*name))
        assert (file.end, file.holes) == (size, ())
        data = b"".join(
            golden.data(part.segment)[part.first - part.segment.start : part.last - part.segment.start]
            for part in file.parts
        )
        assert hashlib.sha256(data).hexdigest() == sha256
        assert golden.header(file.segments[-1]).previous_gtids == previous


@pytest.mark.parametrize("epoch", EXPECTED["lines"])
def test_every_line_says_what_it_said(golden: ShardArchive, epoch: str) -> None:
    assert described(golden, int(epoch)) == EXPECTED["lines"][epoch]


def test_it_holds_what_an_archive_can_hold(golden: ShardArchive) -> None:
    """What this archive is worth depends on what is in it."""
    line = EXPECTED["lines"]["3"]
    assert line["branches"] and line["skipped"] and not line["gaps"]
    assert EXPECTED["lines"]["2"]["gaps"]
    assert any(":nightly:" in row[0] for row in line["transactions"])
    assert any(row[6] for row in line["transactions"])
    assert any(file.spare for file in golden.files(1))
    closed = {golden.header(file.segments[-1]).closed for epoch in (1, 2, 3) for file in golden.files(epoch)}
    assert closed == {"rotate", "torn", "stop", None}


def test_its_ledger_says_what_it_said(golden: ShardArchive) -> None:
    assert [(epoch.epoch, epoch.reason) for epoch in golden.epochs()] == [
        (1, "first"),
        (2, "promotion"),
        (3, "restore"),
    ]
    assert [note.kind for note in golden.notes()] == ["gap", "torn-tail"]
    life = golden.life(golden.epochs()[2].server_uuid)
    assert life is not None and life.skipped == EXPECTED["lines"]["3"]["skipped"]


@pytest.mark.parametrize("rescue", [GOLDEN / "repository" / "rescue.py", OUR_RESCUE], ids=["its own", "ours"])
def test_the_rescue_writes_it_byte_for_byte(rescue: Path, key: Path, tmp_path: Path) -> None:
    target = tmp_path / "binlogs"
    run = subprocess.run(
        [sys.executable, "-I", rescue, "binlogs", GOLDEN / "repository", "s1", target, "--key", key],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = {
        (int(path.parts[-3]), path.parts[-2], path.name): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in target.rglob("*")
        if path.is_file()
    }
    assert found == {(epoch, uuid, file): sha256 for epoch, uuid, file, _, _, sha256, _ in EXPECTED["files"]}
