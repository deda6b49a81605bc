"""The flow ``backup``: one backup of one shard."""

from __future__ import annotations

import threading
from typing import Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.tasks import Task, exponential_backoff

from backup.full import take_full_backup
from backup.incremental import take_incremental_backup
from backup.result import BackupResult
from fleet import figures
from fleet.clock import SystemClock
from fleet.config import load
from fleet.errors import ToolError, TurnTaken
from fleet.model import Fleet
from fleet.progress import Progress
from fleet.schedule import Kind
from flows.lateness import not_wanted_because
from flows.opening import open_repository, shards_at_work
from flows.recorded import Done, recorded, wanted_at
from flows.running import carry_out
from flows.telling import Teller, show_table
from repository import layout

FIRST_PAUSE_SECONDS = 60
RETRIES = 2


def is_worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether what failed may pass by itself. Somebody else's turn does not: the backup is being taken."""
    error: object = state.data
    return isinstance(error, ToolError) and error.retryable and not isinstance(error, TurnTaken)


def _run_name() -> str:
    """``full-s1``, in every list of runs."""
    parameters = cast(dict[str, str], flow_run.get_parameters())
    return f"{parameters['kind']}-{parameters['shard']}"


@flow(name="backup", flow_run_name=_run_name, retries=0, persist_result=False)
def backup(shard: str, kind: Kind = "full") -> State[None]:
    """Take a backup of the shard, unless it comes late and is no longer wanted."""

    def work(fleet: Fleet) -> Done:
        if why := _not_wanted_because(fleet, shard, kind):
            return Done(f"not taken: {why}", skipped=True)
        clock = SystemClock()
        try:
            result = copy(shard, kind, clock.monotonic() + fleet.scheduler.backup_timeout_hours * 3600)
        except TurnTaken as error:
            # Only another backup of this shard covers this one; places that were full in vain do not.
            if shard not in shards_at_work(open_repository(fleet)):
                raise
            return Done(f"not taken: {error.message}", skipped=True)
        show_table(f"backup-{shard}", _facts(result))
        return Done(_in_one_line(result), label=result.label)

    return recorded(kind, shard, work)


@task(
    name="copy",
    task_run_name="copy-{shard}",
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(FIRST_PAUSE_SECONDS),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def copy(shard: str, kind: Kind, until: float) -> BackupResult:
    """Copy the shard. ``until``: when it is cancelled, however often it was tried; by the monotonic clock."""
    clock = SystemClock()
    fleet = load()
    repository = open_repository(fleet)

    def story(progress: Progress, cancelled: threading.Event) -> BackupResult:
        take = take_full_backup if kind == "full" else take_incremental_backup
        return take(fleet, shard, repository=repository, progress=progress, cancelled=cancelled)

    left = max(0.0, until - clock.monotonic())
    return carry_out(story, clock, tell=Teller(f"{kind}-{shard}", clock), limit_seconds=left)


def _not_wanted_because(fleet: Fleet, shard: str, kind: Kind) -> str | None:
    store = open_repository(fleet).store
    labels = [found.key.rpartition("/")[2] for found in store.list(layout.manifests(shard))]
    return not_wanted_because(
        fleet, fleet.shard(shard), kind, wanted_at(), now=SystemClock().now(), labels=labels
    )


def _in_one_line(result: BackupResult) -> str:
    stored, seconds = figures.size(result.stored_bytes), figures.duration(result.seconds)
    told = f"{result.label}: {stored} stored of {figures.size(result.files_bytes)}, in {seconds}"
    why = result.became_full_because
    return f"{told}; became a full because {why}" if why and result.kind == "full" else told


def _facts(result: BackupResult) -> list[tuple[str, str]]:
    return [
        ("Backup", f"{result.shard}/{result.label}"),
        ("Donor", f"{result.donor} ({result.reason})"),
        ("Data", f"{figures.size(result.files_bytes)} in {result.files:,} files"),
        ("Received", figures.size(result.received_bytes)),
        ("Stored", figures.size(result.stored_bytes)),
        ("Time", figures.duration(result.seconds)),
        ("Base", result.base or result.built_on or ""),
        ("Full because", result.became_full_because or ""),
        ("Interrupted by", "; ".join(result.interruptions)),
        ("Damaged pages at the donor", f"{len(result.damaged_pages):,}" if result.damaged_pages else ""),
    ]
