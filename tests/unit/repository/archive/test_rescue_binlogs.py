"""The second reader writes binlog files out of the archive, run as a stranger would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from archived_binlogs import CREATED, OTHER, SOURCE, MadeFile, binlog, facts
from sealed_backups import TickingClock, flipped

import repository.repository
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.keys import FileSource, Keyring, create_key_file
from repository.layout import SegmentName
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore

RESCUE = Path(repository.repository.__file__).with_name("rescue") / "rescue.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "copy"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "backup.key"
    create_key_file(path)
    return path


@pytest.fixture
def archive(folder: Path, key: Path) -> ShardArchive:
    kept = Repository.create(FilesystemStore(folder), Keyring([FileSource("k1", key)]), TickingClock())
    made = ShardArchive(kept, "s1", level=1)
    made.open_epoch(facts(), TickingClock())
    return made


@pytest.fixture
def files(archive: ShardArchive) -> list[MadeFile]:
    """Names that run backwards and collide, overlapping segments, a second epoch."""
    made = [
        MadeFile(binlog(9)).run(SOURCE, 1, 20).rotate(),
        MadeFile(binlog(1, created=CREATED + 9), GtidSet.parse(f"{SOURCE}:1-20"))
        .run(SOURCE, 21, 40)
        .rotate(),
        MadeFile(binlog(9, created=CREATED + 5), GtidSet.parse(f"{SOURCE}:1-40")).run(SOURCE, 41, 45),
    ]
    for each in made:
        each.put(archive, each.cuts(6))
        each.put(archive, each.cuts(3))
    inherited = GtidSet.parse(f"{SOURCE}:1-44")
    archive.open_epoch(
        facts(1, server_uuid=OTHER, inherited=inherited, branch=made[2].gtids()), TickingClock()
    )
    made.append(MadeFile(binlog(2, epoch=2, uuid=OTHER), inherited).run(OTHER, 1, 9))
    made[3].put(archive, made[3].cuts(4))
    return made


def rescue(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", RESCUE, *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
        check=False,
    )


def test_it_writes_the_files_byte_for_byte_and_tells_their_order(
    files: list[MadeFile], folder: Path, key: Path, tmp_path: Path
) -> None:
    target = tmp_path / "binlogs"
    run = rescue("binlogs", folder, "s1", target, "--key", key)
    assert run.returncode == 0, run.stderr
    told = [Path(line.split()[0]) for line in run.stdout.splitlines() if str(target) in line]
    assert told == [
        target / "000001" / SOURCE / "binlog.000009",
        target / "000001" / SOURCE / "binlog.000001",
        target / "000001" / SOURCE / f"binlog.000009.{CREATED + 5:08x}",
        target / "000002" / OTHER / "binlog.000002",
    ]
    assert [path.read_bytes() for path in told] == [bytes(made.data) for made in files]
    assert f"branch: {SOURCE}:41-45" in run.stdout
    assert "MISSING" not in run.stdout


def test_it_lists_the_epochs_and_writes_one_alone(
    files: list[MadeFile], folder: Path, key: Path, tmp_path: Path
) -> None:
    listed = rescue("list", folder).stdout.splitlines()
    assert [line.split() for line in listed] == [
        ["s1", "archive,", "epoch", "000001", "wrapped", "by", "k1", "3", "binlog", "files"],
        ["s1", "archive,", "epoch", "000002", "wrapped", "by", "k1", "1", "binlog", "files"],
    ]
    target = tmp_path / "binlogs"
    assert rescue("binlogs", folder, "s1", target, "--epoch", "2", "--key", key).returncode == 0
    assert [path.name for path in target.iterdir()] == ["000002"]
    run = rescue("binlogs", folder, "s1", tmp_path / "other", "--epoch", "3", "--key", key)
    assert run.returncode == 1
    assert "no such epoch" in run.stderr


def test_what_is_missing_or_damaged_is_named_and_all_else_is_written(
    files: list[MadeFile], archive: ShardArchive, folder: Path, key: Path, tmp_path: Path
) -> None:
    first, second, third, last = files
    listed = archive.file(first.name)
    for ref in (*listed.segments, *listed.spare):
        (folder / layout.segment("s1", ref.name)).unlink()
    cuts = first.edges[::9]
    first.put(archive, cuts[:2])
    first.put(archive, cuts[2:4])
    damaged = folder / layout.segment("s1", archive.file(second.name).segments[-1].name)
    damaged.write_bytes(flipped(damaged.read_bytes(), 999))
    target = tmp_path / "binlogs"
    run = rescue("binlogs", folder, "s1", target, "--key", key)
    assert run.returncode == 1
    faults = [line for line in run.stdout.splitlines() if "MISSING" in line]
    assert len(faults) == 2
    assert "are missing in this copy" in faults[0] and damaged.name in faults[1]
    written = target / "000001" / SOURCE
    assert first.data.startswith((written / "binlog.000009").read_bytes())
    assert second.data.startswith((written / "binlog.000001").read_bytes())
    assert (target / "000002" / OTHER / "binlog.000002").read_bytes() == bytes(last.data)
    assert (written / f"binlog.000009.{CREATED + 5:08x}").read_bytes() == bytes(third.data)


def test_a_file_without_its_first_segment_is_named(
    files: list[MadeFile], archive: ShardArchive, folder: Path, key: Path, tmp_path: Path
) -> None:
    ((name, *_),) = [archive.file(files[3].name).segments]
    path = folder / layout.segment("s1", SegmentName(*name.name))
    path.write_bytes(path.read_bytes()[:100])
    run = rescue("binlogs", folder, "s1", tmp_path / "binlogs", "--key", key)
    assert run.returncode == 1
    assert [line for line in run.stdout.splitlines() if "MISSING" in line and path.name in line]
    assert "Traceback" not in run.stderr
