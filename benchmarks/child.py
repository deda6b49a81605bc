"""``python -m benchmarks.child VERB CONFIG REPORT [MORE...]``: a verb of Backstay in its own process.

It calls what the command line calls, and writes to ``REPORT`` what the rooms tell of themselves.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.ours import SHARD
from fleet.clock import SystemClock
from fleet.config import load
from fleet.errors import NotFound
from fleet.model import Fleet
from fleet.progress import Silent
from repository.catalog import LATEST, Catalog
from repository.chain import read_chain
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store

if TYPE_CHECKING:
    from backup.full import BackupResult
    from restore.point import RecoveryTarget

ARCHIVE_PATIENCE_SECONDS = 60.0


def main(verb: str, config: str, report: str, *words: str) -> None:
    """Do it; errors end the process with their text."""
    started = time.process_time()
    fleet = load(Path(config))
    verbs: dict[str, Callable[..., dict[str, Any]]] = {
        "init": _init,
        "backup": _backup,
        "incremental": _incremental,
        "consolidate": _consolidate,
        "fetch": _fetch,
        "restore": _restore,
        "archive": _archive,
        "point": _point,
        "table": _table,
        "archive-until": _archive_until,
        "expire": _expire,
        "plannable": _plannable,
        "prune": _prune,
    }
    if verb not in verbs:
        raise SystemExit(f"there is no verb {verb}")
    told = verbs[verb](fleet, *words)
    Path(report).write_text(json.dumps(told | {"start_cpu_seconds": started}))


def _init(fleet: Fleet) -> dict[str, Any]:
    Repository.create(open_store(fleet.repository), Keyring.from_config(fleet.keys), SystemClock())
    return {}


def _backup(fleet: Fleet) -> dict[str, Any]:
    from backup.full import take_full_backup  # noqa: PLC0415 (a process loads what its verb needs)

    before = time.process_time()
    result = take_full_backup(fleet, SHARD, repository=_open(fleet))
    return _told_of_backup(result, time.process_time() - before)


def _incremental(fleet: Fleet) -> dict[str, Any]:
    from backup.incremental import take_incremental_backup  # noqa: PLC0415

    before = time.process_time()
    result = take_incremental_backup(fleet, SHARD, repository=_open(fleet), clock=SystemClock())
    return _told_of_backup(result, time.process_time() - before)


def _told_of_backup(result: BackupResult, cpu_seconds: float) -> dict[str, Any]:
    return {
        "label": result.label,
        "kind": result.kind,
        "seconds": result.seconds,
        "stage_seconds": dict(result.stage_seconds),
        "cpu_seconds": _with_receive(result.cpu_seconds, cpu_seconds),
        "received_bytes": result.received_bytes,
        "stored_bytes": result.stored_bytes,
        "spilled_bytes": result.spilled_bytes,
        "resumes": result.resumes,
        "interruptions": list(result.interruptions),
        "base": result.base,
        "became_full_because": result.became_full_because,
        "unchanged_bytes": result.unchanged_bytes,
        "skipped_bytes": result.skipped_bytes,
        "saving": result.saving,
        "damaged_pages": len(result.damaged_pages),
    }


def _consolidate(fleet: Fleet) -> dict[str, Any]:
    from backup.consolidate import consolidate  # noqa: PLC0415

    result = consolidate(_open(fleet), SHARD, clock=SystemClock())
    return {"label": result.label, "seconds": result.seconds}


def _fetch(fleet: Fleet, target: str, label: str = LATEST) -> dict[str, Any]:
    from restore.datadir import open_journal  # noqa: PLC0415
    from restore.fetch import fetch, open_reader  # noqa: PLC0415
    from restore.plan import plan_restore  # noqa: PLC0415
    from restore.target import look_at  # noqa: PLC0415

    repository = _open(fleet)
    catalog = Catalog(repository)
    chain = read_chain(catalog, catalog.manifest(SHARD, label))
    plan = plan_restore(chain, look_at(Path(target)), None)
    threads = fleet.parallelism.download_threads
    journal = open_journal(plan)
    try:
        result = fetch(
            plan,
            open_reader(repository, chain, threads=threads),
            journal,
            threads=threads,
            progress=Silent(),
            clock=SystemClock(),
        )
    finally:
        journal.close()
    return asdict(result)


def _restore(fleet: Fleet, target: str, label: str = LATEST, check: str = "") -> dict[str, Any]:
    from restore.full import restore_backup  # noqa: PLC0415

    level: Any = check or fleet.restore.check
    result = restore_backup(fleet, SHARD, Path(target), repository=_open(fleet), label=label, check=level)
    return {
        "label": result.label,
        "seconds": result.seconds,
        "stage_seconds": dict(result.stage_seconds),
        "read_bytes": result.read_bytes,
        "written_bytes": result.written_bytes,
        "gtid_executed": result.gtid_executed,
        "proof": result.proof,
    }


def _archive(fleet: Fleet) -> dict[str, Any]:
    from backup.archive.catch_up import archive_until_now  # noqa: PLC0415

    outcome = archive_until_now(
        fleet, [SHARD], _open(fleet), clock=SystemClock(), cancelled=threading.Event()
    )
    return {"transactions": sum(shard.transactions for shard in outcome.shards)}


def _archive_until(fleet: Fleet, gtids: str) -> dict[str, Any]:
    """Wait until the archive, which another process writes, holds all of ``gtids``."""
    from fleet.gtid import GtidSet  # noqa: PLC0415
    from restore.archived import ArchivedLine  # noqa: PLC0415

    repository, wanted = _open(fleet), GtidSet.parse(gtids)
    line: ArchivedLine | None = None
    deadline = time.monotonic() + ARCHIVE_PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(NotFound):
            line = ArchivedLine.read(repository, SHARD, known=line)
        if line is not None and wanted - line.first_gtids <= line.gtids:
            return {}
        time.sleep(0.1)
    raise SystemExit(f"the archive does not hold {gtids} after {ARCHIVE_PATIENCE_SECONDS:.0f} s")


def _plannable(fleet: Fleet, asked: str) -> dict[str, Any]:
    """Whether something leads to each of the times in the file ``asked``."""
    from benchmarks.promised import unplannable  # noqa: PLC0415

    moments = [datetime.fromisoformat(each) for each in json.loads(Path(asked).read_text())]
    return {"unplannable": unplannable(_open(fleet), SHARD, moments)}


def _point(fleet: Fleet, target: str, to: str = "latest") -> dict[str, Any]:
    """The whole shard, to the end of the archive, a time, or exactly a GTID set."""
    from restore.point_restore import restore_to_point  # noqa: PLC0415

    result = restore_to_point(fleet, SHARD, Path(target), _target(to), repository=_open(fleet))
    return {
        "label": result.label,
        "seconds": result.seconds,
        "stage_seconds": dict(result.stage_seconds),
        "transactions": result.transactions,
        "log_bytes": result.log_bytes,
        "gtid_executed": result.gtid_executed,
    }


def _table(fleet: Fleet, target: str, to: str, name: str) -> dict[str, Any]:
    """One table as it was at the time ``to``, or at the end of the archive, and its checksum."""
    from fleet.table_name import TableName  # noqa: PLC0415
    from restore.table_restore import bring_tables  # noqa: PLC0415

    table = TableName.parse(name)
    # The directory of the private server goes with it; the target is what stays to be looked at.
    Path(target).mkdir()
    directory = Path(target) / "private"
    with bring_tables(fleet, SHARD, [table], _target(to), directory, repository=_open(fleet)) as brought:
        (row,) = brought.server.query(f"CHECKSUM TABLE {table.quoted}")
        return {
            "label": brought.label,
            "stage_seconds": dict(brought.stage_seconds),
            "transactions": brought.transactions,
            "read_bytes": brought.read_bytes,
            "log_bytes": brought.log_bytes,
            "gtid_executed": brought.gtid_executed,
            "checksum": row["Checksum"],
        }


def _expire(fleet: Fleet) -> dict[str, Any]:
    from backup.expire import expire, plan_expire, refusal_of  # noqa: PLC0415

    repository = _open(fleet)
    plan = plan_expire(repository, fleet.retention, (SHARD,))
    if (refusal := refusal_of(plan)) is not None:
        raise refusal
    (done,) = expire(repository, plan).shards
    return {"expired": len(done.expires), "taken_back": len(done.taken_back)}


def _prune(fleet: Fleet, pause_seconds: str) -> dict[str, Any]:
    """As the command does it, but for the time between a manifest and its packs, and how soon packs are
    reduced again.
    """
    from backup.prune import prepare_prune, prune  # noqa: PLC0415
    from restore.promised import plan_promised  # noqa: PLC0415

    repository, pause = _open(fleet), timedelta(seconds=float(pause_seconds))
    prepared = prepare_prune(
        repository,
        fleet.retention,
        (SHARD,),
        archived=(SHARD,),
        pause=pause,
        again=14 * pause,  # as seven days are, where the pause is half a day
        plan_points=plan_promised,
    )
    done = prune(repository, prepared)
    return {
        "backups": len(done.backups),
        "deleted": done.objects,
        "freed_bytes": done.freed_bytes,
        "binlog_files": done.binlog_files,
    }


def _target(to: str) -> RecoveryTarget:
    from fleet.gtid import GtidSet  # noqa: PLC0415
    from restore.point import RecoveryTarget  # noqa: PLC0415

    if to == "latest":
        return RecoveryTarget.latest()
    try:
        return RecoveryTarget.at_time(datetime.fromisoformat(to))
    except ValueError:
        return RecoveryTarget.exactly(GtidSet.parse(to))


def _open(fleet: Fleet) -> Repository:
    return Repository.open(open_store(fleet.repository), Keyring.from_config(fleet.keys))


def _with_receive(stages: Mapping[str, float], whole: float) -> dict[str, float]:
    """What no stage of the writer used is the receiving: sockets, TLS, framing, the spool."""
    return {"receive": max(0.0, whole - sum(stages.values())), **stages}


if __name__ == "__main__":
    main(*sys.argv[1:])
