from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ProtocolViolation
from wire.packet import LARGEST_PAYLOAD, Reader, ServerError, counted, frame, parse_answer, payload_length


@given(st.binary(min_size=1, max_size=300), st.integers(0, 255))
def test_a_frame_says_the_length_of_its_payload(payload: bytes, sequence: int) -> None:
    framed = frame(payload, sequence)
    assert payload_length(framed[:4]) == len(payload)
    assert framed[3] == sequence
    assert framed[4:] == payload


def test_a_payload_that_needs_two_packets_is_refused_both_ways() -> None:
    with pytest.raises(ProtocolViolation, match="does not fit"):
        frame(b"\0" * (LARGEST_PAYLOAD + 1))
    with pytest.raises(ProtocolViolation, match="16 MiB or more"):
        payload_length(b"\xff\xff\xff\0")


def test_an_empty_packet_and_a_short_header_are_refused() -> None:
    with pytest.raises(ProtocolViolation, match="without payload"):
        payload_length(b"\0\0\0\x01")
    with pytest.raises(ProtocolViolation, match="4 bytes, not 3"):
        payload_length(b"\1\0\0")


@given(st.binary(max_size=40))
def test_counted_bytes_are_read_back(data: bytes) -> None:
    reader = Reader(counted(data), "it", "little")
    assert reader.counted() == data
    reader.end()


@given(st.binary(max_size=40), st.integers(1, 44))
def test_every_truncation_of_counted_bytes_is_named(data: bytes, cut: int) -> None:
    whole = counted(data)
    reader = Reader(whole[: max(0, len(whole) - cut)], "the text", "little")
    with pytest.raises(ProtocolViolation, match="the text is truncated"):
        reader.counted()


def test_bytes_that_are_left_over_are_named() -> None:
    reader = Reader(b"abc", "the text", "little")
    reader.take(1)
    with pytest.raises(ProtocolViolation, match="the text has 2 bytes too many"):
        reader.end()


def test_an_answer_is_ok_or_an_error() -> None:
    assert parse_answer(b"\0\0\0\2\0\0\0") is None
    assert parse_answer(b"\xff\xcb\x04#42000no privilege") == ServerError(1227, "42000", "no privilege")
    assert parse_answer(b"\xff\x15\x04text alone") == ServerError(1045, "HY000", "text alone")


@pytest.mark.parametrize("payload", [b"", b"\xfe", b"\xff\1", b"\xff\1\0#420"])
def test_an_answer_that_is_neither_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_answer(payload)
