from __future__ import annotations

import pytest

from benchmarks.cases import Case, Group
from benchmarks.selection import room_for, select, size_for
from fleet.errors import UsageError

CASES = [
    Case("backstay-files", "", Group.BACKUP_FILES, ()),
    Case("tar-files", "", Group.BACKUP_FILES, ()),
    Case("backstay-s3", "", Group.BACKUP_S3, ()),
    Case("fetch-files", "", Group.RESTORE_FILES, ()),
]


def test_nothing_asked_is_everything():
    selection = select(CASES, [])
    assert selection.cases == ("backstay-files", "tar-files", "backstay-s3", "fetch-files")
    assert selection.beside_load == ("backstay-files", "backstay-s3", "tar-files")


def test_a_word_picks_a_case_or_all_of_a_group_and_each_once():
    assert select(CASES, ["backup"]).cases == ("backstay-files", "tar-files", "backstay-s3")
    assert select(CASES, ["tar-files", "into files"]).cases == ("tar-files", "backstay-files")


def test_the_load_alone_can_be_asked_for():
    selection = select(CASES, ["donor-cost"])
    assert selection.cases == ()
    assert "tar-files" in selection.beside_load


def test_the_large_one_is_ours_alone_and_large():
    assert select(CASES, ["memory-large"]).cases == ("backstay-files", "backstay-s3", "fetch-files")
    assert (size_for(["memory-large"]), size_for([])) == (20480, 2048)
    assert room_for(["memory-large"]) < room_for(["memory-large", "backup"]) == room_for([])


def test_an_unknown_word_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UsageError, match="no case is named tarr") as caught:
        select(CASES, ["tarr"])
    assert "tar-files" in (caught.value.hint or "")
