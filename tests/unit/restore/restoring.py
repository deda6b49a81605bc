"""Carrying out made-up restores, with a store that may fail and somebody who watches."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from fleet.clock import SystemClock
from fleet.errors import StoreUnreachable
from repository.catalog import Catalog
from repository.chain import Chain, read_chain
from repository.manifest import Manifest
from repository.reader import BackupReader
from repository.repository import Repository
from restore.datadir import open_journal
from restore.fetch import FetchResult, fetch
from restore.journal import JOURNAL_NAME
from restore.plan import RestorePlan, plan_restore
from restore.target import look_at
from tests.unit.restore.made_backups import PAGE, directory_content


class Watcher:
    """Counts what it is told, and can stop the restore."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self._lock = threading.Lock()

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        self.total = total_bytes

    def advance(self, count_bytes: int) -> None:
        with self._lock:
            self.done += count_bytes

    def note(self, text: str) -> None:
        pass


class FailingReads:
    """A store that works for so many reads and is gone afterwards."""

    def __init__(self, store: Any, reads: int) -> None:
        self._store = store
        self._left = reads
        self._lock = threading.Lock()
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str) -> bytes:
        self._count()
        return self._store.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self._count()
        return self._store.get_range(key, offset, length)

    def _count(self) -> None:
        with self._lock:
            self.reads += 1
            if self.reads > self._left:
                raise StoreUnreachable("the store is gone")


def plan(backup: Manifest | Chain, target: Path, *, delta: bool = False) -> RestorePlan:
    """A manifest is one of a full."""
    chain = Chain((backup,)) if isinstance(backup, Manifest) else backup
    return plan_restore(chain, look_at(target), None, delta=delta)


def carry_out(
    repository: Repository,
    manifest: Manifest,
    target: Path,
    *,
    delta: bool = False,
    reads: int | None = None,
    batch_bytes: int = 4 * PAGE,
    threads: int = 3,
    watcher: Watcher | None = None,
) -> FetchResult:
    planned = plan(read_chain(Catalog(repository), manifest), target, delta=delta)
    source = repository
    if reads is not None:
        store: Any = FailingReads(repository.store, reads)
        source = Repository(store, repository.description, repository.keys)
    journal = open_journal(planned)
    try:
        return fetch(
            planned,
            BackupReader(source, manifest),
            journal,
            threads=threads,
            progress=watcher or Watcher(),
            clock=SystemClock(),
            batch_bytes=batch_bytes,
        )
    finally:
        journal.close()


def content(target: Path) -> dict[str, bytes]:
    found = directory_content(target)
    found.pop(JOURNAL_NAME, None)
    return found
