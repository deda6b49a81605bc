"""``python -m benchmarks.child VERB CONFIG REPORT [TARGET]``: one verb of Backstay in a process of its own.

It calls what the command line calls, and writes to ``REPORT`` what the rooms tell of themselves.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ours import SHARD
from fleet.clock import SystemClock
from fleet.config import load
from fleet.model import Fleet
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store


def main(verb: str, config: str, report: str, *target: str) -> None:
    """Do it; errors end the process with their text."""
    started = time.process_time()
    fleet = load(Path(config))
    if verb == "init":
        Repository.create(open_store(fleet.repository), Keyring.from_config(fleet.keys), SystemClock())
        told: dict[str, Any] = {}
    elif verb == "backup":
        told = _backup(fleet)
    else:
        raise SystemExit(f"no verb {verb} {target}")
    Path(report).write_text(json.dumps(told | {"start_cpu_seconds": started}))


def _backup(fleet: Fleet) -> dict[str, Any]:
    from backup.full import take_full_backup  # noqa: PLC0415 (a process loads what its verb needs)

    before = time.process_time()
    result = take_full_backup(fleet, SHARD, repository=_open(fleet))
    stages = dict(result.cpu_seconds)
    return {
        "label": result.label,
        "seconds": result.seconds,
        "stage_seconds": dict(result.stage_seconds),
        "cpu_seconds": _with_receive(stages, time.process_time() - before),
        "received_bytes": result.received_bytes,
        "stored_bytes": result.stored_bytes,
        "spilled_bytes": result.spilled_bytes,
        "resumes": result.resumes,
        "interruptions": list(result.interruptions),
    }


def _open(fleet: Fleet) -> Repository:
    return Repository.open(open_store(fleet.repository), Keyring.from_config(fleet.keys))


def _with_receive(stages: Mapping[str, float], whole: float) -> dict[str, float]:
    """What no stage of the writer used is the receiving: sockets, TLS, framing, the spool."""
    return {"receive": max(0.0, whole - sum(stages.values())), **stages}


if __name__ == "__main__":
    main(*sys.argv[1:])
