"""The archiver of a fleet: one story for each shard, all in one process, until somebody stops it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from backup.archive.again import Persistence
from backup.archive.news import News, Tell, tell_nobody
from backup.archive.report import ArchiverOutcome, ShardOutcome
from backup.archive.shard import GRACE_SECONDS, ShardArchiver
from fleet.clock import Clock
from fleet.errors import ToolError
from fleet.model import Fleet, Shard
from fleet.state_place import archive_spool
from repository.repository import Repository

TURN_SECONDS = 1.0

Outcome = TypeVar("Outcome")


def run_archiver(
    fleet: Fleet,
    shard_names: Sequence[str],
    repository: Repository,
    *,
    clock: Clock,
    cancelled: threading.Event,
    progress: Tell = tell_nobody,
    grace_seconds: float = GRACE_SECONDS,
    keep_trying: bool = False,
) -> ArchiverOutcome:
    """Archive the named shards, or all, until ``cancelled`` is set; then store what waits, and end.

    A shard that fails for good is told and does not stop the others. When all have ended and one failed, its
    error is raised: ``ArchiverReplaced`` (exit code 42) when another archiver took over, ``SpoolFull``,
    ``ServerRefused``, ``KeyUnusable``, ``StoreDenied``... ``progress`` is told by several threads.
    With ``keep_trying`` a shard that failed is begun again after a pause, as long as another one is at work.
    At the end what waits has ``grace_seconds`` to be stored; the rest stays in the spool for the next run.
    """
    shards = [fleet.shard(name) for name in shard_names] or list(fleet.shards)
    repository.check_may("write")
    repository.keys.require_opener("the archiver")
    composing = threading.Lock()

    def archive(shard: Shard) -> ShardOutcome:
        directory = spool_directory(fleet, repository.repository_id, shard.name)
        try:
            archiver = ShardArchiver(
                fleet,
                shard,
                repository,
                directory,
                clock=clock,
                cancelled=cancelled,
                tell=progress,
                composing=composing,
                grace_seconds=grace_seconds,
            )
        except ToolError as error:
            progress(News(shard.name, "failed", error.message, clock.now()))
            return ShardOutcome(shard.name, 0, 0, 0, 0, error)
        return archiver.run()

    persistence = Persistence(len(shards), clock=clock, cancelled=cancelled, tell=progress)

    def persist(shard: Shard) -> ShardOutcome:
        return persistence.archive(lambda: archive(shard)) if keep_trying else archive(shard)

    with ThreadPoolExecutor(len(shards), thread_name_prefix="archive") as pool:
        outcomes = results([pool.submit(persist, shard) for shard in shards])
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        raise failures[0]
    return ArchiverOutcome(outcomes)


def results(futures: Sequence[Future[Outcome]]) -> tuple[Outcome, ...]:
    """What they return, in order. For the main thread, which has to hear signals meanwhile.

    It turns now and then: a signal that comes in the very moment before a wait begins is noted, but wakes
    nobody.
    """
    while wait(futures, timeout=TURN_SECONDS).not_done:
        pass
    return tuple(future.result() for future in futures)


def spool_directory(fleet: Fleet, repository_id: str, shard: str) -> Path:
    """Where this machine spools the shard: below ``archive.spool_directory``, or in the user's state."""
    return archive_spool(fleet) / f"{repository_id[:16]}-{shard}"
