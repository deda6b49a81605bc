"""What is still needed of a pack whose backup has expired (FORMAT.md, section 16). Pure: no store.

A pack's frames are remembered by their numbers and by the places of the bytes in them, so whoever refers to
the pack reads on without knowing that it is gone.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from fleet.blocks import Extent, Stage
from repository.codec import FrameEncoder, encode_alone
from repository.manifest import parse_document
from repository.seal import (
    FRAME_OVERHEAD_BYTES,
    HEADER_BYTES,
    MAX_PLAINTEXT_BYTES,
    BackupKey,
    FrameSpan,
    Identity,
    ObjectSealer,
    damaged,
)

RECORD_BYTES = 36
BLOCK_BYTES = 1024 * 1024
"""Bytes of a data frame, before they are compressed."""

_RECORD = struct.Struct(">9I")
_RECORDS_PER_FRAME = 29_127
_MOST_EXTENTS = 4096


class Moved(NamedTuple):
    """Bytes of a frame of the pack, and where they are now. All in bytes, but for the frames' numbers.

    ``payload``: what that frame's data had; ``new_offset`` counts from the first data frame on.
    """

    frame: int
    payload: int
    skip: int
    length: int
    new_frame: int
    new_offset: int
    new_length: int
    new_skip: int


class Piece(NamedTuple):
    """Bytes of a frame that go on: they stood at ``skip`` of its data, which had ``payload`` bytes in all."""

    frame: int
    payload: int
    stage: Stage
    skip: int
    extent: Extent
    data: memoryview


class Head(BaseModel):
    """Frame 0 of a remainder."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(description="1.")
    pack: int = Field(ge=0, description="Number of the pack.")
    size: int = Field(ge=0, description="Size of the pack in bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the pack, in hex.")
    table_frames: int = Field(ge=0, description="Frames of records.")
    table_bytes: int = Field(ge=0, description="Their bytes in the object.")
    records: int = Field(ge=0, description="How many records there are.")
    data_frames: int = Field(ge=0, description="Frames of data, behind those of records.")


@dataclass(frozen=True)
class Remainder:
    """A remainder without its data. ``data_offset``: where its first data frame stands, in bytes."""

    name: str
    head: Head
    wrapped_key: bytes
    data_offset: int
    frames: Mapping[int, Sequence[Moved]]

    @property
    def held_bytes(self) -> int:
        """Bytes of files that it holds, before compression."""
        return sum(each.length for moved in self.frames.values() for each in moved)

    def span(self, moved: Moved) -> FrameSpan:
        """Where the frame stands in the object that holds these bytes now."""
        return FrameSpan(moved.new_frame, self.data_offset + moved.new_offset, moved.new_length)


@dataclass
class RemainderBuilder:
    """Gathers the bytes that go on, frame by frame in the order of the pack, and builds the object.

    Memory: the object, as large as what is left of a pack.
    """

    level: int
    _blocks: list[tuple[memoryview, int]] = field(default_factory=list[tuple[memoryview, int]])
    _moved: list[Moved] = field(default_factory=list[Moved])
    _waiting: list[Piece] = field(default_factory=list[Piece])
    _waiting_bytes: int = 0
    _size: int = 0

    def __post_init__(self) -> None:
        self._encoder = FrameEncoder(self.level)

    def add(self, piece: Piece) -> None:
        """Take in bytes; they are copied. Frames in their order, and within a frame by ``skip``."""
        last = self._waiting[-1] if self._waiting else None
        if last is not None and (
            self._waiting_bytes + len(piece.data) > BLOCK_BYTES
            or last.stage is not piece.stage
            or len(self._waiting) >= _MOST_EXTENTS
        ):
            self._flush()
        self._waiting.append(piece._replace(data=memoryview(bytes(piece.data))))
        self._waiting_bytes += len(piece.data)

    def build(
        self, identity: Identity, backup_key: BackupKey, *, pack: int, size: int, sha256: str
    ) -> bytearray:
        """The sealed object."""
        self._flush()
        # The table comes before the data, and says which numbers the data frames have behind it.
        tables = -(-len(self._moved) // _RECORDS_PER_FRAME)
        rows = bytearray()
        for moved in self._moved:
            rows += _RECORD.pack(*moved[:4], moved.new_frame + 1 + tables, *moved[5:], 0)
        step = _RECORDS_PER_FRAME * RECORD_BYTES
        table = [encode_alone(self._encoder, bytes(rows[at : at + step])) for at in range(0, len(rows), step)]
        head = Head(
            format=1,
            pack=pack,
            size=size,
            sha256=sha256,
            table_frames=len(table),
            table_bytes=sum(len(frame) + FRAME_OVERHEAD_BYTES for frame in table),
            records=len(self._moved),
            data_frames=len(self._blocks),
        )
        front = [encode_alone(self._encoder, head.model_dump_json().encode()), *table]
        frames = [*front, *(block for block, _ in self._blocks)]
        buffer = bytearray(HEADER_BYTES + sum(len(frame) + FRAME_OVERHEAD_BYTES for frame in frames))
        sealer = ObjectSealer(identity, backup_key, buffer)
        for number, frame in enumerate(frames, start=1):
            sealer.append(frame, last=number == len(frames))
        sealer.view()
        return buffer

    def _flush(self) -> None:
        if not self._waiting:
            return
        data = b"".join(piece.data for piece in self._waiting)
        extents = [piece.extent for piece in self._waiting]
        into = memoryview(bytearray(min(MAX_PLAINTEXT_BYTES, 64 + 16 * len(extents) + len(data))))
        length = self._encoder.encode(self._waiting[0].stage, extents, data, into)
        stored = length + FRAME_OVERHEAD_BYTES
        skip = 0
        for piece in self._waiting:
            place = (len(self._blocks), self._size, stored, skip)
            self._moved.append(Moved(piece.frame, piece.payload, piece.skip, len(piece.data), *place))
            skip += len(piece.data)
        self._blocks.append((into[:length], stored))
        self._size += stored
        self._waiting, self._waiting_bytes = [], 0


def parse_head(name: str, text: bytes) -> Head:
    """Frame 0. Raises ``ObjectDamaged``, ``FormatUnsupported``."""
    return parse_document(Head, name, text)


def parse_table(name: str, head: Head, rows: bytes) -> dict[int, list[Moved]]:
    """The records by frame of the pack. Raises ``ObjectDamaged``."""
    if len(rows) != head.records * RECORD_BYTES:
        raise damaged(name, f"its table has {len(rows)} bytes for {head.records} records")
    moved = [Moved(*row[:8]) for row in _RECORD.iter_unpack(rows)]
    end = (-1, 0)
    for each in moved:
        if (each.frame, each.skip) < end or each.skip + each.length > each.payload:
            raise damaged(name, f"its records of frame {each.frame} overlap, or go beyond the frame")
        end = (each.frame, each.skip + each.length)
    return {frame: list(group) for frame, group in groupby(moved, key=attrgetter("frame"))}


class Held:
    """The runs of a frame's data that a remainder holds; ``skips``: where its pieces begin, in order."""

    def __init__(self, moved: Sequence[Moved]) -> None:
        self.skips = tuple(each.skip for each in moved)
        self._starts: list[int] = []
        self._ends: list[int] = []
        for each in moved:
            if self._ends and self._ends[-1] == each.skip:
                self._ends[-1] += each.length
            else:
                self._starts.append(each.skip)
                self._ends.append(each.skip + each.length)

    def holds(self, skip: int, length: int) -> bool:
        """Are all these bytes there?"""
        at = bisect_right(self._starts, skip) - 1
        return at >= 0 and self._ends[at] >= skip + length
