"""Fetching a backup into place: whole, cut off at every read, over what is there, and on a full disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import Cancelled, DiskFull, StoreUnreachable, TargetRefused
from repository.manifest import Manifest
from repository.reader import BackupReader
from repository.repository import Repository
from restore.datadir import open_journal
from restore.fetch import fetch
from restore.files import TargetFiles
from restore.journal import JOURNAL_NAME
from restore.plan import Mode
from restore.target import PARKED_SUFFIX
from tests.unit.restore.made_backups import (
    PAGE,
    MadeFile,
    expected_content,
    made_data_directory,
    made_repository,
    write_made_backup,
)
from tests.unit.restore.restoring import Watcher, carry_out, content, plan


@pytest.fixture(scope="module")
def made() -> dict[str, MadeFile]:
    return made_data_directory()


@pytest.fixture(scope="module")
def backup(made: dict[str, MadeFile]) -> Iterator[tuple[Repository, Manifest]]:
    repository = made_repository()
    yield repository, write_made_backup(repository, made)


def test_a_backup_comes_back_byte_for_byte(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    watcher = Watcher()
    result = carry_out(*backup, tmp_path / "new" / "data", watcher=watcher)
    assert content(tmp_path / "new" / "data") == expected_content(made)
    assert (tmp_path / "new" / "data" / "empty").is_dir()
    # What came twice is fetched and written once.
    assert result.data_bytes == sum(file.held_bytes() for file in made.values())
    assert result.written_bytes <= result.data_bytes
    assert watcher.done == watcher.total == backup[1].sizes.received_bytes
    assert result.journaled_bytes == result.equal_bytes == 0


def test_zeros_take_no_room_on_the_disk(tmp_path: Path) -> None:
    files = {
        "ibdata1": MadeFile(
            512 * PAGE, {0: b"\x01" * PAGE, PAGE: bytes(200 * PAGE)}, space_id=0, page_size=PAGE
        )
    }
    repository = made_repository()
    result = carry_out(repository, write_made_backup(repository, files), tmp_path)
    assert content(tmp_path) == expected_content(files)
    assert result.written_bytes == PAGE
    assert (tmp_path / "ibdata1").stat().st_blocks * 512 <= 4 * PAGE


def test_more_files_than_may_be_open_at_once_are_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restore.files._MOST_OPEN", 4)
    files = {"ibdata1": MadeFile(PAGE, {0: b"\x07" * PAGE}, space_id=0, page_size=PAGE)}
    for number in range(300):
        page = number.to_bytes(4, "big") * (PAGE // 4)
        files[f"many/t{number}.ibd"] = MadeFile(
            2 * PAGE, {0: page}, {PAGE: page}, space_id=number + 10, page_size=PAGE
        )
    repository = made_repository()
    carry_out(repository, write_made_backup(repository, files), tmp_path, threads=8)
    assert content(tmp_path) == expected_content(files)


def test_a_restore_that_lost_the_store_at_any_read_goes_on_where_it_was(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    repository, manifest = backup
    reads = 0
    runs = 0
    while True:
        target = tmp_path / str(reads)
        with_failure = False
        try:
            carry_out(repository, manifest, target, reads=reads, threads=2)
        except StoreUnreachable:
            with_failure = True
            assert not (target / "ibdata1").exists()
            assert plan(manifest, target).mode is Mode.RESUME
        result = carry_out(repository, manifest, target)
        assert content(target) == expected_content(made)
        if not with_failure:
            break
        runs += 1
        reads += 3
        total = result.data_bytes
        assert result.written_bytes <= total
    assert runs > 10


def test_what_was_journaled_is_not_fetched_again(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    repository, manifest = backup
    whole = carry_out(repository, manifest, tmp_path / "whole")
    with pytest.raises(StoreUnreachable):
        carry_out(repository, manifest, tmp_path / "half", reads=30, batch_bytes=1, threads=1)
    rest = carry_out(repository, manifest, tmp_path / "half")
    assert rest.journaled_bytes > whole.data_bytes // 4
    assert rest.read_bytes < whole.read_bytes * 3 // 4
    assert rest.data_bytes == whole.data_bytes
    assert content(tmp_path / "half") == expected_content(made)


def test_a_file_that_was_exchanged_meanwhile_is_filled_anew(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    repository, manifest = backup
    with pytest.raises(StoreUnreachable):
        carry_out(repository, manifest, tmp_path, reads=50, batch_bytes=1, threads=1)
    orders = tmp_path / "shop/orders.ibd"
    size = orders.stat().st_size
    orders.rename(tmp_path / "aside")
    orders.write_bytes(bytes(size))
    (tmp_path / "aside").unlink()
    (tmp_path / "mysql.ibd").write_bytes(b"cut")
    # Killed once more: the files made anew must still not be believed to hold what the journal says.
    with pytest.raises(StoreUnreachable):
        carry_out(repository, manifest, tmp_path, reads=8, batch_bytes=1, threads=1)
    carry_out(repository, manifest, tmp_path)
    assert content(tmp_path) == expected_content(made)


@pytest.mark.parametrize(
    "tear", [b'{"part":0,"stage":2,"packs":[0,1', b"\x00" * 40, b'{"part":"x"}\n', b"[1]\n"]
)
def test_a_torn_last_line_of_the_journal_is_cut_off(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest], tear: bytes
) -> None:
    repository, manifest = backup
    with pytest.raises(StoreUnreachable):
        carry_out(repository, manifest, tmp_path, reads=30, batch_bytes=1, threads=1)
    with (tmp_path / JOURNAL_NAME).open("ab") as journal:
        journal.write(tear)
    result = carry_out(repository, manifest, tmp_path)
    assert result.journaled_bytes > 0
    assert content(tmp_path) == expected_content(made)


def test_a_restore_killed_before_its_first_line_begins_anew(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    (tmp_path / JOURNAL_NAME).write_bytes(b'{"backstay_res')
    carry_out(*backup, tmp_path)
    assert content(tmp_path) == expected_content(made)


def test_when_all_is_fetched_nothing_is_touched_again(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    carry_out(*backup, tmp_path)
    (tmp_path / "auto.cnf").write_text("a server ran here")
    (tmp_path / "ibdata1").write_bytes(b"and wrote")
    assert plan(backup[1], tmp_path).mode is Mode.PROVE
    result = carry_out(*backup, tmp_path, reads=0)
    assert result.data_bytes == 0
    assert (tmp_path / "ibdata1").read_bytes() == b"and wrote"


def test_a_kill_between_the_last_line_and_the_last_rename_is_made_up_for(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    carry_out(*backup, tmp_path)
    (tmp_path / "ibdata1").rename(tmp_path / f"ibdata1{PARKED_SUFFIX}")
    carry_out(*backup, tmp_path, reads=0)
    assert content(tmp_path) == expected_content(made)


def test_two_restores_into_one_directory_are_kept_apart(
    tmp_path: Path, backup: tuple[Repository, Manifest]
) -> None:
    _, manifest = backup
    planned = plan(manifest, tmp_path)
    other = plan(manifest, tmp_path)
    journal = open_journal(planned)
    with pytest.raises(TargetRefused, match="another restore is at work"):
        open_journal(other)
    journal.close()


def test_a_plan_that_another_restore_has_overtaken_is_refused(
    tmp_path: Path, backup: tuple[Repository, Manifest]
) -> None:
    planned = plan(backup[1], tmp_path)
    carry_out(*backup, tmp_path)
    with pytest.raises(TargetRefused, match="another restore is at work"):
        open_journal(planned)


def test_a_full_disk_is_told_and_after_making_room_it_goes_on(
    tmp_path: Path,
    made: dict[str, MadeFile],
    backup: tuple[Repository, Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import errno
    import os

    room = [30 * PAGE]

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        if room[0] < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)
        return real(descriptor, data, offset)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(DiskFull, match="No space left on device") as full:
        carry_out(*backup, tmp_path, batch_bytes=1)
    assert full.value.hint is not None
    assert "goes on where it was" in full.value.hint
    assert not (tmp_path / "ibdata1").exists()
    room[0] = 1 << 30
    assert carry_out(*backup, tmp_path).journaled_bytes > 0
    assert content(tmp_path) == expected_content(made)


def test_a_write_that_is_cut_short_is_carried_on(
    tmp_path: Path,
    made: dict[str, MadeFile],
    backup: tuple[Repository, Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import os

    real = os.pwrite

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        return real(descriptor, data[: max(1, len(data) // 2)], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    carry_out(*backup, tmp_path)
    assert content(tmp_path) == expected_content(made)


def test_a_restore_that_is_cancelled_ends_and_goes_on_later(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    cancelled = threading.Event()

    class Impatient(Watcher):
        def advance(self, count_bytes: int) -> None:
            super().advance(count_bytes)
            if self.done > 30 * PAGE:
                cancelled.set()

    repository, manifest = backup
    planned = plan(manifest, tmp_path)
    journal = open_journal(planned)
    with pytest.raises(Cancelled):
        fetch(
            planned,
            BackupReader(repository, manifest),
            journal,
            threads=2,
            progress=Impatient(),
            clock=SystemClock(),
            cancelled=cancelled,
            batch_bytes=1,
        )
    journal.close()
    assert carry_out(*backup, tmp_path).journaled_bytes > 0
    assert content(tmp_path) == expected_content(made)


def test_files_are_not_opened_any_more_once_closed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    files = TargetFiles(tmp_path, lambda _: "a")
    with files.open(0) as file:
        file.write(0, memoryview(b"x"))
    files.close()
    with pytest.raises(TargetRefused), files.open(0):
        pass
    assert (tmp_path / "a").read_bytes() == b"xbc"
