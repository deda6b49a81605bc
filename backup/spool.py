"""What stands between the donor's socket and a store that may be slow.

The donor must never wait for us: a reader that does not read can freeze other clients of the server.
So a block goes into memory while there is room, then, sealed, into a spool file on this host, and only
when both are full does ``put`` wait. The clone client watches for that, lets go of the donor, and
comes back when ``has_room`` says so.

The spool file is unlinked as soon as it is open: whatever kills us, nothing stays behind. What lies
in it is sealed with a key that never leaves this process.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fleet.blocks import Block, Extent, Stage
from fleet.errors import DiskFull, mapped
from fleet.finding import Finding, Level
from fleet.policy import BackupConfig

SEGMENT_BYTES = 256 * 1024 * 1024
"""A spool file grows to about this size; its room is given back when all of it was read."""

PATIENCE_SECONDS = 0.25
"""How long a reader may wait for memory before the disk is used: far below the bound on a stall."""

_TAG_BYTES = 16


@dataclass(slots=True)
class _Spilled:
    """A block that lies in a spool file: ``length`` plain bytes, sealed, at ``position``."""

    segment: _Segment
    number: int
    position: int
    length: int
    stage: Stage
    extents: tuple[Extent, ...]


class _Segment:
    """One spool file. Its descriptor is the only name it has."""

    def __init__(self, directory: Path) -> None:
        with mapped({OSError: DiskFull}, f"cannot open a spool file in {directory}"):
            self.descriptor, name = tempfile.mkstemp(prefix=".backstay-spool-", dir=directory)
        Path(name).unlink()
        self.written = 0
        self.waiting = 0

    def close(self) -> None:
        os.close(self.descriptor)


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
        self._directory = directory
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._patience_seconds = patience_seconds
        self._key = AESGCM(AESGCM.generate_key(256))
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._drained = threading.Condition(self._lock)
        self._blocks: deque[Block | _Spilled] = deque()
        self._in_memory = 0
        self._on_disk = 0
        self._sealed_blocks = 0
        self._segment: _Segment | None = None
        self._open_segments: set[_Segment] = set()
        self._closed = False
        self._error: BaseException | None = None
        self._disk_is_full = False
        self._is_behind = False
        self.spilled_bytes = 0
        self.highest_on_disk = 0

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
                place = self._reserve(len(block.data))
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
            return self._in_memory * 2 <= self._memory_bytes and self._on_disk * 2 <= self._disk_bytes

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
            segments, self._open_segments, self._segment = self._open_segments, set(), None
        for entry in waiting:
            if isinstance(entry, Block):
                entry.release()
        for segment in segments:
            segment.close()

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

    def _reserve(self, length: int) -> _Spilled | None:
        """A place on disk for ``length`` bytes, or ``None`` when there is none. The lock is held."""
        sealed_length = length + _TAG_BYTES
        if self._disk_is_full or self._on_disk + sealed_length > self._disk_bytes:
            return None
        if self._segment is None or self._segment.written + sealed_length > SEGMENT_BYTES:
            finished = self._segment
            self._segment = _Segment(self._directory)
            self._open_segments.add(self._segment)
            if finished is not None:
                self._close_if_read(finished)
        place = _Spilled(self._segment, self._sealed_blocks, self._segment.written, length, Stage.FILE, ())
        self._sealed_blocks += 1
        self._segment.written += sealed_length
        self._segment.waiting += 1
        self._on_disk += sealed_length
        self.highest_on_disk = max(self.highest_on_disk, self._on_disk)
        return place

    def _spill(self, block: Block, place: _Spilled) -> bool:
        """Write ``block`` to its place; False when the disk turns out to be full."""
        sealed = self._key.encrypt(_nonce(place.number), block.data, None)
        try:
            _write_all(place.segment.descriptor, sealed, place.position)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFull(f"cannot write to the spool in {self._directory}: {error.strerror}") from error
            # A full disk is a smaller bound, not the end: what is spooled drains, and then there is room.
            with self._lock:
                self._disk_is_full = True
                self._give_back(place)
            return False
        place.stage, place.extents = block.stage, block.extents
        with self._lock:
            self.spilled_bytes += place.length
            self._blocks.append(place)
            self._filled.notify()
        block.release()
        return True

    def _unspill(self, place: _Spilled) -> Block:
        with mapped({OSError: DiskFull}, f"cannot read the spool in {self._directory}"):
            sealed = os.pread(place.segment.descriptor, place.length + _TAG_BYTES, place.position)
        data = self._key.decrypt(_nonce(place.number), sealed, None)
        with self._lock:
            self._disk_is_full = False
            self._give_back(place)
        return Block(place.stage, place.extents, memoryview(data), _nothing)

    def _give_back(self, place: _Spilled) -> None:
        """The lock is held."""
        self._on_disk -= place.length + _TAG_BYTES
        place.segment.waiting -= 1
        self._close_if_read(place.segment)
        self._drained.notify_all()

    def _close_if_read(self, segment: _Segment) -> None:
        if segment.waiting or segment not in self._open_segments:
            return
        if segment is self._segment:
            self._segment = None
        self._open_segments.discard(segment)
        segment.close()


def _nothing() -> None:
    """A block read from disk has no buffer to give back."""


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _write_all(descriptor: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


class SpoolingSink:
    """The clone client's sink: blocks go to the spool, and each stage's end is told to ``on_stage_end``."""

    def __init__(
        self,
        spool: Spool,
        *,
        on_stage_start: Callable[[Stage, int], None],
        on_stage_end: Callable[[Stage], None],
        on_bytes: Callable[[int], None],
    ) -> None:
        self._spool = spool
        self._on_stage_start = on_stage_start
        self._on_stage_end = on_stage_end
        self._on_bytes = on_bytes

    def put(self, block: Block, stream: int) -> None:  # noqa: ARG002 (streams need no order here)
        self._on_bytes(len(block.data))
        self._spool.put(block)

    def has_room(self) -> bool:
        return self._spool.has_room()

    def before_ack(self, stage: Stage) -> None:
        self._on_stage_end(stage)

    def stage_started(self, stage: Stage, estimate_bytes: int) -> None:
        self._on_stage_start(stage, estimate_bytes)


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
