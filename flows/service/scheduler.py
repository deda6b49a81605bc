"""The part that is Prefect's server, on a database that it need not make first. It is
``python -m flows.service.scheduler``, with the environment of ``flows.environment``.
"""

from __future__ import annotations

import os
import runpy
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path

from flows.service.database_cursors import let_go
from flows.service.empty_database import lay_down, schema_of

SERVER = ("prefect", "server", "start")


def main() -> None:
    """Be the server. What keeps the database from being put there is told, and the server makes one."""
    try:
        lay_down(Path(os.environ["PREFECT_HOME"]), schema_of(version("prefect")))
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"the empty database could not be put there, so it is migrated: {error}\n")
    let_go()
    sys.argv = list(SERVER)
    runpy.run_module(SERVER[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
