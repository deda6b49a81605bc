"""The empty database of the embedded scheduler, put there ready-made instead of migrated.

Prefect makes one by going through every migration since its first version, which takes longer than all else
in a first start. What these end with is recorded for one version of Prefect (``recording``), and counts for
that one alone: any other migrates as it always did, and so does a database that is there.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

DATABASE = "prefect.db"

_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database (https://www.sqlite.org/tempfiles.html)."""


def schema_of(version: str) -> Path:
    """Where the schema of that version of Prefect is recorded, if it is."""
    return Path(__file__).with_name(f"prefect-{version}.sql")


def lay_down(home: Path, schema: Path) -> bool:
    """Make the database below ``home`` from the statements in ``schema``; False, and nothing is done, if
    there is a database, or no such schema.

    Killed at any moment, it leaves no database or a whole one. No server may run on ``home``. Raises OSError
    and ``sqlite3.Error``; then there is no database either.
    """
    database, new = home / DATABASE, home / f"{DATABASE}.new"
    if database.exists() or not schema.exists():
        return False
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove(new)
    try:
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(new)) as made:
            # Nobody sees it before it is whole, and then it is synced once.
            made.execute("PRAGMA synchronous = OFF")
            made.executescript(schema.read_text())
            made.execute("PRAGMA journal_mode = WAL")
        with new.open("rb") as whole:
            os.fsync(whole.fileno())
        # What a database left behind that was moved away would be played into this one.
        _remove_beside(database)
        new.rename(database)
    except BaseException:
        _remove(new)
        raise
    return True


def _remove(database: Path) -> None:
    database.unlink(missing_ok=True)
    _remove_beside(database)


def _remove_beside(database: Path) -> None:
    for suffix in _BESIDE:
        database.with_name(database.name + suffix).unlink(missing_ok=True)
