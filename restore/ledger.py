"""Which packs are in place for good: data is synced first, and the journal told afterwards, in batches."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from restore.files import TargetFiles
from restore.journal import Journal, PackDone

BATCH_BYTES = 256 << 20


class Ledger:
    """Gathers finished packs. Thread-safe.

    A sync waits for the disk, so it is done once for ``batch_bytes`` of data, by the thread that filled the
    batch, while the others fetch on. What a kill can cost is one batch.
    """

    def __init__(self, journal: Journal, files: TargetFiles, *, batch_bytes: int = BATCH_BYTES) -> None:
        self._journal = journal
        self._files = files
        self._batch_bytes = batch_bytes
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._packs: list[PackDone] = []
        self._touched: set[int] = set()
        self._bytes = 0

    def finished(self, pack: PackDone, touched: Iterable[int], written_bytes: int) -> None:
        """The data of a pack was written, into the files ``touched``."""
        with self._lock:
            self._packs.append(pack)
            self._touched.update(touched)
            self._bytes += written_bytes
            is_full = self._bytes >= self._batch_bytes
        if is_full and self._flushing.acquire(blocking=False):
            try:
                self._flush()
            finally:
                self._flushing.release()

    def flush(self) -> None:
        """Sync and journal what is finished; when it returns, so is what another thread was at."""
        with self._flushing:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            packs, touched = self._packs, self._touched
            self._packs, self._touched, self._bytes = [], set(), 0
        if packs:
            self._files.sync(touched)
            self._journal.done(packs)
