from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ProtocolViolation
from wire.clone import messages
from wire.clone.descriptors import (
    ChunksDone,
    DataBlock,
    Descriptor,
    FileFlag,
    FileMeta,
    Locator,
    State,
    StateChange,
    TaskMeta,
    decode_descriptor,
    decode_locator,
    encode_descriptor,
)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
states = st.sampled_from(State)
text = st.text(st.characters(codec="utf-8"), max_size=20)

chunks = st.builds(
    ChunksDone,
    unfinished=st.lists(st.tuples(u32, u32), max_size=4).map(tuple),
    words=st.lists(u32, max_size=4).map(tuple),
)
locators = st.builds(Locator, u64, u64, u32, states, st.booleans(), st.none() | chunks)
task_metas = st.builds(TaskMeta, u32, u32, u32)
state_changes = st.builds(StateChange, states, u32, u32, u32, u64, u64, st.booleans(), st.booleans())
data_blocks = st.builds(DataBlock, states, u32, u32, u32, u32, u32, u64, u64)


@st.composite
def file_metas(draw: st.DrawFn) -> FileMeta:
    flags = FileFlag(draw(st.integers(0, 63)))
    secret = st.binary(min_size=32, max_size=32) if flags & FileFlag.HAS_KEY else st.none()
    sizes = draw(u64), draw(u64), draw(u32), draw(u32)
    numbers = draw(u32), draw(u32), draw(u32), draw(u32)
    name = draw(st.binary(max_size=60).filter(lambda name: b"\0" not in name))
    return FileMeta(draw(states), *sizes, flags, *numbers, name, draw(secret), draw(secret))


descriptors = locators | task_metas | state_changes | file_metas() | data_blocks
named = st.builds(messages.Config, text, text, st.sampled_from([1, 3, 4]))
responses = (
    st.builds(messages.Described, descriptors, st.integers(0, 255))
    | st.builds(
        messages.Locators,
        st.integers(0x0100, 0x0103),
        st.lists(st.tuples(st.just(12), st.binary(max_size=50)), max_size=2).map(tuple),
    )
    | st.builds(messages.Data, st.binary(max_size=100))
    | st.builds(messages.Plugin, text, st.none() | text)
    | st.builds(messages.Collation, text)
    | named
    | st.just(messages.Complete())
    | st.builds(messages.Failed, u32, text)
)
requests = (
    st.builds(
        messages.Begin,
        st.sampled_from([messages.Command.INIT, messages.Command.ATTACH, messages.Command.REINIT]),
        u32,
        st.integers(0, 2**31 - 1),
        st.booleans(),
        st.binary(max_size=60),
    )
    | st.builds(messages.Ack, u32, st.binary(max_size=60), st.none() | state_changes)
    | st.builds(messages.Plain, st.sampled_from([messages.Command.EXECUTE, messages.Command.EXIT]))
)


@given(descriptors)
def test_every_descriptor_survives_the_way_there_and_back(descriptor: Descriptor) -> None:
    assert decode_descriptor(encode_descriptor(descriptor)) == descriptor


@given(responses)
def test_every_response_survives_the_way_there_and_back(response: messages.Response) -> None:
    assert messages.decode_response(messages.encode_response(response)) == response


@given(requests)
def test_every_request_survives_the_way_there_and_back(request: messages.Request) -> None:
    assert messages.decode_request(messages.encode_request(request)) == request


@given(descriptors, st.data())
def test_every_truncation_of_a_descriptor_is_a_violation(descriptor: Descriptor, data: st.DataObject) -> None:
    whole = encode_descriptor(descriptor)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ProtocolViolation):
        decode_descriptor(whole[:cut])
    # The same with a header that agrees with the shorter length: the layout itself is checked too.
    if cut >= 12 and not isinstance(descriptor, Locator):
        with pytest.raises(ProtocolViolation):
            decode_descriptor(whole[:4] + cut.to_bytes(4, "big") + whole[8:cut])


@given(descriptors, st.binary(min_size=1, max_size=9))
def test_bytes_behind_a_descriptor_are_a_violation(descriptor: Descriptor, more: bytes) -> None:
    whole = encode_descriptor(descriptor)
    with pytest.raises(ProtocolViolation):
        decode_descriptor(whole + more)
    if isinstance(descriptor, Locator):
        return
    with pytest.raises(ProtocolViolation):
        decode_descriptor(whole[:4] + (len(whole) + len(more)).to_bytes(4, "big") + whole[8:] + more)


@given(st.binary(max_size=120))
def test_noise_is_a_violation_and_never_another_error(noise: bytes) -> None:
    for decode in (decode_descriptor, decode_locator, messages.decode_response, messages.decode_request):
        try:
            decode(noise)
        except ProtocolViolation as violation:
            assert violation.message


@given(st.sampled_from(messages.ResponseType), st.binary(max_size=80))
def test_noise_of_a_known_type_is_a_violation_and_never_another_error(
    kind: messages.ResponseType, noise: bytes
) -> None:
    try:
        response = messages.decode_response(bytes((kind,)) + noise)
    except ProtocolViolation as violation:
        assert violation.message
    else:
        assert isinstance(response, messages.Response)


def test_unknown_things_are_named() -> None:
    change = encode_descriptor(StateChange(State.FILE, 0, 1, 1, 0, 0, start=True, ack=False))
    cases = {
        "unknown type 9": change[:8] + (9).to_bytes(4, "big") + change[12:],
        "version 101": (101).to_bytes(4, "big") + change[4:],
        "unknown state 7": change[:12] + (7).to_bytes(4, "big") + change[16:],
        "unknown flags 0x4": change[:-2] + b"\0\4",
        "says 99 bytes and has 46": change[:4] + (99).to_bytes(4, "big") + change[8:],
    }
    for message, data in cases.items():
        with pytest.raises(ProtocolViolation, match=message):
            decode_descriptor(data)
    for message, data in {
        "unknown type 55": b"\x37",
        "without a type": b"",
        "version 0x0200": b"\1" + (0x0200).to_bytes(4, "little"),
        "engine 13": b"\1" + (0x0100).to_bytes(4, "little") + b"\x0d\0\0\0\0",
        "COMPLETE response has 1 bytes too many": b"\x63\0",
        "PLUGIN_V2 response is truncated": b"\x07\4\0\0\0na",
        "not UTF-8": b"\x06\1\0\0\0\xff",
    }.items():
        with pytest.raises(ProtocolViolation, match=message):
            messages.decode_response(data)


@pytest.mark.parametrize("name", [b"\0", b"a\0b\0", b"ab"])
def test_a_file_name_must_end_at_its_only_nul(name: bytes) -> None:
    head = struct.pack(">IIIIQQIIHIIIII", 100, 62 + len(name), 4, 2, 1, 1, 0, 0, 0, 1, 0, 1, 1, len(name))
    with pytest.raises(ProtocolViolation, match="NUL"):
        decode_descriptor(head + name)


def test_a_chunk_list_whose_counts_lie_is_a_violation() -> None:
    locator = Locator(1, 2, 0, State.FILE, True, ChunksDone(((5, 3),), (0x1F,)))
    whole = encode_descriptor(locator)
    for position, lie in ((34, 0), (34, 2), (34, 2**32 - 1), (46, 0), (46, 2)):
        with pytest.raises(ProtocolViolation, match="disagree"):
            decode_descriptor(whole[:position] + lie.to_bytes(4, "big") + whole[position + 4 :])


def test_only_a_locator_may_be_padded_and_only_with_zeros() -> None:
    locator = Locator(3, 4, 1, State.INIT)
    assert decode_locator(encode_descriptor(locator).ljust(128, b"\0")) == locator
    with pytest.raises(ProtocolViolation, match="more behind it"):
        decode_locator(encode_descriptor(locator) + b"\0\1")
    with pytest.raises(ProtocolViolation, match="TaskMeta stands where a locator belongs"):
        decode_locator(encode_descriptor(TaskMeta(0, 0, 0)))


def test_the_first_locator_is_what_a_server_would_send() -> None:
    locator = messages.version_locator()
    assert len(locator) == 128
    assert locator[:12] == bytes.fromhex("00000064 00000022 00000001")
    assert not any(locator[12:])


def test_a_key_is_never_shown() -> None:
    meta = FileMeta(State.REDO, 1, 1, 0, 0, FileFlag.HAS_KEY, 1, 1, 1, 1, b"./a/b.ibd", b"k" * 32, b"i" * 32)
    assert "kkk" not in repr(meta)
    assert "iii" not in repr(meta)
