"""``backstay diff``: what its options ask for, before any server is met, and what its answer looks like."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from door import Backstay

from cli.render import render_json, show_text
from cli.text_diff import TableCompared
from fleet.gtid import GtidSet
from fleet.table_name import TableName
from repository.archive.beyond import HeldBeyond
from restore.diff import TableDiff
from restore.diff_compare import Compared, RowExample
from restore.diff_definition import DefinitionChange
from restore.diff_merge import Difference
from wire.table_reading import Moment

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
LOW, HIGH = GtidSet.parse(f"{UUID}:1-90"), GtidSet.parse(f"{UUID}:1-91")
COMPARED = Compared(
    key=("id",),
    columns=("id", "what"),
    definition=(
        DefinitionChange("column", "what", "varchar(20)", "varchar(40) collate utf8mb4_0900_ai_ci", True),
        DefinitionChange("column", "price", "decimal(10,2)", "varchar(9)", False),
        DefinitionChange("column", "gone", "int", None, False),
        DefinitionChange("index", "what", None, "unique (what)", True),
    ),
    moment=Moment(LOW, HIGH),
    past_rows=12_000,
    live_rows=11_999,
    missing=1_500,
    added=1_499,
    changed=1,
    examples=(
        RowExample(Difference.CHANGED, {"id": 1, "what": "sail"}, {"id": 1, "what": "oar"}),
        RowExample(Difference.MISSING, {"id": 2, "what": b"\xff"}, None),
        RowExample(Difference.ADDED, None, {"id": 3, "what": "\x1b[2Jx" * 30}),
    ),
    notes=("triggers fire at every statement: watch",),
    statements=3_000,
)
EQUAL = replace(
    COMPARED, definition=(), missing=0, added=0, changed=0, examples=(), notes=(), statements=0, past_rows=1
)
FOUND = TableDiff(
    shard="s1",
    table=TableName("shop", "orders"),
    server="s1-a",
    asked="2026-03-01 02:15:00.000000 UTC",
    label="20260301T000000Z-full",
    reached_at=datetime(2026, 3, 1, 2, 14, 58, tzinfo=UTC),
    stopped_before=f"{UUID}:78",
    gtid_executed=f"{UUID}:1-77",
    compared=COMPARED,
    sql=Path("undo.sql"),
    seconds=12.0,
    stage_seconds={"bring": 10.0, "compare": 2.0},
)


def printed(
    found: TableDiff, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    show_text(TableCompared.of(found))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    return lines


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--table", "shop.orders"], "no point is given to compare with"),
        (["--table", "orders", "--latest"], "'orders' is no table's name"),
        (["--latest"], "--table"),
        (["--table", "shop.orders", "--to", "2026-03-01 02:15"], "does not say in which time zone"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(backstay: Backstay, options: list[str], said: str) -> None:
    answer = backstay("diff", "s1", *options)
    assert answer.exit_code == 2
    assert said in answer.err.splitlines()[0]


def test_a_past_that_lacks_what_a_newer_backup_holds_is_told_before_the_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    beyond = HeldBeyond("20260302T021500Z-full", 5, f"{UUID}:78-82")
    told = " ".join(" ".join(printed(replace(FOUND, beyond=beyond), capsys, monkeypatch)).split())
    assert "holds 5 transactions that the archive" in told
    assert "not in the past that was compared" in told
    assert told.index("holds 5 transactions") < told.index("rows differ")


def test_differences_are_told_definition_first_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(FOUND, capsys, monkeypatch)
    text = "\n".join(lines)
    assert "past   2026-03-01 02:15:00.000000 UTC, 12,000 rows" in lines
    assert "live   server s1-a, 11,999 rows" in lines
    assert f"       at most  {UUID}:1-91" in lines
    assert "  -  column gone: int" in lines
    assert "  +  index what: unique (what)" in lines
    assert "     its values cannot be compared" in lines
    assert "3,000 rows differ: 1,500 missing, 1,499 added, 1 changed" in lines
    assert "  ~  id=1; what: 'sail' -> 'oar'" in lines
    assert "  -  id=2, what=X'ff'" in lines
    assert "     ... 2,997 more" in lines
    assert "\x1b" not in text
    assert text.index("definition") < text.index("differ:") < text.index("undo.sql: 3,000 statements")
    assert lines[-1] == "  triggers fire at every statement: watch"


def test_without_a_file_the_way_to_the_statements_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(replace(FOUND, sql=None), capsys, monkeypatch)
    assert lines[-1] == "With --sql FILE the statements that would undo it are written."


def test_equal_tables_are_told_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(replace(FOUND, compared=EQUAL, sql=None), capsys, monkeypatch)
    assert lines[-1] == "Every row is as it was."
    changed = replace(EQUAL, definition=COMPARED.definition[:1], key=())
    lines = printed(replace(FOUND, compared=changed, sql=None), capsys, monkeypatch)
    assert lines[-1] == "In what both have, every row is as it was."
    assert "key    none: rows are compared as a whole" in lines


def test_programs_get_rows_by_column_and_both_ends_of_the_live_moment() -> None:
    told: dict[str, Any] = render_json(TableCompared.of(FOUND))
    assert (told["equal"], told["table"], told["sql"]) == (False, "shop.orders", "undo.sql")
    assert (told["live_gtids_low"], told["live_gtids_high"]) == (f"{UUID}:1-90", f"{UUID}:1-91")
    assert told["rows"][1] == {
        "kind": "missing",
        "past": {"id": 2, "what": {"hex": "ff"}},
        "live": None,
    }
    assert told["definition"][2] == {
        "what": "column",
        "name": "gone",
        "past": "int",
        "live": None,
        "compared": False,
    }
    assert TableCompared.of(replace(FOUND, compared=EQUAL)).equal
