"""Commands in processes of their own that begin with everything imported: hundreds of them fit in minutes.

A process of ``benchmarks.child`` takes most of a second to start. Those of a simulation are forked off a
server (``multiprocessing``'s own) that has imported what they need, and has no threads.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import child
from fleet.errors import SandboxFailed

PRELOADED = (
    "benchmarks.child", "benchmarks.promised", "backup.full", "backup.incremental", "backup.expire",
    "backup.prune", "restore.point_restore",
)  # fmt: skip
PATIENCE_SECONDS = 300.0


class Ended(NamedTuple):
    """What a command reported, and its wall seconds."""

    report: dict[str, Any]
    seconds: float


class Commands:
    """Runs verbs of ``benchmarks.child`` on one config; two threads may use two of them at once."""

    def __init__(self, config: Path, scratch: Path) -> None:
        self._config = config
        self._report = scratch.with_suffix(".report.json")
        self._log = scratch.with_suffix(".log")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOADED])

    def run(self, verb: str, *words: str) -> Ended:
        """Do it. Raises SandboxFailed with its last words if it ends badly."""
        self._report.unlink(missing_ok=True)
        began = time.monotonic()
        process = self._context.Process(
            target=_begin, args=(self._log, verb, str(self._config), str(self._report), *words)
        )
        process.start()
        process.join(PATIENCE_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise SandboxFailed(f"{verb} did not end within {PATIENCE_SECONDS:.0f} s")
        # The report is written last. The exit code alone will not do: who starts a process in another thread
        # looks after all of ours, and whoever comes second to the code of one that ended reads 255.
        if process.exitcode and not self._report.exists():
            said = self._log.read_text(errors="replace").strip().splitlines()
            raise SandboxFailed(f"{verb} ended with {process.exitcode}: {' / '.join(said[-2:])}")
        return Ended(json.loads(self._report.read_text()), time.monotonic() - began)


def _begin(log: Path, verb: str, config: str, report: str, *words: str) -> None:
    """The process: what it prints goes to ``log``."""
    with log.open("wb") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        child.main(verb, config, report, *words)
