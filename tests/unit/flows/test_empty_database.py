"""The empty database of the embedded scheduler, put there ready-made."""

from __future__ import annotations

import os
import re
import runpy
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from flows.service import scheduler
from flows.service.empty_database import DATABASE, lay_down, schema_of

SCHEMA = schema_of(version("prefect"))
KILLED = """
import os, signal, sys
from pathlib import Path
from flows.service.empty_database import lay_down

left = int(sys.argv[3])

def count(event, arguments):
    global left
    if event in ("open", "sqlite3.connect", "os.remove", "os.rename", "os.mkdir"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
lay_down(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def head() -> str:
    """The last migration of the Prefect that is installed."""
    package = find_spec("prefect")
    assert package is not None and package.origin is not None
    folder = Path(package.origin).parent / "server/database/_migrations/versions/sqlite"
    texts = [path.read_text() for path in folder.glob("*.py")]
    revisions, before = (
        {found[1] for text in texts if (found := re.search(rf'^{name} = "(\w+)"', text, re.MULTILINE))}
        for name in ("revision", "down_revision")
    )
    [last] = revisions - before
    return last


def revision_of(database: Path) -> str:
    """The migration that a sound database stands at."""
    with closing(sqlite3.connect(database)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        [(revision,)] = opened.execute("SELECT version_num FROM alembic_version")
    return revision


def test_it_is_where_the_installed_prefect_ends_its_migrations(tmp_path: Path) -> None:
    assert lay_down(tmp_path / "home", SCHEMA)
    assert revision_of(tmp_path / "home" / DATABASE) == head()


def test_it_is_one_file_in_the_journal_mode_of_prefect_and_for_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        lay_down(tmp_path / "home", SCHEMA)
    finally:
        os.umask(before)
    [made] = (tmp_path / "home").iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    with closing(sqlite3.connect(made)) as opened:
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"of somebody")
    assert not lay_down(tmp_path, SCHEMA)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"of somebody"]


def test_for_another_version_nothing_is_there(tmp_path: Path) -> None:
    assert not lay_down(tmp_path, schema_of("3.8.999"))
    assert not list(tmp_path.iterdir())


def test_what_a_database_left_behind_that_was_moved_away_is_not_played_into_it(tmp_path: Path) -> None:
    lay_down(tmp_path, SCHEMA)
    database = tmp_path / DATABASE
    with closing(sqlite3.connect(database)) as lost:
        lost.execute("UPDATE alembic_version SET version_num = 'lost'")
        lost.commit()
        log = database.with_name(f"{DATABASE}-wal")
        assert log.stat().st_size > 0
        database.rename(tmp_path / "gone")
        assert lay_down(tmp_path, SCHEMA)
        assert not log.exists()
        assert revision_of(database) == head()


def test_statements_that_fail_leave_nothing(tmp_path: Path) -> None:
    schema = tmp_path / "prefect-0.sql"
    schema.write_text("CREATE TABLE one (id INTEGER); nonsense;")
    with pytest.raises(sqlite3.Error):
        lay_down(tmp_path, schema)
    assert list(tmp_path.iterdir()) == [schema]


def test_killed_at_any_moment_it_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    kills = 0
    for step in range(40):
        home = tmp_path / str(step)
        words = [sys.executable, "-c", KILLED, str(home), str(SCHEMA), str(step)]
        code = subprocess.run(words, check=False).returncode
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        database = home / DATABASE
        was_there = database.exists()
        assert not was_there or revision_of(database) == head()
        assert lay_down(home, SCHEMA) is not was_there
        assert revision_of(database) == head()
        assert [path.name for path in home.iterdir()] == [DATABASE]
    assert kills > 5


@pytest.mark.parametrize("can_write", [True, False])
def test_the_server_is_started_whether_or_not_it_could_be_put_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *,
    can_write: bool,
) -> None:
    home = tmp_path / "home"
    if not can_write:
        home.write_text("in the way")
    became: list[object] = []
    monkeypatch.setenv("PREFECT_HOME", str(home))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(scheduler, "let_go", lambda: became.append("its cursors let go"))
    monkeypatch.setattr(runpy, "run_module", lambda module, **_: became.append((module, sys.argv)))
    scheduler.main()
    assert became == ["its cursors let go", ("prefect", ["prefect", "server", "start"])]
    assert (home / DATABASE).exists() == can_write
    assert ("could not be put there, so it is migrated" in capfd.readouterr().err) != can_write


def test_whoever_installs_backstay_has_it() -> None:
    root = Path(__file__).parents[3]
    carried = {each.distribution_path for each in WheelBuilder(str(root)).recurse_included_files()}
    assert str(SCHEMA.relative_to(root)) in carried
