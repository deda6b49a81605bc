"""InnoDB's clone descriptors: bytes to frozen dataclasses and back, big endian, strict.

Every descriptor starts with ``u32 version (100), u32 total length, u32 type``.
Source: storage/innobase/clone/clone0desc.cc of MySQL 8.0 to 9.7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from fleet.errors import ProtocolViolation

DESCRIPTOR_VERSION = 100
HEADER = struct.Struct(">III")

_LOCATOR = struct.Struct(">IIIQQIBB")
_TASK = struct.Struct(">IIIIII")
_STATE = struct.Struct(">IIIIIIIQQH")
_FILE = struct.Struct(">IIIIQQIIHIIIII")
_DATA = struct.Struct(">IIIIIIIIIQQ")

KEY_BYTES = 32
IV_BYTES = 32


class State(IntEnum):
    """States of the donor's snapshot, in their order."""

    NONE = 0
    INIT = 1
    FILE = 2
    PAGE = 3
    REDO = 4
    DONE = 5


class _Type(IntEnum):
    LOCATOR = 1
    TASK = 2
    STATE = 3
    FILE = 4
    DATA = 5


class FileFlag(IntFlag):
    """Attributes of a file, as the donor says them."""

    ZLIB = 1
    LZ4 = 2
    ENCRYPTED = 4
    RENAMED = 8
    DELETED = 16
    HAS_KEY = 32


_KNOWN_FILE_FLAGS = 63
_STATE_START = 1
_STATE_ACK = 2


@dataclass(frozen=True, slots=True)
class ChunksDone:
    """What the recipient has of the current stage, for COM_REINIT.

    ``unfinished``: (chunk, last block received). ``words``: bit ``(chunk - 1) & 31`` of word
    ``(chunk - 1) >> 5`` is set for every chunk that is complete or unfinished.
    """

    unfinished: tuple[tuple[int, int], ...]
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Locator:
    """Names one clone on its donor. ``chunks`` is there only when a clone is resumed."""

    clone_id: int
    snapshot_id: int
    clone_index: int
    state: State
    files_known: bool = False
    chunks: ChunksDone | None = None


@dataclass(frozen=True, slots=True)
class TaskMeta:
    """The donor's number for this connection, and where it stands."""

    task: int
    chunk: int
    block: int


@dataclass(frozen=True, slots=True)
class StateChange:
    """``start`` or end of ``state``; with ``ack`` set, a keep-alive (from the donor) or an ACK (to it).

    ``files`` counts pages in the page stage. ``estimate`` and ``estimate_on_disk`` are bytes.
    """

    state: State
    task: int
    chunks: int
    files: int
    estimate: int
    estimate_on_disk: int
    start: bool
    ack: bool


@dataclass(frozen=True, slots=True)
class FileMeta:
    """One file of the snapshot; sizes in bytes.

    ``name`` is as the donor wrote it and is not to be trusted; redo files have none.
    """

    state: State
    size: int
    allocated: int
    fsp_flags: int
    block_size: int
    flags: FileFlag
    space_id: int
    index: int
    first_chunk: int
    last_chunk: int
    name: bytes
    key: bytes | None = field(default=None, repr=False)
    iv: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class DataBlock:
    """What the next DATA message holds: ``length`` bytes of file ``file_index`` from ``offset`` on."""

    state: State
    task: int
    chunk: int
    block: int
    file_index: int
    length: int
    offset: int
    file_size: int


Descriptor = Locator | TaskMeta | StateChange | FileMeta | DataBlock


def decode_descriptor(data: bytes | memoryview) -> Descriptor:
    """The descriptor in ``data``, all of it; raises ProtocolViolation naming what is wrong."""
    view = memoryview(data)
    if len(view) < HEADER.size:
        raise ProtocolViolation(f"a descriptor is truncated: {len(view)} of at least {HEADER.size} bytes")
    version, length, kind = HEADER.unpack_from(view)
    if version != DESCRIPTOR_VERSION:
        raise ProtocolViolation(f"a descriptor of version {version}, not {DESCRIPTOR_VERSION}")
    if length != len(view):
        raise ProtocolViolation(f"a descriptor says {length} bytes and has {len(view)}")
    match kind:
        case _Type.DATA:
            return _decode_data(view)
        case _Type.FILE:
            return _decode_file(view)
        case _Type.STATE:
            return _decode_state(view)
        case _Type.TASK:
            return _decode_task(view)
        case _Type.LOCATOR:
            return _decode_locator(view)
        case _:
            raise ProtocolViolation(f"a descriptor of unknown type {kind}")


def decode_locator(data: bytes | memoryview) -> Locator:
    """A locator; unlike other descriptors it may be padded with zeros."""
    view = memoryview(data)
    if len(view) < HEADER.size:
        raise ProtocolViolation(f"a locator is truncated: {len(view)} of at least {HEADER.size} bytes")
    length = HEADER.unpack_from(view)[1]
    if any(view[length:]):
        raise ProtocolViolation(f"a locator of {length} bytes has more behind it")
    descriptor = decode_descriptor(view[:length])
    if not isinstance(descriptor, Locator):
        raise ProtocolViolation(f"a {type(descriptor).__name__} stands where a locator belongs")
    return descriptor


def _exactly(view: memoryview, layout: struct.Struct, what: str) -> tuple[int, ...]:
    if len(view) != layout.size:
        raise ProtocolViolation(f"a {what} has {layout.size} bytes, not {len(view)}")
    return layout.unpack(view)


def _state(number: int, what: str) -> State:
    try:
        return State(number)
    except ValueError:
        raise ProtocolViolation(f"a {what} names the unknown state {number}") from None


def _flag(number: int, what: str) -> bool:
    if number > 1:
        raise ProtocolViolation(f"{what} is {number}, neither 0 nor 1")
    return bool(number)


def _decode_locator(view: memoryview) -> Locator:
    what = "locator"
    if len(view) < _LOCATOR.size:
        raise ProtocolViolation(f"a {what} has at least {_LOCATOR.size} bytes, not {len(view)}")
    _, _, _, clone_id, snapshot_id, index, state, known = _LOCATOR.unpack_from(view)
    chunks = _decode_chunks(view[_LOCATOR.size :]) if len(view) > _LOCATOR.size else None
    files_known = _flag(known, "a locator's mark for known files")
    return Locator(clone_id, snapshot_id, index, _state(state, what), files_known, chunks)


def _decode_chunks(view: memoryview) -> ChunksDone:
    if len(view) % 4 or len(view) < 8:
        raise ProtocolViolation(f"a locator's chunk list is truncated: {len(view)} bytes")
    numbers = struct.unpack(f">{len(view) // 4}I", view)
    pairs_end = 1 + 2 * numbers[0]
    if pairs_end >= len(numbers) or pairs_end + 1 + numbers[pairs_end] != len(numbers):
        raise ProtocolViolation(f"the counts in a locator's chunk list disagree with its {len(view)} bytes")
    unfinished = tuple(zip(numbers[1:pairs_end:2], numbers[2:pairs_end:2], strict=True))
    return ChunksDone(unfinished, numbers[pairs_end + 1 :])


def _decode_task(view: memoryview) -> TaskMeta:
    return TaskMeta(*_exactly(view, _TASK, "task descriptor")[3:])


def _decode_state(view: memoryview) -> StateChange:
    what = "state descriptor"
    _, _, _, state, task, chunks, files, estimate, on_disk, flags = _exactly(view, _STATE, what)
    if flags & ~(_STATE_START | _STATE_ACK):
        raise ProtocolViolation(f"a {what} has the unknown flags {flags:#x}")
    start, ack = bool(flags & _STATE_START), bool(flags & _STATE_ACK)
    return StateChange(_state(state, what), task, chunks, files, estimate, on_disk, start, ack)


def _decode_file(view: memoryview) -> FileMeta:
    what = "file descriptor"
    if len(view) < _FILE.size:
        raise ProtocolViolation(f"a {what} has at least {_FILE.size} bytes, not {len(view)}")
    values = _FILE.unpack_from(view)
    state, size, allocated, fsp_flags, block_size, flags, space_id, index, first, last, name_length = values[
        3:
    ]
    if flags & ~_KNOWN_FILE_FLAGS:
        raise ProtocolViolation(f"a {what} has the unknown flags {flags:#x}")
    key_length = KEY_BYTES + IV_BYTES if flags & FileFlag.HAS_KEY else 0
    if len(view) != _FILE.size + name_length + key_length:
        raise ProtocolViolation(
            f"a {what} of {len(view)} bytes has a name of {name_length} and a key of {key_length} bytes"
        )
    name = bytes(view[_FILE.size : _FILE.size + name_length])
    if name_length and (name_length == 1 or name.find(b"\0") != name_length - 1):
        raise ProtocolViolation(f"the file name {name!r} is empty or does not end at its first NUL")
    secret = bytes(view[_FILE.size + name_length :])
    key, iv = (secret[:KEY_BYTES], secret[KEY_BYTES:]) if secret else (None, None)
    return FileMeta(
        state=_state(state, what),
        size=size,
        allocated=allocated,
        fsp_flags=fsp_flags,
        block_size=block_size,
        flags=FileFlag(flags),
        space_id=space_id,
        index=index,
        first_chunk=first,
        last_chunk=last,
        name=name[:-1],
        key=key,
        iv=iv,
    )


def _decode_data(view: memoryview) -> DataBlock:
    what = "data descriptor"
    values = _exactly(view, _DATA, what)
    return DataBlock(_state(values[3], what), *values[4:])


def encode_descriptor(descriptor: Descriptor) -> bytes:
    """The bytes of ``descriptor``; the inverse of ``decode_descriptor``."""
    match descriptor:
        case Locator():
            kind, body = _Type.LOCATOR, _encode_locator(descriptor)
        case TaskMeta(task, chunk, block):
            kind, body = _Type.TASK, struct.pack(">III", task, chunk, block)
        case StateChange():
            kind, body = _Type.STATE, _encode_state(descriptor)
        case FileMeta():
            kind, body = _Type.FILE, _encode_file(descriptor)
        case DataBlock(state, task, chunk, block, index, length, offset, file_size):
            kind = _Type.DATA
            body = struct.pack(">IIIIIIQQ", state, task, chunk, block, index, length, offset, file_size)
    return HEADER.pack(DESCRIPTOR_VERSION, HEADER.size + len(body), kind) + body


def _encode_locator(locator: Locator) -> bytes:
    ids = struct.pack(">QQI", locator.clone_id, locator.snapshot_id, locator.clone_index)
    body = ids + bytes((locator.state, locator.files_known))
    if locator.chunks is None:
        return body
    unfinished, words = locator.chunks.unfinished, locator.chunks.words
    numbers = [len(unfinished), *(number for pair in unfinished for number in pair), len(words), *words]
    return body + struct.pack(f">{len(numbers)}I", *numbers)


def _encode_state(change: StateChange) -> bytes:
    flags = (_STATE_START if change.start else 0) | (_STATE_ACK if change.ack else 0)
    counts = struct.pack(">IIII", change.state, change.task, change.chunks, change.files)
    return counts + struct.pack(">QQH", change.estimate, change.estimate_on_disk, flags)


def _encode_file(meta: FileMeta) -> bytes:
    name = meta.name + b"\0" if meta.name else b""
    sizes = struct.pack(">IQQII", meta.state, meta.size, meta.allocated, meta.fsp_flags, meta.block_size)
    numbers = (meta.flags, meta.space_id, meta.index, meta.first_chunk, meta.last_chunk, len(name))
    return sizes + struct.pack(">HIIIII", *numbers) + name + (meta.key or b"") + (meta.iv or b"")
