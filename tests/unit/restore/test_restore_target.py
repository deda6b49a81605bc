"""What is seen of a target directory."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import TargetRefused
from restore import target
from restore.journal import JOURNAL_NAME
from restore.target import look_at


def test_a_target_that_is_not_there_is_empty_and_its_disk_is_known(tmp_path: Path) -> None:
    facts = look_at(tmp_path / "a" / "b")
    assert facts.is_empty
    assert not facts.exists
    assert facts.free_bytes > 0


def test_the_lost_and_found_of_a_file_system_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert look_at(tmp_path).is_empty


def test_files_directories_and_links_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "t.ibd").write_bytes(b"12345")
    (tmp_path / "a" / "link").symlink_to("/etc")
    facts = look_at(tmp_path)
    assert facts.directories == {"a", "a/b"}
    assert facts.links == ("a/link",)
    assert facts.files["a/b/t.ibd"].size == 5
    assert not facts.is_empty


def test_our_own_journal_is_not_one_of_the_files(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_NAME).write_text(
        '{"backstay_restore":1,"repository_id":"r","shard":"s","label":"l","delta":false}\n'
    )
    facts = look_at(tmp_path)
    assert not facts.files
    assert facts.journal is not None
    assert facts.journal.header == ("r", "s", "l", False)


def test_a_journal_of_a_newer_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_NAME).write_text('{"backstay_restore":2}\n')
    with pytest.raises(TargetRefused, match="not a journal that this version can read"):
        look_at(tmp_path)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetRefused, match="is not a directory"):
        look_at(tmp_path / "file")
    with pytest.raises(TargetRefused, match="is not a directory"):
        look_at(tmp_path / "file" / "below")


def test_a_data_directory_above_is_seen(tmp_path: Path) -> None:
    (tmp_path / "ibdata1").write_bytes(b"")
    assert look_at(tmp_path / "x" / "y").data_directory_above == tmp_path
    assert look_at(tmp_path).data_directory_above is None


def test_who_holds_the_system_tablespace_is_named(tmp_path: Path) -> None:
    (tmp_path / "ibdata1").write_bytes(b"x")
    holder = f"""
import fcntl, sys
file = open({str(tmp_path / "ibdata1")!r}, "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
    assert look_at(tmp_path).locked_by is None
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert look_at(tmp_path).locked_by == process.pid
        process.kill()
    assert look_at(tmp_path).locked_by is None


def test_looking_takes_no_lock_away(tmp_path: Path) -> None:
    path = tmp_path / "ibdata1"
    path.write_bytes(b"x")
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert look_at(tmp_path).locked_by is None
    os.close(descriptor)


def test_what_a_server_that_ends_drops_meanwhile_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redo0").touch()
    (tmp_path / "redo1").touch()
    walk = target._walk  # pyright: ignore[reportPrivateUsage]

    def walked(directory: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        for name, entry in walk(directory, prefix):
            (tmp_path / "redo0").unlink(missing_ok=True)
            yield name, entry

    monkeypatch.setattr(target, "_walk", walked)
    assert list(look_at(tmp_path).files) == ["redo1"]
