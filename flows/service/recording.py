"""``python -m flows.service.recording``: records what the migrations of the installed Prefect end with.

For whoever changes the pin of Prefect: ``make schema``. A test compares the record with what the
migrations make today.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.service.empty_database import DATABASE, schema_of


def migrated(home: Path) -> Path:
    """An empty database below ``home``, made by Prefect itself; it takes some 10 s.

    Raises ``subprocess.CalledProcessError``.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
        env=others | {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"},
        cwd=home,
        check=True,
        capture_output=True,
    )
    return home / DATABASE


def main() -> None:
    """Replace the record."""
    with TemporaryDirectory() as home, closing(sqlite3.connect(migrated(Path(home)))) as database:
        statements = "\n".join(database.iterdump())
    record = schema_of(version("prefect"))
    for old in record.parent.glob("prefect-*.sql"):
        old.unlink()
    record.write_text(f"{statements}\n")


if __name__ == "__main__":
    main()
