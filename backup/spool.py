"""What stands between the donor's socket and a store that may be slow.

The donor must never wait for us: a reader that does not read can freeze other clients of the server.
So a block goes into memory while there is room, then, sealed, into a spool file on this host, and only
when both are full does ``put`` wait. The clone client watches for that, lets go of the donor, and
comes back when ``has_room`` says so.

The spool file is unlinked as soon as it is open: whatever kills us, nothing stays behind. What lies
in it is sealed with a key that never leaves this process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from backup.segments import Place, SealedSegments
from fleet.blocks import Block, Extent, Stage
from fleet.errors import DiskFull
from fleet.finding import Finding, Level
from fleet.policy import BackupConfig

PATIENCE_SECONDS = 0.25
"""How long a reader may wait for memory before the disk is used: far below the bound on a stall."""


@dataclass(frozen=True, slots=True)
class _Spilled:
    """A block that lies in a sealed file."""

    place: Place
    stage: Stage
    extents: tuple[Extent, ...]


class Spool:
    """A queue of blocks with a bound on memory and a bound on disk; made for several threads at both ends.

    ``put`` waits a moment for memory, and longer only when both bounds are reached; ``take`` gives blocks in
    no promised order and ``None`` at the end. After ``fail`` both raise the error that was given.
    """

    def __init__(
        self,
        directory: Path,
        *,
        memory_bytes: int,
        disk_bytes: int,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._patience_seconds = patience_seconds
        self._segments = SealedSegments(directory, disk_bytes)
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._drained = threading.Condition(self._lock)
        self._blocks: deque[Block | _Spilled] = deque()
        self._in_memory = 0
        self._closed = False
        self._error: BaseException | None = None
        self._is_behind = False
        self.spilled_bytes = 0

    @property
    def highest_on_disk(self) -> int:
        """The most bytes that ever lay in sealed files."""
        return self._segments.highest_on_disk

    def put(self, block: Block) -> None:
        """Take over ``block``. Raises the error of a consumer that failed."""
        while True:
            with self._lock:
                self._raise_failure()
                if self._room_in_memory(len(block.data)):
                    self._in_memory += len(block.data)
                    self._blocks.append(block)
                    self._filled.notify()
                    return
                if not self._is_behind:
                    self._is_behind = not self._memory_frees_up(len(block.data))
                    continue
                place = self._segments.reserve(len(block.data))
                if place is None:
                    # The bound keeps a lost wake-up from becoming a hang.
                    self._drained.wait(timeout=0.5)
                    continue
            if self._spill(block, place):
                return

    def take(self) -> Block | None:
        """The next block, or ``None`` once ``close`` was called and all are taken."""
        with self._lock:
            while not self._blocks and not self._closed and self._error is None:
                self._filled.wait(timeout=0.5)
            self._raise_failure()
            if not self._blocks:
                return None
            entry = self._blocks.popleft()
            if isinstance(entry, Block):
                self._in_memory -= len(entry.data)
                if self._in_memory * 2 <= self._memory_bytes:
                    self._is_behind = False
                self._drained.notify_all()
                return entry
        return self._unspill(entry)

    def has_room(self) -> bool:
        """True when at least half of the memory, and of the disk, is free again."""
        with self._lock:
            self._raise_failure()
            return self._in_memory * 2 <= self._memory_bytes and self._segments.has_room()

    @property
    def error(self) -> BaseException | None:
        """What the spool was failed with."""
        return self._error

    def close(self) -> None:
        """No more blocks will come."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()

    def fail(self, error: BaseException) -> None:
        """Wake everybody up with ``error``; the first one given wins."""
        with self._lock:
            self._error = self._error or error
            self._filled.notify_all()
            self._drained.notify_all()

    def discard(self) -> None:
        """Give back every block and every spool file."""
        with self._lock:
            waiting, self._blocks = self._blocks, deque()
        for entry in waiting:
            if isinstance(entry, Block):
                entry.release()
        self._segments.discard()

    def _room_in_memory(self, length: int) -> bool:
        return not self._in_memory or self._in_memory + length <= self._memory_bytes

    def _memory_frees_up(self, length: int) -> bool:
        """Wait a moment for room in memory. The lock is held, and given up while waiting.

        Lanes that are only a little slower than the donor make room every few milliseconds; sealing all that
        they lag behind, writing it and reading it again would take from them what they lack.
        """
        return self._drained.wait_for(
            lambda: self._error is not None or self._room_in_memory(length), timeout=self._patience_seconds
        )

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error

    def _spill(self, block: Block, place: Place) -> bool:
        """Write ``block`` to its place; False when the disk turns out to be full."""
        is_written = self._segments.write(place, block.data)
        with self._lock:
            if not is_written:
                self._drained.notify_all()
                return False
            self.spilled_bytes += place.length
            self._blocks.append(_Spilled(place, block.stage, block.extents))
            self._filled.notify()
        block.release()
        return True

    def _unspill(self, spilled: _Spilled) -> Block:
        data = self._segments.read(spilled.place)
        with self._lock:
            self._drained.notify_all()
        return Block(spilled.stage, spilled.extents, data, _nothing)


def _nothing() -> None:
    """A block read from disk has no buffer to give back."""


def spool_directory(configured: Path | None) -> Path:
    """The directory for spool files; raises ``DiskFull`` when it does not exist or cannot be written to."""
    directory = configured or Path(tempfile.gettempdir())
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        raise DiskFull(
            f"the spool directory {directory} does not exist or cannot be written to",
            hint="Create it, or name another one in backup.spool_directory.",
        )
    return directory


def check_spool(policy: BackupConfig) -> Finding:
    """Is there a place for the spool, and room for as much as the config allows it?"""
    subject = "spool"
    try:
        directory = spool_directory(policy.spool_directory)
    except DiskFull as error:
        return Finding(Level.FAIL, subject, error.message, error.hint)
    free = shutil.disk_usage(directory).free
    fact = f"{directory}, {free / 1e9:.1f} GB free"
    if free < policy.spool_max_bytes:
        return Finding(
            Level.WARN,
            subject,
            f"{fact}, less than the {policy.spool_max_bytes / 1e9:.1f} GB of backup.spool_max_bytes",
            "With a slow store the spool fills the disk first; the backup then pauses, and goes on.",
        )
    return Finding(Level.OK, subject, fact)
