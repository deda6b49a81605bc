"""Chains and fulls that refer, written by an earlier version, come back through both readers, for ever."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from chained import by_overlay, oldest_first

import repository.repository
from fleet.blocks import Stage
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.keys import FileSource, Keyring
from repository.reader import BackupReader
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.verify import verify_backup

GOLDEN = Path(__file__).parents[2] / "golden" / "chain-1"
EXPECTED: dict[str, dict[str, dict[str, object]]] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
OUR_RESCUE = Path(repository.repository.__file__).with_name("rescue") / "rescue.py"
FULL, FIRST, CONSOLIDATED, SECOND, REFERRING, LAST = EXPECTED


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A checkout does not keep a file's permissions, and a key that others can read is refused."""
    path = tmp_path / "backup.key"
    shutil.copyfile(GOLDEN / "backup.key", path)
    path.chmod(0o600)
    return path


@pytest.fixture
def golden(key: Path) -> Repository:
    return Repository.open(FilesystemStore(GOLDEN / "repository"), Keyring([FileSource("office-safe", key)]))


def described(data: bytes) -> dict[str, object]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("label", EXPECTED)
def test_the_reader_restores_it_byte_for_byte(golden: Repository, label: str) -> None:
    manifest = Catalog(golden).manifest("s1", label)
    for content in (by_overlay(golden, manifest), oldest_first(golden, manifest)):
        assert {path: described(data) for path, data in content.items()} == EXPECTED[label]


@pytest.mark.parametrize("rescue", [GOLDEN / "repository" / "rescue.py", OUR_RESCUE], ids=["its own", "ours"])
@pytest.mark.parametrize("label", EXPECTED)
def test_the_rescue_restores_it_byte_for_byte(rescue: Path, label: str, key: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    run = subprocess.run(
        [sys.executable, "-I", rescue, "restore", GOLDEN / "repository", "s1", label, target, "--key", key],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = {
        str(path.relative_to(target)): described(path.read_bytes())
        for path in target.rglob("*")
        if path.is_file()
    }
    assert found == EXPECTED[label]
    assert (target / "empty_schema").is_dir()


def test_every_byte_of_it_verifies(golden: Repository) -> None:
    for label in EXPECTED:
        assert verify_backup(golden, Catalog(golden).manifest("s1", label)).damages == ()


def test_its_manifests_say_what_they_said(golden: Repository) -> None:
    backups = Catalog(golden).backups()
    assert [each.label for each in backups] == list(EXPECTED)
    assert [each.base for each in backups] == [None, FULL, None, FIRST, None, REFERRING]
    assert [each.built_on for each in backups] == [None, None, None, None, SECOND, None]
    assert [each.refers for each in backups] == [False, False, True, False, True, False]
    assert [each.broken for each in backups] == [None] * 6
    manifests = {label: Catalog(golden).manifest("s1", label) for label in EXPECTED}
    assert [each.needs.read for each in manifests.values()] == [
        (),
        ("incremental",),
        ("referring",),
        ("incremental",),
        ("referring",),
        ("incremental",),
    ]
    assert manifests[CONSOLIDATED].consolidates == SECOND
    assert [each.label for each in manifests[CONSOLIDATED].refers_to] == [FULL, FIRST, SECOND]
    assert manifests[CONSOLIDATED].sizes.packs == 0
    assert manifests[SECOND].sizes.unchanged_bytes == 99_328
    assert manifests[SECOND].damaged_pages[0].file == "mysql.ibd"
    assert manifests[SECOND].lsn.log_uuid == 77
    chain = read_chain(Catalog(golden), manifests[SECOND])
    assert [link.label for link in chain.links] == [SECOND, FIRST, FULL]


def test_it_holds_what_chains_can_hold(golden: Repository) -> None:
    """What this repository is worth depends on what is in it."""
    catalog = Catalog(golden)
    full, second, referring = (catalog.manifest("s1", label) for label in (FULL, SECOND, REFERRING))
    spaces = {entry.space_id: entry for entry in full.files if entry.space_id is not None}
    later = {entry.space_id: entry for entry in second.files if entry.space_id is not None}
    assert spaces[12].name != later[12].name
    assert spaces[12].number != later[12].number
    assert spaces[12].size < later[12].size
    assert 4294967279 in spaces
    assert 4294967279 not in later
    assert 14 not in {entry.space_id for entry in catalog.manifest("s1", FIRST).files}
    # The id of a table that was dropped is back, and what it once had must not be.
    assert spaces[14].name != later[14].name
    records = [record for part in BackupReader(golden, referring).index_parts() for record in part.records()]
    assert {bool(record.digest) for record in records if record.stage is Stage.FILE} == {True, False}
    stages = {
        record.stage
        for label in EXPECTED
        for part in BackupReader(golden, catalog.manifest("s1", label)).index_parts()
        for record in part.records()
    }
    assert stages == set(Stage)
