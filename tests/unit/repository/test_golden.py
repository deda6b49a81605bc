"""Repositories that earlier versions wrote come back byte for byte, through both readers, for ever."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sealed_backups import restored

import repository.repository
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring, PassphraseSource
from repository.reader import BackupReader
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.verify import verify_backup

GOLDEN = Path(__file__).parents[2] / "golden" / "format-1"
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
    passphrase = (GOLDEN / "passphrase").read_text("utf-8")
    keyring = Keyring([FileSource("office-safe", key), PassphraseSource("in-my-head", lambda: passphrase)])
    return Repository.open(FilesystemStore(GOLDEN / "repository"), keyring)


def described(data: bytes) -> dict[str, object]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_the_reader_restores_it_byte_for_byte(golden: Repository) -> None:
    backups = Catalog(golden).backups()
    assert [f"{backup.shard}/{backup.label}" for backup in backups] == list(EXPECTED)
    for name, files in EXPECTED.items():
        content = restored(golden, Catalog(golden).manifest(*name.split("/")))
        assert {path: described(data) for path, data in content.items()} == files


@pytest.mark.parametrize("rescue", [GOLDEN / "repository" / "rescue.py", OUR_RESCUE], ids=["its own", "ours"])
@pytest.mark.parametrize("name", EXPECTED)
def test_the_rescue_restores_it_byte_for_byte(rescue: Path, name: str, key: Path, tmp_path: Path) -> None:
    shard, label = name.split("/")
    keys = ["--passphrase-file", GOLDEN / "passphrase"] if shard == "s2" else ["--key", key]
    target = tmp_path / "data"
    run = subprocess.run(
        [sys.executable, "-I", rescue, "restore", GOLDEN / "repository", shard, label, target, *keys],
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
    assert found == EXPECTED[name]
    assert (target / "empty_schema").is_dir()


def test_every_byte_of_it_verifies(golden: Repository) -> None:
    for name in EXPECTED:
        report = verify_backup(golden, Catalog(golden).manifest(*name.split("/")))
        assert report.damages == ()
        assert report.frames > 20


def test_its_manifest_and_proof_say_what_they_said(golden: Repository) -> None:
    catalog = Catalog(golden)
    proven, other, _ = catalog.backups()
    assert (proven.proven, other.proven) == (True, False)
    manifest = catalog.manifest(proven.shard, proven.label)
    assert manifest.donor.version == "9.7.4"
    assert manifest.gtid.high == "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-44:nightly:1-2"
    assert (manifest.lsn.start, manifest.lsn.end) == (19_000_000, 19_012_800)
    assert manifest.files[1].ordinal == 1
    assert manifest.files[4].page_size == 1024
    assert manifest.settings.plugins == ("clone", "rpl_semi_sync_source")
    assert len(manifest.index) == 3
    (proof,) = catalog.proofs(proven.shard, proven.label)
    assert proof.gtid_executed == "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-43:nightly:1"
    assert proof.checks[0].passed


def test_it_holds_every_kind_of_frame(golden: Repository) -> None:
    """What this repository is worth depends on what is in it."""
    codecs: set[tuple[int, str]] = set()
    for name in EXPECTED:
        reader = BackupReader(golden, Catalog(golden).manifest(*name.split("/")))
        for part in reader.index_parts():
            for pack in part.packs:
                for frame in reader.frames(pack):
                    is_raw = frame.span.length == 4 + 16 + 8 + 16 * len(frame.extents) + len(frame.data)
                    codecs.add((frame.stage, "raw" if is_raw else "zstd"))
    assert codecs == {(stage, codec) for stage in (2, 3, 4) for codec in ("raw", "zstd")}
