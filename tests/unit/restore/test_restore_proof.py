"""Which tables are checked, and what mysqld's own note of a recovery says."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore.proof import SAMPLE_TABLES, choose_tables, read_recovery_note
from tests.unit.restore.made_backups import UUID
from wire.restored import Table

TABLES = [Table("s", f"t{number:03}", number * 7 % 301) for number in range(300)]


def test_a_sample_has_the_biggest_and_the_smallest_table() -> None:
    chosen = choose_tables(TABLES, seed="20260301T021500Z-full")
    pages = [table.pages for table in chosen]
    assert len(set(chosen)) == SAMPLE_TABLES
    assert {min(table.pages for table in TABLES), max(table.pages for table in TABLES)} <= set(pages)


def test_the_same_seed_chooses_the_same_tables_and_another_one_others() -> None:
    assert choose_tables(TABLES, seed="a") == choose_tables(list(reversed(TABLES)), seed="a")
    assert choose_tables(TABLES, seed="a") != choose_tables(TABLES, seed="b")


def test_few_tables_are_all_chosen() -> None:
    assert choose_tables(TABLES[:5], seed="a") == tuple(TABLES[:5])
    assert choose_tables([], seed="a") == ()


def test_the_note_of_a_recovery_is_read_with_a_gtid_set_of_several_lines(tmp_path: Path) -> None:
    assert read_recovery_note(tmp_path) is None
    (tmp_path / "#clone").mkdir()
    note = tmp_path / "#clone" / "#status_recovery"
    other = UUID.replace("2", "3")
    note.write_text(
        f"1795385722524498\n1795385723164965\n./binlog.000002\n6687726\n{UUID}:1-7,\n{other}:1-2\n"
    )
    read = read_recovery_note(tmp_path)
    assert read is not None
    assert (read.binlog_file, read.binlog_position) == ("binlog.000002", 6687726)
    assert read.gtid_executed.count() == 9


@pytest.mark.parametrize("text", ["", "1\n2\n", "1\n2\n./b\nnothing\n"])
def test_a_note_that_was_cut_off_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "#clone").mkdir()
    (tmp_path / "#clone" / "#status_recovery").write_text(text)
    assert read_recovery_note(tmp_path) is None
