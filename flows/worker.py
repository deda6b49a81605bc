"""``python -m flows.worker CONFIG POOL [QUEUE ...]``: a worker for what ``backstay deploy`` put into a pool.

It is Prefect's process worker, with patience (``flows.patient_worker``), in the environment of Backstay:
server, credentials and limits are those of the configuration. A worker that is ended takes the runs with it
that it carries out; they are taken anew.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from socket import gethostname

from fleet.config import load
from fleet.errors import ToolError
from fleet.model import Fleet
from fleet.state_place import state_directory
from flows.environment import environment_of


def command_of(fleet: Fleet, pool: str, queues: list[str]) -> list[str]:
    """The worker's command line. A pool is never made here, only by ``deploy``."""
    named = [part for queue in queues for part in ("--work-queue", queue)]
    limit = ["--limit", str(fleet.scheduler.runs_at_once)]
    name = ["--name", "-".join((gethostname(), pool, *queues))]
    start = [sys.executable, "-m", "flows.patient_worker", "worker", "start", "--type", "process"]
    return [*start, "--pool", pool, *named, *name, *limit, "--no-create-pool-if-not-found"]


def main(arguments: list[str]) -> int:
    """Become the worker. Returns only if it cannot, with the error's exit code."""
    config, pool, *queues = arguments
    path = Path(config).absolute()
    try:
        fleet = load(path)
        directory = state_directory(fleet)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = environment_of(fleet, directory, path, os.environ)
    except ToolError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return error.exit_code
    # No settings of a stranger lie here.
    os.chdir(directory)
    return os.execve(sys.executable, command_of(fleet, pool, queues), environment)  # noqa: S606 - no shell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
