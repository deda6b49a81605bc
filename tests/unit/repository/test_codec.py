from __future__ import annotations

import os
import struct
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fleet.blocks import Extent, Stage
from fleet.errors import ObjectDamaged
from repository.codec import (
    JSON_FRAME_BYTES,
    MAX_BLOCK_BYTES,
    FrameDecoder,
    FrameEncoder,
    encode_document,
)

ENCODER = FrameEncoder(1)
DECODER = FrameDecoder()


def encoded(stage: Stage | None, extents: list[Extent], data: bytes) -> memoryview:
    into = memoryview(bytearray(8 + 16 * len(extents) + len(data)))
    return into[: ENCODER.encode(stage, extents, data, into)]


def decode(plaintext: bytes | memoryview):
    return DECODER.decode(memoryview(plaintext), "data/x", 7)


blocks = st.lists(
    st.binary(min_size=1, max_size=200) | st.integers(1, 5000).map(bytes), min_size=1, max_size=8
)


@given(blocks, st.sampled_from(Stage), st.integers(0, 2**32 - 1), st.integers(0, 2**63))
def test_a_block_comes_back(pieces: list[bytes], stage: Stage, file: int, offset: int) -> None:
    extents = [Extent(file, offset + at, len(piece)) for at, piece in enumerate(pieces)]
    content = decode(encoded(stage, extents, b"".join(pieces)))
    assert content.stage is stage
    assert content.extents == tuple(extents)
    assert bytes(content.data) == b"".join(pieces)


def test_a_payload_stays_raw_when_compressing_makes_it_no_smaller() -> None:
    noise = os.urandom(5000)
    raw = encoded(Stage.FILE, [Extent(1, 0, 5000)], noise)
    assert raw[0] == 0
    assert len(raw) == 8 + 16 + 5000
    assert bytes(raw[24:]) == noise
    packed = encoded(Stage.FILE, [Extent(1, 0, 5000)], bytes(5000))
    assert packed[0] == 1
    assert len(packed) < 100


def test_a_plaintext_has_the_layout_of_the_format() -> None:
    plaintext = encoded(Stage.PAGE, [Extent(3, 2**40, 4), Extent(9, 8, 996)], b"a" * 1000)
    assert struct.unpack(">BBHI", plaintext[:8]) == (1, 3, 2, 1000)
    assert struct.unpack(">IQIIQI", plaintext[8:40]) == (3, 2**40, 4, 9, 8, 996)
    assert zstandard.frame_content_size(plaintext[40:]) == 1000


@pytest.mark.parametrize(
    ("extents", "size"),
    [
        ([Extent(0, 0, 9)], 10),
        ([Extent(0, 0, 5), Extent(0, 0, 6)], 10),
        ([Extent(0, 0, 0)], MAX_BLOCK_BYTES + 1),
    ],
)
def test_a_block_that_the_format_cannot_hold_is_a_bug(extents: list[Extent], size: int) -> None:
    with pytest.raises(ValueError, match="block"):
        encoded(Stage.FILE, extents, bytes(size))


def test_more_extents_than_the_format_holds_are_a_bug() -> None:
    with pytest.raises(ValueError, match="65536 extents"):
        encoded(Stage.PAGE, [Extent(0, 0, 1)] * 65_536, bytes(65_536))


HEAD = struct.Struct(">BBHI")


@pytest.mark.parametrize(
    ("plaintext", "fact"),
    [
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
        (HEAD.pack(9, 0, 0, 0), "unknown codec 9"),
        (HEAD.pack(0, 1, 0, 0), "unknown stage 1"),
        (HEAD.pack(0, 5, 0, 0), "unknown stage 5"),
        (HEAD.pack(0, 2, 2, 0) + bytes(31), "2 extents do not fit"),
        (HEAD.pack(0, 2, 1, 3) + struct.pack(">IQI", 0, 0, 2) + b"abc", "do not add up to 3"),
        (HEAD.pack(0, 0, 0, 4) + b"abc", "3 bytes of data instead of 4"),
        (HEAD.pack(0, 0, 0, MAX_BLOCK_BYTES + 1), f"a block of {MAX_BLOCK_BYTES + 1}"),
        (HEAD.pack(1, 0, 0, 4) + b"abc", "frame 7"),
        (HEAD.pack(1, 0, 0, 4) + zstandard.compress(b"abc"), "zstd frame is not one of 4 bytes"),
        (HEAD.pack(1, 0, 0, 3) + zstandard.compress(b"abc")[:-1], "frame 7"),
        (HEAD.pack(1, 0, 0, 3) + zstandard.compress(b"abc") + b"x", "frame 7"),
    ],
)
def test_a_malformed_plaintext_is_refused_and_named(plaintext: bytes, fact: str) -> None:
    with pytest.raises(ObjectDamaged, match=r"data/x is damaged: frame 7 is sealed, but malformed") as caught:
        decode(plaintext)
    assert fact in caught.value.message


@given(st.binary(max_size=100))
def test_no_plaintext_makes_the_decoder_fail_in_another_way(plaintext: bytes) -> None:
    with suppress(ObjectDamaged):
        decode(plaintext)


@pytest.mark.parametrize("size", [0, 1, JSON_FRAME_BYTES, 3 * JSON_FRAME_BYTES + 5])
def test_a_document_is_cut_into_frames_and_joined(size: int) -> None:
    text = (b"0123456789" * (size // 10 + 1))[:size]
    frames = encode_document(text, 1)
    assert len(frames) == max(1, -(-size // JSON_FRAME_BYTES))
    contents = [decode(frame) for frame in frames]
    assert b"".join(bytes(content.data) for content in contents) == text
    assert all(content.stage is None and content.extents == () for content in contents)
