"""Restores over an existing data directory: what is equal stays, what differs is rewritten, what is extra
goes.
"""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import pytest

from fleet.errors import StoreUnreachable
from repository.manifest import Manifest
from repository.repository import Repository
from restore.journal import JOURNAL_NAME
from restore.plan import Mode
from tests.unit.restore.made_backups import (
    PAGE,
    MadeFile,
    expected_content,
    made_data_directory,
    made_repository,
    write_made_backup,
)
from tests.unit.restore.restoring import carry_out, content, plan


@pytest.fixture(scope="module")
def made() -> dict[str, MadeFile]:
    return made_data_directory(7)


@pytest.fixture(scope="module")
def backup(made: dict[str, MadeFile]) -> tuple[Repository, Manifest]:
    repository = made_repository()
    return repository, write_made_backup(repository, made)


@pytest.fixture
def used(tmp_path: Path, backup: tuple[Repository, Manifest]) -> Path:
    """A data directory of that backup on which a server ran and was stopped."""
    target = tmp_path / "data"
    carry_out(*backup, target)
    (target / JOURNAL_NAME).unlink()
    (target / "auto.cnf").write_text("[auto]")
    (target / "binlog.000001").write_bytes(b"\xfebin")
    (target / "performance_schema").mkdir()
    (target / "new" / "er").mkdir(parents=True)
    (target / "new" / "er" / "t.ibd").write_bytes(bytes(3 * PAGE))
    (target / "#innodb_redo/#ib_redo0").unlink()
    (target / "#innodb_redo/#ib_redo7").write_bytes(os.urandom(PAGE))
    return target


def change(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_only_pages_that_differ_are_fetched_and_written(
    used: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    change(used / "shop/orders.ibd", 50 * PAGE + 100, b"changed")
    inode = (used / "shop/orders.ibd").stat().st_ino
    result = carry_out(*backup, used, delta=True)
    assert content(used) == expected_content(made)
    assert (used / "shop/orders.ibd").stat().st_ino == inode
    paged = sum(
        len(data) for file in made.values() if file.space_id is not None for data in file.then.values()
    )
    # What FILE brought is written where PAGE brings something else, and the other way round.
    assert result.written_bytes <= PAGE + 2 * paged + made["#innodb_redo/#ib_redo0"].size + 7000
    assert result.equal_bytes > result.data_bytes // 3
    assert result.read_bytes < backup[1].sizes.stored_bytes


def test_files_that_grew_shrank_or_vanished_are_put_right(
    used: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    with (used / "shop/orders.ibd").open("ab") as file:
        file.write(os.urandom(5 * PAGE))
    os.truncate(used / "mysql.ibd", 3 * PAGE)
    (used / "shop/archive/old.ibd").unlink()
    carry_out(*backup, used, delta=True)
    assert content(used) == expected_content(made)


def test_what_no_record_covers_becomes_zeros(
    used: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    change(used / "shop/grown.ibd", 10 * PAGE, os.urandom(20 * PAGE))
    carry_out(*backup, used, delta=True)
    assert content(used) == expected_content(made)


def test_what_is_not_in_the_backup_is_planned_to_go_and_goes(
    used: Path, backup: tuple[Repository, Manifest]
) -> None:
    planned = plan(backup[1], used, delta=True)
    assert planned.mode is Mode.DELTA
    assert planned.remove_files == ("#innodb_redo/#ib_redo7", "auto.cnf", "binlog.000001", "new/er/t.ibd")
    assert planned.remove_directories == ("performance_schema", "new/er", "new")
    assert any("remove 4 files" in step and "binlog.000001" in step for step in planned.steps())
    carry_out(*backup, used, delta=True)
    assert not (used / "new").exists()
    assert not (used / "performance_schema").exists()


def test_a_hard_link_elsewhere_keeps_its_bytes(
    used: Path, tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    change(used / "mysql.ibd", 0, b"changed")
    os.link(used / "mysql.ibd", tmp_path / "kept")
    carry_out(*backup, used, delta=True)
    assert content(used) == expected_content(made)
    assert (tmp_path / "kept").read_bytes().startswith(b"changed")


def test_a_directory_where_a_file_belongs_and_a_file_where_a_directory_belongs_give_way(
    used: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    (used / "ib_buffer_pool").unlink()
    (used / "ib_buffer_pool").mkdir()
    (used / "ib_buffer_pool" / "odd").write_bytes(b"x")
    (used / "empty").rmdir()
    (used / "empty").write_bytes(b"x")
    carry_out(*backup, used, delta=True)
    assert content(used) == expected_content(made)
    assert (used / "empty").is_dir()


def test_the_socket_of_a_server_that_crashed_is_removed(
    used: Path, backup: tuple[Repository, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(used)
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind("mysql.sock")
    carry_out(*backup, used, delta=True)
    assert not (used / "mysql.sock").exists()


def test_over_a_directory_of_another_backup_nothing_of_it_remains(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    repository = made_repository()
    carry_out(repository, write_made_backup(repository, made_data_directory(8, pages=60)), tmp_path)
    carry_out(*backup, tmp_path, delta=True)
    assert content(tmp_path) == expected_content(made)


def test_over_a_half_restore_of_another_backup_nothing_of_it_remains(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    repository = made_repository()
    other = write_made_backup(repository, made_data_directory(8, pages=60))
    with pytest.raises(StoreUnreachable):
        carry_out(repository, other, tmp_path, reads=40, batch_bytes=1)
    carry_out(*backup, tmp_path, delta=True)
    assert content(tmp_path) == expected_content(made)


def test_a_delta_that_lost_the_store_at_any_read_goes_on_where_it_was(
    tmp_path: Path, made: dict[str, MadeFile], backup: tuple[Repository, Manifest]
) -> None:
    repository, manifest = backup
    chance = random.Random(3)
    for reads in range(0, 36, 3):
        target = tmp_path / str(reads)
        carry_out(repository, manifest, target)
        (target / JOURNAL_NAME).unlink()
        for name in ("shop/orders.ibd", "ibdata1"):
            for page in chance.sample(range(made[name].size // PAGE), 12):
                change(target / name, page * PAGE + 40, chance.randbytes(30))
        (target / "auto.cnf").write_text("[auto]")
        (target / "shop/archive/old.ibd").unlink()
        with pytest.raises(StoreUnreachable):
            carry_out(repository, manifest, target, delta=True, reads=reads, threads=2)
        assert not (target / "ibdata1").exists()
        assert plan(manifest, target).mode is Mode.RESUME
        carry_out(repository, manifest, target)
        assert content(target) == expected_content(made)
