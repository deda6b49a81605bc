"""A file that is there only when all of it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import TargetRefused
from restore.complete_file import complete_file
from restore.table_sql import LENIENT, STRICT, comment


def test_a_file_appears_when_it_is_complete_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "orders.sql"
    with complete_file(path) as file:
        file.write(b"rows")
        assert not path.exists()
    assert path.read_bytes() == b"rows"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), complete_file(tmp_path / "orders.sql") as file:
        file.write(b"rows")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "orders.sql"
    path.write_text("mine")
    with pytest.raises(TargetRefused, match="is there already"), complete_file(path):
        pass
    assert path.read_text() == "mine"
    with pytest.raises(TargetRefused, match="there is no directory"), complete_file(tmp_path / "no" / "file"):
        pass


def test_a_comment_is_one_line_whatever_it_holds() -> None:
    assert comment("a\nDROP TABLE b;\r\n") == "-- a\\nDROP TABLE b;\\r\\n"


def test_the_lenient_mode_is_the_strict_one_without_its_strictness() -> None:
    assert LENIENT.replace("';", ",STRICT_ALL_TABLES';") == STRICT
