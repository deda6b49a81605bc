"""The folder store on real file systems that are full, read-only or unplugged, and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import ObjectExists, ObjectMissing, StoreDenied, StoreFull
from repository.stores.filesystem import LEFTOVER_AFTER_SECONDS, FilesystemStore

MIB = 1024 * 1024


class LaterClock(SystemClock):
    """The system's time, moved."""

    def __init__(self, seconds: float) -> None:
        from fleet.clock import SystemClock

        self._system = SystemClock()
        self._seconds = seconds

    def now(self):
        return self._system.now() + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._system.monotonic()

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a store does not wait")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_a_full_disk_refuses_the_put_and_keeps_nothing_of_it(small_disk: Path) -> None:
    store = FilesystemStore(small_disk / "repository")
    store.put("data/a", b"a" * MIB)
    with pytest.raises(StoreFull, match="data/b") as caught:
        store.put("data/b", b"b" * (8 * MIB))
    assert caught.value.hint
    with pytest.raises(StoreFull):
        store.put("data/a", b"b" * (8 * MIB), if_absent=False)
    assert files(small_disk) == [small_disk / "repository/data/a"]
    assert store.get("data/a") == b"a" * MIB
    store.put("data/b", b"small enough")


def test_a_read_only_disk_is_named(small_disk: Path) -> None:
    store = FilesystemStore(small_disk / "repository")
    store.put("data/a", b"a")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreDenied, match="Read-only file system"):
        store.put("data/b", b"b")
    with pytest.raises(StoreDenied, match="Read-only"):
        store.delete("data/a")
    assert store.get("data/a") == b"a"
    assert [found.key for found in store.list("")] == ["data/a"]


def test_a_disk_that_went_away_is_not_replaced_by_the_folder_below_it(small_disk: Path) -> None:
    place = small_disk / "backups"
    place.mkdir()
    store = FilesystemStore(place / "repository")
    store.put("data/a", b"a")
    subprocess.run(["umount", str(small_disk)], check=True)
    try:
        with pytest.raises(StoreDenied, match=r"backups, which should hold the repository, does not exist"):
            store.put("data/b", b"b")
        with pytest.raises(ObjectMissing):
            store.get("data/a")
    finally:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(small_disk)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path / "repository")
    store.put("data/a", b"a")
    (tmp_path / "repository/data").chmod(0o500)
    with pytest.raises(StoreDenied, match="Permission denied"):
        store.put("data/b", b"b")
    (tmp_path / "repository/data").chmod(0o700)


_WRITER = """
import sys
from pathlib import Path
from repository.stores.filesystem import FilesystemStore
store = FilesystemStore(Path(sys.argv[1]))
data = bytes([int(sys.argv[2])]) * 3_000_000
print("ready", flush=True)
for number in range(10_000):
    store.put(f"data/w{sys.argv[2]}/p{number:05d}", data)
"""


def test_writers_killed_at_any_moment_leave_only_whole_objects(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    store = FilesystemStore(root)
    for round_number in range(5):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(root), str(10 * round_number + number)],
                stdout=subprocess.PIPE,
            )
            for number in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(0.15 + 0.03 * round_number)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
    found = list(store.list(""))
    assert len(found) > 5
    for each in found:
        data = store.get(each.key)
        assert each.size == len(data) == 3_000_000
        assert data.count(data[:1]) == len(data)
    leftovers = {path for path in files(root) if "~" in path.name}
    assert len(files(root)) == len(found) + len(leftovers)
    later = FilesystemStore(root, clock=LaterClock(LEFTOVER_AFTER_SECONDS + 60))
    assert len(list(later.list(""))) == len(found)
    assert len(files(root)) == len(found)


_CLAIM = """
import sys
from pathlib import Path
from fleet.clock import SystemClock
from fleet.errors import ObjectExists
from repository.stores.filesystem import FilesystemStore
store = FilesystemStore(Path(sys.argv[1]))
sys.stdin.readline()
won = []
for number in range(200):
    try:
        store.put(f"keys/{number}", sys.argv[2].encode())
        won.append(number)
    except ObjectExists:
        pass
print(*won)
"""


def test_of_several_processes_exactly_one_wins_each_name(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    claimants = [
        subprocess.Popen(
            [sys.executable, "-c", _CLAIM, str(root), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for claimant in claimants:
        assert claimant.stdin is not None
        claimant.stdin.write("go\n")
        claimant.stdin.flush()
    won = [claimant.communicate()[0].split() for claimant in claimants]
    assert sorted(int(number) for each in won for number in each) == list(range(200))
    store = FilesystemStore(root)
    for number, each in enumerate(won):
        assert all(store.get(f"keys/{name}") == str(number).encode() for name in each)
    with pytest.raises(ObjectExists):
        store.put("keys/7", b"late")
