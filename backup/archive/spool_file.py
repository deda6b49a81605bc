"""One file of the archiver's spool: sealed frames, one behind the other, that survive the archiver's death.

::

    0   8  magic "BSTSPOOL"      8  4  epoch (big endian)
    12 60  data key, wrapped by the epoch's archive key, bound to repository, shard and the file's name
    72  .. frames: u32 length | AES-256-GCM under the data key, nonce = u32 0 | u64 frame number

Frame 0 holds JSON: whose binlog file it is. Every other one: ``u64 position, u8 flags`` and event bytes; a
batch of events that is longer than a frame goes into several, all but the last with the flag ``CONTINUED``.
A frame that a crash cut off, and a batch without its last frame, are as if they had never been written.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fleet.errors import DiskFull, ObjectDamaged, mapped
from repository.archive.segment import Closed
from repository.layout import BinlogFile
from repository.seal import KEY_BYTES, WRAPPED_KEY_BYTES, BackupKey, Identity, ObjectKind

KeyOf: TypeAlias = Callable[[int], BackupKey]
"""The archive key of an epoch."""

FRAME_BYTES = 1024 * 1024
_MAGIC = b"BSTSPOOL"
_HEAD = struct.Struct(f">8sI{WRAPPED_KEY_BYTES}s")
_LENGTH = struct.Struct(">I")
_NONCE = struct.Struct(">IQ")
_PREFIX = struct.Struct(">QB")
_CONTINUED = 1
_CLOSED: dict[Closed | None, int] = {None: 0, "rotate": 2, "stop": 4, "torn": 6}
_CLOSED_OF: dict[int, Closed | None] = {code: closed for closed, code in _CLOSED.items()}


class Batch(NamedTuple):
    """Where a batch of whole events lies: ``[start, end)`` of the binlog file, ``at`` in the spool file.

    ``frame``: the number of its first frame.
    """

    start: int
    end: int
    closed: Closed | None
    at: int
    frame: int


class SpoolFile:
    """An open spool file. One thread appends; others may read at the same time."""

    def __init__(self, path: Path, descriptor: int, file: BinlogFile, cipher: AESGCM, context: str) -> None:
        self.path = path
        self.file = file
        self.size = 0
        self.waiting = 0
        """Batches that are not confirmed yet; kept by the spool."""
        self._descriptor = descriptor
        self._cipher = cipher
        self._context = context
        self._frames = 0

    @classmethod
    def create(cls, path: Path, file: BinlogFile, key: BackupKey, scope: str) -> SpoolFile:
        """A new file. ``scope``: repository id and shard. Raises ``DiskFull``."""
        data_key = secrets.token_bytes(KEY_BYTES)
        identity = _identity(scope, path)
        head = _HEAD.pack(_MAGIC, file.epoch, key.wrap(data_key, identity))
        with mapped({OSError: DiskFull}, f"cannot create {path}"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        made = cls(path, descriptor, file, AESGCM(data_key), identity.name)
        try:
            made._write(head)
            made._write(made._sealed(json.dumps(file._asdict()).encode(), 0))
        except DiskFull:
            made.remove()
            raise
        made._frames = 1
        return made

    @classmethod
    def open(cls, path: Path, key_of: KeyOf, scope: str) -> SpoolFile | None:
        """A file of an earlier run, its batches not read yet; None if it died before it held anything.

        Raises ``DiskFull`` if it cannot be read, ``ObjectDamaged`` if it belongs to another shard or
        repository.
        """
        with mapped({OSError: DiskFull}, f"cannot open {path}"):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        opened: SpoolFile | None = None
        try:
            head = os.pread(descriptor, _HEAD.size, 0)
            # After a loss of power a file may have its length, and nothing in it.
            if len(head) == _HEAD.size and any(head):
                opened = cls._of_head(path, descriptor, head, key_of, scope)
        finally:
            if opened is None:
                os.close(descriptor)
        return opened

    @classmethod
    def _of_head(
        cls, path: Path, descriptor: int, head: bytes, key_of: KeyOf, scope: str
    ) -> SpoolFile | None:
        magic, epoch, wrapped = _HEAD.unpack(head)
        if magic != _MAGIC:
            raise ObjectDamaged(f"{path} is no spool file", hint="Move it away.")
        identity = _identity(scope, path)
        cipher = AESGCM(key_of(epoch).unwrap(wrapped, identity))
        opened = cls(path, descriptor, BinlogFile(epoch, "", "", 0), cipher, identity.name)
        found = opened._frame(_HEAD.size, 0)
        if found is None:
            return None
        opened.file = BinlogFile(**json.loads(found[0]))
        opened.size, opened._frames = found[1], 1
        return opened

    def append(self, start: int, data: bytes | bytearray | memoryview, closed: Closed | None) -> Batch:
        """Write one batch of whole events; it is with the kernel when this returns. Raises ``DiskFull``."""
        view = memoryview(data)
        batch = Batch(start, start + len(view), closed, self.size, self._frames)
        frames = bytearray()
        number = self._frames
        for at in range(0, len(view), FRAME_BYTES):
            more = _CONTINUED if at + FRAME_BYTES < len(view) else 0
            prefix = _PREFIX.pack(start + at, _CLOSED[closed] | more)
            frames += self._sealed(b"".join((prefix, view[at : at + FRAME_BYTES])), number)
            number += 1
        self._write(frames)
        self._frames = number
        return batch

    def read(self, batch: Batch) -> bytes:
        """The events of a batch. Raises ``ObjectDamaged``."""
        parts: list[bytes] = []
        at, number = batch.at, batch.frame
        while True:
            plaintext, at = self._frame(at, number) or (None, at)
            if plaintext is None:
                raise ObjectDamaged(f"{self.path}: the events from {batch.start} on are no longer there")
            parts.append(plaintext[_PREFIX.size :])
            if not plaintext[_PREFIX.size - 1] & _CONTINUED:
                return b"".join(parts)
            number += 1

    def sync(self) -> None:
        """What was appended survives a loss of power when this returns. Raises ``DiskFull``."""
        with mapped({OSError: DiskFull}, f"cannot write {self.path} to disk"):
            os.fdatasync(self._descriptor)

    def remove(self) -> None:
        """Close and delete it."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)

    def batches(self) -> Iterator[Batch]:
        """Every batch that was written whole, in order; appending goes on behind the last of them."""
        at, number = self.size, self._frames
        started: Batch | None = None
        while (found := self._frame(at, number)) is not None:
            plaintext, behind = found
            position, flags = _PREFIX.unpack_from(plaintext)
            started = started or Batch(position, position, _CLOSED_OF[flags & ~_CONTINUED], at, number)
            at, number = behind, number + 1
            if not flags & _CONTINUED:
                self.size, self._frames = at, number
                yield started._replace(end=position + len(plaintext) - _PREFIX.size)
                started = None

    def _frame(self, at: int, number: int) -> tuple[bytes, int] | None:
        """The plaintext of the frame at ``at``, and where it ends; None where there is none, or a torn."""
        head = os.pread(self._descriptor, _LENGTH.size, at)
        if len(head) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > FRAME_BYTES + 64:
            return None
        sealed = os.pread(self._descriptor, length, at + _LENGTH.size)
        try:
            plaintext = self._cipher.decrypt(_NONCE.pack(0, number), sealed, self._context.encode())
        except InvalidTag:
            return None
        return plaintext, at + _LENGTH.size + length

    def _sealed(self, plaintext: bytes, number: int) -> bytes:
        sealed = self._cipher.encrypt(_NONCE.pack(0, number), plaintext, self._context.encode())
        return _LENGTH.pack(len(sealed)) + sealed

    def _write(self, data: bytes | bytearray) -> None:
        with mapped({OSError: DiskFull}, f"cannot write to {self.path}", hint="Give the spool more room."):
            view = memoryview(data)
            while view:
                try:
                    written = os.pwrite(self._descriptor, view, self.size + len(data) - len(view))
                except OSError:
                    # What is there of it by half would stand in the way of the next one.
                    os.ftruncate(self._descriptor, self.size)
                    raise
                view = view[written:]
        self.size += len(data)


def _identity(scope: str, path: Path) -> Identity:
    return Identity(scope, f"spool/{path.name}", ObjectKind.SEGMENT)
