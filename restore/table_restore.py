"""Single tables of a shard at a point: fetched alone, in a private server of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleet.clock import Clock
from fleet.model import Fleet
from fleet.progress import Progress
from fleet.table_name import TableName
from repository.catalog import LATEST
from repository.manifest import ProofCheck
from repository.repository import Repository
from restore.mysqld import PrivateServer
from restore.point import RecoveryTarget
from restore.replay import ReplayState


@dataclass(frozen=True)
class BroughtTables:
    """A running private server (read-only, on its socket alone) whose usable tables are ``tables``, as they
    were at the point. ``gtid_executed``: the point. ``stopped_before`` is the first transaction beyond it,
    None at the end of the archive. Bytes and seconds tell what it took.
    """

    server: PrivateServer
    tables: tuple[TableName, ...]
    label: str
    asked: str
    reached_at: datetime | None
    stopped_before: str | None
    gtid_executed: str
    checks: tuple[ProofCheck, ...]


@contextmanager
def bring_tables(
    fleet: Fleet,
    shard: str,
    tables: Sequence[TableName],
    target: RecoveryTarget,
    directory: Path,
    *,
    repository: Repository,
    label: str = LATEST,
    clock: Clock | None = None,
    progress: Progress | None = None,
    on_replay: Callable[[ReplayState], None] | None = None,
    cancelled: threading.Event | None = None,
) -> Generator[BroughtTables]:
    """Bring ``tables`` of ``shard`` to ``target`` in the new directory ``directory``, prove them, and give
    the server that runs on them. At the end of the block it is killed unless it was stopped or left.
    """
    raise NotImplementedError
    yield
