"""What was received and is not in the store yet: on disk, sealed, in order; a little of it in memory too.

Everything goes through the spool: so a store that is gone for an hour costs disk and nothing else, a killed
archiver finds again what it had received, though the source may have died with it, and "durable" in mode
``local-sync`` is one ``fdatasync``. One thread appends, one cuts and confirms.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from backup.archive.spool_file import Batch, KeyOf, SpoolFile
from fleet.clock import Clock
from fleet.errors import ArchiverReplaced, DiskFull, mapped
from fleet.file_lock import lock_soon
from repository.archive.segment import Closed
from repository.layout import BinlogFile

FILE_BYTES = 16 * 1024 * 1024
"""A spool file that has grown to this takes no more; it is deleted once all in it is stored."""

MEMORY_BYTES = 32 * 1024 * 1024
"""So much of what waits is kept in memory too; the rest is read again from the disk."""

_SUFFIX = ".spool"


class Cut(NamedTuple):
    """Events to be stored as one segment: ``data`` is ``[start, start + len(data))`` of the binlog file.

    ``mark`` counts the bytes that the spool had taken when it took the last of these.
    """

    file: BinlogFile
    start: int
    data: bytes
    closed: Closed | None
    mark: int
    sources: tuple[SpoolFile, ...]

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    def joined(self, following: Cut) -> Cut:
        """Both as one; ``following`` begins where this one ends."""
        return following._replace(
            start=self.start, data=self.data + following.data, sources=self.sources + following.sources
        )

    def from_position(self, position: int) -> Cut:
        """The part from ``position`` of the binlog file on, an event boundary."""
        return (
            self
            if position == self.start
            else self._replace(start=position, data=self.data[position - self.start :])
        )


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    source: SpoolFile
    data: bytes | None
    mark: int
    since: float


class Tail(NamedTuple):
    """Up to where the spool has taken the source's events; ``closed`` if the file ends there."""

    file: BinlogFile
    end: int
    closed: Closed | None


class Spool:
    """The spool of one shard in ``directory``, which it locks: one archiver of a shard on a machine.

    ``max_bytes``: the most that may wait. ``scope``: repository id and shard, which the files are bound to.
    Raises ``ArchiverReplaced`` when another process has it, ``DiskFull`` when it cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int,
        key_of: KeyOf,
        scope: str,
        clock: Clock,
        file_bytes: int = FILE_BYTES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._file_bytes = file_bytes
        self._most_memory_bytes = memory_bytes
        self._key_of = key_of
        self._scope = scope
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._memory_bytes = 0
        self._unconfirmed_bytes = 0
        self._mark = 0
        self._changes = 0
        self._current: SpoolFile | None = None
        self._unsynced: list[SpoolFile] = []
        self._number = 0
        self._known: set[Path] = set()
        self.tail: Tail | None = None
        self._locked = _lock_directory(directory, clock)

    def recover(self) -> int:
        """Take up what an earlier run left, before anything is appended; how many bytes of events that is.

        Raises ``ObjectDamaged``, and what asking for a key raises: then ask again, it goes on where it was.
        """
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            if path in self._known:
                continue
            self._number = max(self._number, int(path.stem))
            found = SpoolFile.open(path, self._key_of, self._scope)
            if found is None:
                path.unlink()
                continue
            for batch in found.batches():
                self._enqueue(found, batch, None)
            if not found.waiting:
                found.remove()
            self._known.add(path)
        return self._mark

    def has_room(self, count: int) -> bool:
        """Would so many bytes be within the bound? The first always are, however many."""
        with self._lock:
            return not self._unconfirmed_bytes or self._unconfirmed_bytes + count <= self._max_bytes

    @property
    def changes(self) -> int:
        """Grows with everything that is appended or confirmed, and with each ``wake``."""
        with self._lock:
            return self._changes

    def wait_for_change(self, since: int, timeout_seconds: float) -> None:
        """Until ``changes`` is no longer ``since``, as read before looking; at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != since, timeout_seconds)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self._changed:
            self._tell_change()

    def append(
        self, file: BinlogFile, start: int, data: bytes | bytearray | memoryview, closed: Closed | None
    ) -> int:
        """Take whole events; the mark behind them. They survive the death of this process from now on.

        Raises ``DiskFull``; nothing was taken then.
        """
        current = self._file_for(file)
        batch = current.append(start, data, closed)
        self._enqueue(current, batch, data)
        return self._mark

    def sync(self) -> None:
        """What was appended survives the loss of power when this returns. Raises ``DiskFull``."""
        with self._lock:
            files, self._unsynced = self._unsynced, []
            current = self._current
        for file in files:
            if file is not current:
                self._sync_one(file)
        if current is not None:
            if current in files:
                _sync_directory(self._directory)
            current.sync()

    def due_in(self, *, seconds: float, size_bytes: int) -> float | None:
        """In how many seconds a segment should be cut; None: nothing waits."""
        with self._lock:
            if not self._waiting:
                return None
            first = self._waiting[0]
            is_whole = self._queued_bytes >= size_bytes or self._waiting[-1].source.file != first.source.file
            if is_whole or self._waiting[-1].batch.closed:
                return 0.0
            return max(0.0, first.since + seconds - self._clock.monotonic())

    def cut(self, size_bytes: int) -> Cut | None:
        """Take the oldest events of one file, about ``size_bytes`` of them; None: nothing waits.

        They wait on until they are confirmed. Raises ``ObjectDamaged`` if the disk lost them.
        """
        with self._lock:
            taken = self._take(size_bytes)
        if not taken:
            return None
        parts = [one.data if one.data is not None else one.source.read(one.batch) for one in taken]
        first, last = taken[0], taken[-1]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        sources = tuple(one.source for one in taken)
        return Cut(first.source.file, first.batch.start, data, last.batch.closed, last.mark, sources)

    def confirm(self, cut: Cut) -> None:
        """Those events are in the store: their room is given back."""
        with self._changed:
            self._unconfirmed_bytes -= len(cut.data)
            for source in cut.sources:
                source.waiting -= 1
                if not source.waiting and source is not self._current:
                    source.remove()
            self._tell_change()

    @property
    def mark(self) -> int:
        """How many bytes of events were taken so far."""
        with self._lock:
            return self._mark

    @property
    def waiting_bytes(self) -> int:
        """Bytes of events that are not confirmed."""
        with self._lock:
            return self._unconfirmed_bytes

    def close(self) -> None:
        """Let go of the directory; what is not confirmed stays in it for the next run."""
        with self._lock:
            if self._current is not None and not self._current.waiting:
                self._current.remove()
            self._current = None
        with suppress(OSError):
            os.close(self._locked)

    def _tell_change(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def _take(self, size_bytes: int) -> list[_Waiting]:
        taken: list[_Waiting] = []
        length = 0
        while self._waiting and length < size_bytes:
            one = self._waiting[0]
            if taken and (one.source.file != taken[0].source.file or one.batch.start != taken[-1].batch.end):
                break
            taken.append(self._waiting.popleft())
            size = one.batch.end - one.batch.start
            length += size
            self._queued_bytes -= size
            self._memory_bytes -= len(one.data) if one.data is not None else 0
            if one.batch.closed:
                break
        return taken

    def _enqueue(self, source: SpoolFile, batch: Batch, data: bytes | bytearray | memoryview | None) -> None:
        size = batch.end - batch.start
        with self._changed:
            keep = data is not None and self._memory_bytes + size <= self._most_memory_bytes
            self._mark += size
            self._queued_bytes += size
            self._unconfirmed_bytes += size
            self._memory_bytes += size if keep else 0
            source.waiting += 1
            kept = bytes(data) if keep and data is not None else None
            self._waiting.append(_Waiting(batch, source, kept, self._mark, self._clock.monotonic()))
            self.tail = Tail(source.file, batch.end, batch.closed)
            self._tell_change()

    def _file_for(self, file: BinlogFile) -> SpoolFile:
        current = self._current
        if current is not None and current.file == file and current.size < self._file_bytes:
            return current
        self._number += 1
        path = self._directory / f"{self._number:010d}{_SUFFIX}"
        made = SpoolFile.create(path, file, self._key_of(file.epoch), self._scope)
        with self._lock:
            self._current = made
            self._unsynced.append(made)
            if current is not None and not current.waiting:
                current.remove()
        return made

    def _sync_one(self, file: SpoolFile) -> None:
        """A file that takes no more; the store may have confirmed it, and it is gone then."""
        with suppress(DiskFull):
            file.sync()


def _lock_directory(directory: Path, clock: Clock) -> int:
    with mapped({OSError: DiskFull}, f"cannot use the spool directory {directory}"):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        is_ours = lock_soon(descriptor, clock)
    if not is_ours:
        os.close(descriptor)
        raise ArchiverReplaced(
            f"another archiver on this machine uses the spool {directory}",
            hint="One process archives a shard; stop the other one first.",
        )
    return descriptor


def _sync_directory(directory: Path) -> None:
    with mapped({OSError: DiskFull}, f"cannot write {directory} to disk"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
