"""Sealed objects: a header with the wrapped data key, then frames (FORMAT.md, section 6). Pure: no store.

Repository, object name, kind, frame number and end are authenticated with every frame, so whatever is
moved, swapped, repeated, cut off or altered does not unseal, and the error names object and frame.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fleet.errors import FormatUnsupported, ObjectDamaged
from repository import layout

FORMAT_NUMBER = 1
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
WRAPPED_KEY_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES
HEADER_BYTES = 70
FRAME_OVERHEAD_BYTES = 4 + TAG_BYTES
MAX_PLAINTEXT_BYTES = 8 + 16 * 65_535 + 4 * 1024 * 1024
"""Codec head, the most extents, the largest block."""

MAGIC = b"BACKSTAY"
_HEAD = struct.Struct(">8sBB")
_LENGTH = struct.Struct(">I")
_NONCE = struct.Struct(">IQ")
_LAST = 0x8000_0000
_DAMAGE_HINT = "Run verify to see all that is damaged; restore an older backup, or this object from a copy."


class ObjectKind(IntEnum):
    """What a sealed object is."""

    PACK = 1
    INDEX_PART = 2
    MANIFEST = 3
    PROOF = 4
    SEGMENT = 5
    EPOCH = 6
    NOTE = 7
    LIFE = 8
    HOLD = 9
    MARK = 10
    REMAINDER = 11
    FINDING = 12
    OUTCOME = 13


class Identity(NamedTuple):
    """What a sealed object is bound to: it unseals under no other name, kind or repository."""

    repository_id: str
    name: str
    kind: ObjectKind


class FrameSpan(NamedTuple):
    """Where a frame stands in its object: from its u32 length on, that included. Bytes."""

    number: int
    offset: int
    length: int


class BackupKey:
    """The 32 bytes that wrap the data keys of one backup."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a backup key has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)

    def wrap(self, data_key: bytes, identity: Identity) -> bytes:
        """The 60 bytes that stand in the header of the object ``identity``."""
        return seal_small(self._cipher, data_key, _data_key_context(identity))

    def unwrap(self, wrapped: bytes | memoryview, identity: Identity) -> bytes:
        """The data key of the object ``identity``. Raises ``ObjectDamaged``."""
        data_key = unseal_small(self._cipher, wrapped, _data_key_context(identity))
        if data_key is None or len(data_key) != KEY_BYTES:
            raise damaged(identity.name, "its data key does not unwrap")
        return data_key

    def __repr__(self) -> str:
        return "BackupKey(...)"


class ObjectSealer:
    """Builds one sealed object in ``buffer``, which must have room for it: header, then frame after frame.

    Not thread-safe. The object is complete when a frame was appended with ``last``; ``view`` is it.
    """

    def __init__(self, identity: Identity, backup_key: BackupKey, buffer: bytearray) -> None:
        data_key = secrets.token_bytes(KEY_BYTES)
        self.wrapped_key = backup_key.wrap(data_key, identity)
        self.frames = 0
        self.size = HEADER_BYTES
        self._cipher = AESGCM(data_key)
        self._context = _FrameContext(identity)
        self._buffer = memoryview(buffer)
        self._buffer[:HEADER_BYTES] = _HEAD.pack(MAGIC, FORMAT_NUMBER, identity.kind) + self.wrapped_key
        self._complete = False

    def next_span(self, plaintext_bytes: int) -> FrameSpan:
        """Where the next frame will stand if it has so many bytes."""
        return FrameSpan(self.frames, self.size, plaintext_bytes + FRAME_OVERHEAD_BYTES)

    def append(self, plaintext: bytes | bytearray | memoryview, *, last: bool) -> None:
        """Seal one frame of at most ``MAX_PLAINTEXT_BYTES``; nothing can follow the last one."""
        if self._complete:
            raise ValueError("nothing can follow the last frame")
        length = len(plaintext) + TAG_BYTES
        start = self.size + _LENGTH.size
        _LENGTH.pack_into(self._buffer, self.size, length | (_LAST if last else 0))
        self._cipher.encrypt_into(
            _NONCE.pack(0, self.frames),
            plaintext,
            self._context.of(self.frames, last=last),
            self._buffer[start : start + length],
        )
        self.frames += 1
        self.size = start + length
        self._complete = last

    def view(self) -> memoryview:
        """The finished object; valid as long as nobody writes into the buffer."""
        if not self._complete:
            raise ValueError("the object has no last frame yet")
        return self._buffer[: self.size]


class FrameOpener:
    """Unseals frames of one object, in any order. Thread-safe, as it keeps no state."""

    def __init__(self, identity: Identity, data_key: bytes) -> None:
        self.name = identity.name
        self._cipher = AESGCM(data_key)
        self._context = _FrameContext(identity)

    def open(self, number: int, frame: memoryview, into: bytearray) -> tuple[memoryview, bool]:
        """The plaintext of frame ``number``, as a view of ``into``, and whether it is the last.

        ``frame`` starts with its u32 length. ``into`` must have room for the plaintext: at most
        ``MAX_PLAINTEXT_BYTES``. Raises ``ObjectDamaged``.
        """
        length, last = parse_length(self.name, number, frame)
        if len(frame) != _LENGTH.size + length:
            raise damaged(self.name, f"frame {number} has {length} bytes where {len(frame) - 4} should be")
        plaintext = memoryview(into)[: length - TAG_BYTES]
        try:
            self._cipher.decrypt_into(
                _NONCE.pack(0, number), frame[4:], self._context.of(number, last=last), plaintext
            )
        except InvalidTag:
            raise damaged(self.name, f"frame {number} does not unseal") from None
        return plaintext, last


def parse_length(name: str, number: int, frame: memoryview) -> tuple[int, bool]:
    """The length of what follows the u32, and whether this is the last frame. Raises ``ObjectDamaged``."""
    if len(frame) < _LENGTH.size:
        raise damaged(name, f"it ends where frame {number} should begin")
    (field,) = _LENGTH.unpack_from(frame)
    length = field & ~_LAST
    if not TAG_BYTES <= length <= MAX_PLAINTEXT_BYTES + TAG_BYTES:
        raise damaged(name, f"frame {number} claims to have {length} bytes")
    return length, bool(field & _LAST)


def parse_header(data: bytes | memoryview, identity: Identity) -> bytes:
    """The wrapped data key; all before it is checked. Raises ``ObjectDamaged``, ``FormatUnsupported``."""
    if len(data) < HEADER_BYTES:
        raise damaged(identity.name, f"it has {len(data)} bytes, and a header alone has {HEADER_BYTES}")
    magic, number, kind = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise damaged(identity.name, "it does not begin like an object of ours")
    if number != FORMAT_NUMBER:
        raise FormatUnsupported(
            f"{identity.name} has format {number}, and this version reads {FORMAT_NUMBER}",
            hint="Use a newer version of this tool; if there is none, the object is damaged.",
        )
    if kind != identity.kind:
        raise damaged(identity.name, f"its kind is {kind}, and should be {int(identity.kind)}")
    return bytes(data[_HEAD.size : HEADER_BYTES])


def seal_object(identity: Identity, backup_key: BackupKey, frames: Sequence[bytes | memoryview]) -> bytearray:
    """A whole object of at least one frame, in memory of its own."""
    total = HEADER_BYTES + sum(len(frame) + FRAME_OVERHEAD_BYTES for frame in frames)
    buffer = bytearray(total)
    sealer = ObjectSealer(identity, backup_key, buffer)
    for frame in frames:
        sealer.append(frame, last=sealer.frames == len(frames) - 1)
    sealer.view()
    return buffer


def unseal_object(
    identity: Identity, backup_key: BackupKey, data: bytes | memoryview
) -> Iterator[memoryview]:
    """The plaintexts of all frames; each is valid until the next is asked for.

    Only when the iterator ends was the whole object checked, its end included. Raises ``ObjectDamaged``.
    """
    opener = FrameOpener(identity, backup_key.unwrap(parse_header(data, identity), identity))
    into = bytearray(min(len(data), MAX_PLAINTEXT_BYTES))
    for span, last in walk_frames(identity.name, memoryview(data)):
        frame = memoryview(data)[span.offset : span.offset + span.length]
        plaintext, _ = opener.open(span.number, frame, into)
        yield plaintext
        if last:
            return


def walk_frames(name: str, data: memoryview) -> Iterator[tuple[FrameSpan, bool]]:
    """Where the frames of a whole object stand, and which is last. Raises ``ObjectDamaged``."""
    offset, number, last = HEADER_BYTES, 0, False
    while not last:
        length, last = parse_length(name, number, data[offset : offset + _LENGTH.size])
        span = FrameSpan(number, offset, _LENGTH.size + length)
        offset, number = offset + span.length, number + 1
        if offset > len(data):
            raise damaged(name, f"frame {span.number} ends at byte {offset}, and the object at {len(data)}")
        if last and offset < len(data):
            raise damaged(name, f"{len(data) - offset} bytes follow its last frame")
        yield span, last


def seal_small(cipher: AESGCM, secret: bytes, context: str) -> bytes:
    """``nonce | sealed`` under a random nonce: for keys and check values."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, secret, context.encode())


def unseal_small(cipher: AESGCM, sealed: bytes | memoryview, context: str) -> bytes | None:
    """What ``seal_small`` sealed, or None if key, bytes or context are not the same."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        return None
    try:
        return cipher.decrypt(bytes(sealed[:NONCE_BYTES]), sealed[NONCE_BYTES:], context.encode())
    except InvalidTag:
        return None


def damaged(name: str, fact: str) -> ObjectDamaged:
    """The error that says what is wrong with the object ``name``."""
    hint = _DAMAGE_HINT
    if name.startswith(layout.ARCHIVE):
        shard = name.removeprefix(layout.ARCHIVE).split("/")[0]
        hint = f"Run `backstay archive verify {shard}`: it names all that is damaged, and the way out."
    return ObjectDamaged(f"{name} is damaged: {fact}", hint=hint)


class _FrameContext:
    """The additional data of each frame of one object."""

    def __init__(self, identity: Identity) -> None:
        self._start = (
            f"backstay/{FORMAT_NUMBER}/frame/{identity.repository_id}/{identity.name}/{int(identity.kind)}/"
        )

    def of(self, number: int, *, last: bool) -> bytes:
        return f"{self._start}{number}/{int(last)}".encode()


def _data_key_context(identity: Identity) -> str:
    return f"backstay/{FORMAT_NUMBER}/data-key/{identity.repository_id}/{identity.name}"
