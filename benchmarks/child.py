"""``python -m benchmarks.child VERB CONFIG REPORT [TARGET]``: one verb of Backstay in a process of its own.

It calls what the command line calls, and writes to ``REPORT`` what the rooms tell of themselves.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.ours import SHARD
from fleet.clock import SystemClock
from fleet.config import load
from fleet.model import Fleet
from fleet.progress import Silent
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
    elif verb == "fetch":
        told = _fetch(fleet, Path(*target))
    elif verb == "restore":
        told = _restore(fleet, Path(*target))
    else:
        raise SystemExit(f"there is no verb {verb}")
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


def _fetch(fleet: Fleet, target: Path) -> dict[str, Any]:
    from repository.catalog import Catalog  # noqa: PLC0415
    from restore.datadir import open_journal  # noqa: PLC0415
    from restore.fetch import fetch, open_reader  # noqa: PLC0415
    from restore.plan import plan_restore  # noqa: PLC0415
    from restore.target import look_at  # noqa: PLC0415

    repository = _open(fleet)
    manifest = Catalog(repository).manifest(SHARD)
    plan = plan_restore(manifest, look_at(target), None)
    threads = fleet.parallelism.download_threads
    journal = open_journal(plan)
    try:
        result = fetch(
            plan,
            open_reader(repository, manifest, threads=threads),
            journal,
            threads=threads,
            progress=Silent(),
            clock=SystemClock(),
        )
    finally:
        journal.close()
    return asdict(result)


def _restore(fleet: Fleet, target: Path) -> dict[str, Any]:
    from restore.full import restore_backup  # noqa: PLC0415

    result = restore_backup(fleet, SHARD, target, repository=_open(fleet))
    return {
        "label": result.label,
        "seconds": result.seconds,
        "stage_seconds": dict(result.stage_seconds),
        "read_bytes": result.read_bytes,
        "written_bytes": result.written_bytes,
        "gtid_executed": result.gtid_executed,
        "proof": result.proof,
    }


def _open(fleet: Fleet) -> Repository:
    return Repository.open(open_store(fleet.repository), Keyring.from_config(fleet.keys))


def _with_receive(stages: Mapping[str, float], whole: float) -> dict[str, float]:
    """What no stage of the writer used is the receiving: sockets, TLS, framing, the spool."""
    return {"receive": max(0.0, whole - sum(stages.values())), **stages}


if __name__ == "__main__":
    main(*sys.argv[1:])
