"""What is recorded of Prefect's database is what its migrations make today."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from flows.service.empty_database import DATABASE, lay_down, schema_of
from flows.service.recording import migrated

pytestmark = pytest.mark.slow

_PRAGMAS = ("auto_vacuum", "application_id", "encoding", "journal_mode", "page_size", "user_version")


def whole(database: Path) -> dict[str, Any]:
    """Its schema, the columns of every table in their order, all rows, and what its header says."""
    with closing(sqlite3.connect(database)) as opened:
        schema = opened.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
        ).fetchall()
        tables = [name for kind, name, *_ in schema if kind == "table"]
        columns = {name: opened.execute(f'PRAGMA table_xinfo("{name}")').fetchall() for name in tables}
        rows = {name: opened.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
        header = {name: opened.execute(f"PRAGMA {name}").fetchall() for name in _PRAGMAS}
    told = [(*names, lines(sql)) for *names, sql in schema]
    return {"schema": told, "columns": columns, "rows": rows, "header": header}


def lines(sql: str | None) -> list[str]:
    """Of a statement; the constraints of a table come in another order each time that it is migrated."""
    return sorted(line.strip().rstrip(",") for line in (sql or "").splitlines())


def test_it_is_what_the_migrations_of_the_installed_prefect_make(tmp_path: Path) -> None:
    recorded, made = tmp_path / "recorded", tmp_path / "made"
    made.mkdir()
    assert lay_down(recorded, schema_of(version("prefect")))
    expected = whole(migrated(made))
    assert len(expected["schema"]) > 100
    assert whole(recorded / DATABASE) == expected
