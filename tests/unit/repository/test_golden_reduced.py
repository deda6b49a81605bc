"""What is left of expired backups serves those who refer to them, through both readers, for ever."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from chained import by_overlay

import repository.repository
from fleet.errors import ObjectMissing
from repository import layout
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.foundations import check_whole
from repository.keys import FileSource, Keyring
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore

GOLDEN = Path(__file__).parents[2] / "golden" / "reduced-1"
EXPECTED: dict[str, dict[str, dict[str, object]]] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
OUR_RESCUE = Path(repository.repository.__file__).with_name("rescue") / "rescue.py"


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
    check_whole(golden, read_chain(Catalog(golden), manifest))
    content = by_overlay(golden, manifest)
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


def test_it_holds_what_reduced_backups_can_hold(golden: Repository) -> None:
    """What this repository is worth depends on what is in it."""
    catalog = Catalog(golden)
    expired = [backup.label for backup in catalog.backups("s1") if backup.label not in EXPECTED]
    assert len(expired) == 3
    names = [info.key for info in golden.store.list("data/")]
    for label in expired:
        assert [name for name in names if label in name and layout.parse_remainder(name)]
        assert not [name for name in names if label in name and layout.is_pack(name)]
        with pytest.raises(ObjectMissing, match="only what other backups refer to"):
            check_whole(golden, read_chain(catalog, catalog.manifest("s1", label)))
