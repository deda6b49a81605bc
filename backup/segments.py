"""Sealed files on this host for data that waits: unlinked as soon as they are open, bounded, never readable.

Whatever kills us, nothing stays behind. What lies in them is sealed with a key that never leaves this
process.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fleet.errors import DiskFull, mapped

SEGMENT_BYTES = 256 * 1024 * 1024
"""A file grows to about this size; its room is given back when all of it was read."""

_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where ``length`` plain bytes lie, or will lie, sealed."""

    segment: _Segment
    number: int
    position: int
    length: int


class _Segment:
    """One file. Its descriptor is the only name it has."""

    def __init__(self, directory: Path) -> None:
        with mapped({OSError: DiskFull}, f"cannot open a spool file in {directory}"):
            self.descriptor, name = tempfile.mkstemp(prefix=".backstay-spool-", dir=directory)
        Path(name).unlink()
        self.written = 0
        self.waiting = 0

    def close(self) -> None:
        os.close(self.descriptor)


class SealedSegments:
    """Room for ``disk_bytes`` in files in ``directory``; made for several threads.

    ``reserve`` a place, ``write`` it, ``read`` it once.
    """

    def __init__(self, directory: Path, disk_bytes: int) -> None:
        self._directory = directory
        self._disk_bytes = disk_bytes
        self._key = AESGCM(AESGCM.generate_key(256))
        self._lock = threading.Lock()
        self._on_disk = 0
        self._places = 0
        self._segment: _Segment | None = None
        self._open_segments: set[_Segment] = set()
        self._disk_is_full = False
        self.highest_on_disk = 0

    def has_room(self) -> bool:
        """True when at least half of the bound is free."""
        with self._lock:
            return self._on_disk * 2 <= self._disk_bytes

    def reserve(self, length: int) -> Place | None:
        """A place for ``length`` bytes, or ``None`` when there is none now."""
        sealed_length = length + _TAG_BYTES
        with self._lock:
            if self._disk_is_full or self._on_disk + sealed_length > self._disk_bytes:
                return None
            if self._segment is None or self._segment.written + sealed_length > SEGMENT_BYTES:
                finished = self._segment
                self._segment = _Segment(self._directory)
                self._open_segments.add(self._segment)
                if finished is not None:
                    self._close_if_read(finished)
            place = Place(self._segment, self._places, self._segment.written, length)
            self._places += 1
            self._segment.written += sealed_length
            self._segment.waiting += 1
            self._on_disk += sealed_length
            self.highest_on_disk = max(self.highest_on_disk, self._on_disk)
            return place

    def write(self, place: Place, data: memoryview) -> bool:
        """Seal ``data`` into its place; False when the disk turns out to be full: the place is gone then.

        Raises ``DiskFull`` for what is worse than a full disk.
        """
        sealed = self._key.encrypt(_nonce(place.number), data, None)
        try:
            _write_all(place.segment.descriptor, sealed, place.position)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFull(f"cannot write to the spool in {self._directory}: {error.strerror}") from error
            # A full disk is a smaller bound, not the end: what lies there drains, and then there is room.
            with self._lock:
                self._disk_is_full = True
                self._give_back(place)
            return False
        return True

    def read(self, place: Place) -> memoryview:
        """The bytes at ``place``, whose room is free again."""
        with mapped({OSError: DiskFull}, f"cannot read the spool in {self._directory}"):
            sealed = os.pread(place.segment.descriptor, place.length + _TAG_BYTES, place.position)
        data = self._key.decrypt(_nonce(place.number), sealed, None)
        with self._lock:
            self._disk_is_full = False
            self._give_back(place)
        return memoryview(data)

    def discard(self) -> None:
        """Give back every file; what waits in them is lost."""
        with self._lock:
            segments, self._open_segments, self._segment = self._open_segments, set(), None
        for segment in segments:
            segment.close()

    def _give_back(self, place: Place) -> None:
        """The lock is held."""
        self._on_disk -= place.length + _TAG_BYTES
        place.segment.waiting -= 1
        self._close_if_read(place.segment)

    def _close_if_read(self, segment: _Segment) -> None:
        if segment.waiting or segment not in self._open_segments:
            return
        if segment is self._segment:
            self._segment = None
        self._open_segments.discard(segment)
        segment.close()


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _write_all(descriptor: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written
