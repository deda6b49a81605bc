"""What damage in the store and a full disk do to a restore: a clear error, and nothing that could be
started.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.clock import SystemClock
from fleet.errors import DiskFull, ObjectDamaged, ObjectMissing, StoreUnreachable, ToolError
from repository.chain import Chain
from repository.manifest import Manifest
from repository.reader import BackupReader
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from restore.datadir import open_journal
from restore.fetch import fetch
from restore.plan import Mode, plan_restore
from restore.target import look_at
from tests.unit.restore.made_backups import (
    MadeFile,
    expected_content,
    made_data_directory,
    made_repository,
    write_made_backup,
)
from tests.unit.restore.restoring import FailingReads, Watcher, carry_out, content, plan


@pytest.fixture(scope="module")
def made() -> dict[str, MadeFile]:
    return made_data_directory(21)


@pytest.fixture
def backup(made: dict[str, MadeFile]) -> tuple[Repository, Manifest, MemoryStore]:
    store = MemoryStore()
    repository = made_repository(store)
    return repository, write_made_backup(repository, made), store


def put_back(store: MemoryStore, key: str, data: bytes) -> None:
    store.delete(key)
    store.put(key, data)


def flipped(data: bytes) -> bytes:
    return data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]


@pytest.mark.parametrize("kind", ["p", "i"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "swapped"])
def test_damage_is_named_and_once_the_object_is_put_right_the_restore_goes_on(
    tmp_path: Path,
    made: dict[str, MadeFile],
    backup: tuple[Repository, Manifest, MemoryStore],
    kind: str,
    damage: str,
) -> None:
    repository, manifest, store = backup
    names = [info.key for info in store.list("data/") if info.key.rpartition("/")[2].startswith(kind)]
    name = names[len(names) // 2]
    sound = store.get(name)
    match damage:
        case "flipped":
            put_back(store, name, flipped(sound))
        case "truncated":
            put_back(store, name, sound[: len(sound) // 2])
        case "swapped":
            put_back(store, name, store.get(names[0]))
        case _:
            store.delete(name)
    with pytest.raises((ObjectDamaged, ObjectMissing)) as failed:
        carry_out(repository, manifest, tmp_path, batch_bytes=1)
    assert name in failed.value.message
    assert isinstance(failed.value, ObjectMissing) == (damage == "missing")
    assert not (tmp_path / "ibdata1").exists()
    assert plan(manifest, tmp_path).mode is Mode.RESUME
    put_back(store, name, sound)
    carry_out(repository, manifest, tmp_path)
    assert content(tmp_path) == expected_content(made)


def test_the_first_error_of_many_threads_is_told_and_the_others_end(
    tmp_path: Path, backup: tuple[Repository, Manifest, MemoryStore]
) -> None:
    repository, manifest, store = backup
    for info in list(store.list("data/")):
        if "/p" in info.key:
            store.delete(info.key)
    with pytest.raises(ObjectMissing):
        carry_out(repository, manifest, tmp_path, threads=8)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("may not mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_in_the_middle_ends_it_and_with_room_it_goes_on(
    small_disk: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest, MemoryStore]
) -> None:
    repository, manifest, _ = backup
    target, ballast = small_disk / "data", small_disk / "ballast"

    class Filling(FailingReads):
        """Fills the disk in the middle of a read: what was read has no room then."""

        def get_range(self, key: str, offset: int, length: int) -> bytes:
            data = super().get_range(key, offset, length)
            if self.reads > 25 and not ballast.exists():
                with ballast.open("wb", buffering=0) as file:
                    try:
                        while file.write(bytes(4096)):
                            pass
                    except OSError:
                        pass
            return data

    filling: Any = Filling(repository.store, 10_000)
    source = Repository(filling, repository.description, repository.keys)
    facts: Any = look_at(target)
    roomy = type(facts)(facts.path, free_bytes=1 << 40)
    planned = plan_restore(Chain((manifest,)), roomy, None)
    journal = open_journal(planned)
    with pytest.raises(DiskFull, match="No space left on device"):
        fetch(
            planned,
            BackupReader(source, manifest),
            journal,
            threads=2,
            progress=Watcher(),
            clock=SystemClock(),
            batch_bytes=1,
        )
    journal.close()
    assert not (target / "ibdata1").exists()
    with pytest.raises(DiskFull, match="are needed"):
        plan(manifest, target)
    ballast.unlink()
    room: Any = look_at(target)
    again = plan_restore(Chain((manifest,)), type(room)(**{**room.__dict__, "free_bytes": 1 << 40}), None)
    assert again.mode is Mode.RESUME
    journal = open_journal(again)
    reader = BackupReader(repository, manifest)
    result = fetch(again, reader, journal, threads=2, progress=Watcher(), clock=SystemClock())
    journal.close()
    assert result.journaled_bytes > 0
    assert content(target) == expected_content(made)


def test_an_error_that_may_pass_is_told_as_such(
    tmp_path: Path, backup: tuple[Repository, Manifest, MemoryStore]
) -> None:
    repository, manifest, _ = backup
    with pytest.raises(ToolError) as failed:
        carry_out(repository, manifest, tmp_path, reads=5)
    assert isinstance(failed.value, StoreUnreachable)
    assert failed.value.retryable
