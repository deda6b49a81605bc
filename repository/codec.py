"""The plaintext of a frame: head, extents, and a payload compressed where that pays (FORMAT.md, section 6).

Pure: no keys, no store. Encoders and decoders hold zstd contexts, so each belongs to one thread at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import zstandard

from fleet.blocks import Extent, Stage
from repository.seal import damaged

MAX_BLOCK_BYTES = 4 * 1024 * 1024
MAX_EXTENTS = 65_535
JSON_FRAME_BYTES = 1024 * 1024
"""JSON documents are cut into frames of this size before compression."""

_RAW, _ZSTD = 0, 1
_HEAD = struct.Struct(">BBHI")
_EXTENT_BYTES = 16
_STAGES: dict[int, Stage | None] = {0: None, 2: Stage.FILE, 3: Stage.PAGE, 4: Stage.REDO}


class Content(NamedTuple):
    """What a frame holds. ``stage`` is None outside of packs.

    ``data`` may lie in the plaintext that was decoded: it is valid as long as that is.
    """

    stage: Stage | None
    extents: tuple[Extent, ...]
    data: memoryview


class FrameEncoder:
    """Compresses blocks with zstd at ``level``. Belongs to one thread at a time."""

    def __init__(self, level: int) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level, write_content_size=True)

    def encode(
        self, stage: Stage | None, extents: Sequence[Extent], data: bytes | memoryview, into: memoryview
    ) -> int:
        """Write the plaintext into ``into`` and return its length: at most 8 + 16 an extent + the data.

        Raises ``ValueError`` if ``extents`` and ``data`` disagree or are beyond the limits of the format.
        """
        _check_block(extents, data)
        start = _HEAD.size + _EXTENT_BYTES * len(extents)
        payload: bytes | memoryview = self._zstd.compress(data)
        codec = _ZSTD
        if len(payload) >= len(data):
            payload, codec = data, _RAW
        _HEAD.pack_into(into, 0, codec, stage or 0, len(extents), len(data))
        _extents_struct(len(extents)).pack_into(into, _HEAD.size, *chain.from_iterable(extents))
        end = start + len(payload)
        into[start:end] = payload
        return end


class FrameDecoder:
    """Takes plaintexts apart and decompresses them. Belongs to one thread at a time."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def decode(self, plaintext: memoryview, name: str, number: int) -> Content:
        """The content of frame ``number`` of the object ``name``. Raises ``ObjectDamaged``, naming both."""
        try:
            return self._decode(plaintext)
        except (_MalformedError, zstandard.ZstdError) as error:
            raise damaged(name, f"frame {number} is sealed, but malformed: {error}") from error

    def _decode(self, plaintext: memoryview) -> Content:
        if len(plaintext) < _HEAD.size:
            raise _MalformedError(f"it has {len(plaintext)} bytes")
        codec, stage, count, length = _HEAD.unpack_from(plaintext)
        start = _HEAD.size + _EXTENT_BYTES * count
        if len(plaintext) < start:
            raise _MalformedError(f"{count} extents do not fit into {len(plaintext)} bytes")
        if stage not in _STAGES:
            raise _MalformedError(f"unknown stage {stage}")
        if length > MAX_BLOCK_BYTES:
            raise _MalformedError(f"a block of {length} bytes")
        extents = tuple(map(Extent._make, struct.iter_unpack(">IQI", plaintext[_HEAD.size : start])))
        if count and sum(extent.length for extent in extents) != length:
            raise _MalformedError(f"its extents do not add up to {length} bytes")
        return Content(_STAGES[stage], extents, self._expand(codec, plaintext[start:], length))

    def _expand(self, codec: int, payload: memoryview, length: int) -> memoryview:
        if codec == _ZSTD:
            if zstandard.frame_content_size(payload) != length:
                raise _MalformedError(f"its zstd frame is not one of {length} bytes")
            payload = memoryview(self._zstd.decompress(payload, allow_extra_data=False))
        elif codec != _RAW:
            raise _MalformedError(f"unknown codec {codec}")
        if len(payload) != length:
            raise _MalformedError(f"{len(payload)} bytes of data instead of {length}")
        return payload


def encode_document(data: bytes, level: int) -> list[memoryview]:
    """The plaintexts of an object that holds one JSON document: manifest or proof."""
    encoder = FrameEncoder(level)
    pieces = [data[at : at + JSON_FRAME_BYTES] for at in range(0, len(data), JSON_FRAME_BYTES)] or [b""]
    return [encode_alone(encoder, piece) for piece in pieces]


def encode_alone(encoder: FrameEncoder, data: bytes | memoryview) -> memoryview:
    """The plaintext of a frame outside of packs, in memory of its own."""
    into = memoryview(bytearray(_HEAD.size + len(data)))
    return into[: encoder.encode(None, (), data, into)]


class _MalformedError(Exception):
    """A plaintext that no writer wrote."""


@lru_cache(maxsize=1024)
def _extents_struct(count: int) -> struct.Struct:
    return struct.Struct(">" + "IQI" * count)


def _check_block(extents: Sequence[Extent], data: bytes | memoryview) -> None:
    if len(data) > MAX_BLOCK_BYTES or len(extents) > MAX_EXTENTS:
        raise ValueError(
            f"a block of {len(data)} bytes in {len(extents)} extents is beyond the format's limits"
        )
    if extents and sum(extent.length for extent in extents) != len(data):
        raise ValueError(f"the extents do not add up to the {len(data)} bytes of the block")
