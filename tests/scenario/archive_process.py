"""An archiver in a process of its own, to be killed: ``python -m tests.scenario.archive_process FLEET``."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from backup.archive.run import run_archiver
from fleet.clock import SystemClock
from fleet.errors import ToolError
from fleet.model import Fleet
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store


def start_archiver(fleet: Fleet, folder: Path) -> subprocess.Popen[bytes]:
    """What it tells goes to ``folder/archiver.log``."""
    config = folder / "fleet.json"
    config.write_text(fleet.model_dump_json(exclude_unset=True))
    with (folder / "archiver.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.scenario.archive_process", str(config)],
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parents[2],
        )


def main(config: Path) -> int:
    fleet = Fleet.model_validate_json(config.read_text())
    repository = Repository.open(open_store(fleet.repository), Keyring.from_config(fleet.keys))
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    try:
        run_archiver(
            fleet,
            [],
            repository,
            clock=SystemClock(),
            cancelled=cancelled,
            progress=lambda news: print(f"{news.at:%T.%f} {news.kind}: {news.text}", flush=True),
        )
    except ToolError as error:
        print(f"{type(error).__name__}: {error.message}", flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
