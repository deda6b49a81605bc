"""A real donor's recorded conversation, as it goes when chunks are left out: every byte of ours is known."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import ProtocolViolation
from tests.clones import Forgetting
from tests.conversations import Direction, Event, Replayer, load
from wire.clone.client import AnnouncedFile, CloneClient, CloneOptions, CloneOutcome
from wire.clone.descriptors import DataBlock, FileMeta, State
from wire.clone.messages import Described, Response, decode_response, encode_response
from wire.packet import frame, payload_length

CONVERSATION = Path(__file__).parents[2] / "golden" / "clone-conversation" / "conversation.zst"
DATA = 3
EXECUTE = b"\1\0\0\0\4"
FILES = 11
SYS_CONFIG, MYSQL, UNDO = 3, 9, 10
"""Chunks of ``sys/sys_config.ibd``, ``mysql.ibd`` and ``undo_002``, which have one each."""

SIZES = {SYS_CONFIG: 114_688, MYSQL: 29_360_128}


@cache
def recorded() -> tuple[Event, ...]:
    return tuple(load(CONVERSATION))


def packets(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    begin = 0
    while begin < len(data):
        end = begin + 4 + payload_length(data[begin : begin + 4])
        found.append(data[begin:end])
        begin = end
    return found


def described(packet: bytes) -> object:
    """What the packet describes, if it describes something."""
    if packet[4] in (0, DATA):
        return None
    response = decode_response(packet[4:])
    return response.descriptor if isinstance(response, Described) else None


def leaving_out(
    chunks: set[int], change: Callable[[DataBlock], DataBlock] = lambda block: block
) -> list[Event]:
    """The donor is left after the last file's description, and found again on two new connections."""
    events = list(recorded())
    copying = next(number for number, event in enumerate(events) if len(event.data) > 1 << 24)
    everything = packets(events[copying].data)
    metas = [number for number, packet in enumerate(everything) if isinstance(described(packet), FileMeta)]
    assert len(metas) == FILES
    head, rest = everything[: metas[-1] + 1], everything[metas[-1] + 1 :]
    hello, welcome, complete = events[0].data, events[1].data, events[9].data
    again = [
        Event(2, Direction.TO_DONOR, hello),
        Event(2, Direction.FROM_DONOR, welcome),
        Event(3, Direction.TO_DONOR, hello),
        Event(3, Direction.FROM_DONOR, welcome),
        Event(2, Direction.TO_DONOR, reinit(chunks)),
        Event(2, Direction.FROM_DONOR, complete),
        Event(2, Direction.TO_DONOR, EXECUTE),
        Event(2, Direction.FROM_DONOR, b"".join(_sent(rest, chunks, change))),
    ]
    left = events[copying]._replace(data=b"".join(head))
    later = [event._replace(connection=event.connection + 2) for event in events[copying + 1 :]]
    return [*events[:copying], left, *again, *later]


def reinit(chunks: set[int]) -> bytes:
    """COM_REINIT: the locator that the donor gave, in the state FILE, with the files known and a bitmap."""
    ack = recorded()[8].data
    locator = ack[4 + 1 + 4 + 1 + 4 :][:34]
    word = sum(1 << (chunk - 1) for chunk in chunks)
    chunk_info = struct.pack(">III", 0, 1, word)
    length = struct.pack(">I", 34 + len(chunk_info))
    body = locator[:4] + length + locator[8:32] + bytes((State.FILE, 1)) + chunk_info
    options = struct.pack("<II", 0x0103, 300 | 1 << 31)
    return frame(b"\3" + options + b"\x0c" + struct.pack("<I", len(body)) + body)


def _sent(rest: Sequence[bytes], chunks: set[int], change: Callable[[DataBlock], DataBlock]) -> list[bytes]:
    sent: list[bytes] = []
    skipping = False
    for packet in rest:
        descriptor = described(packet)
        if isinstance(descriptor, DataBlock):
            skipping = descriptor.chunk in chunks
            response: Response = Described(change(descriptor))
            packet = frame(encode_response(response))  # noqa: PLW2901
        if not skipping or not (packet[4] == DATA or isinstance(descriptor, DataBlock)):
            sent.append(packet)
    return sent


class Chooser:
    def __init__(self, chunks: set[int]) -> None:
        self.chunks = chunks
        self.asked: list[Sequence[AnnouncedFile]] = []

    def __call__(self, files: Sequence[AnnouncedFile]) -> frozenset[int]:
        self.asked.append(files)
        return frozenset(self.chunks)


def run(events: list[Event], chooser: Chooser) -> tuple[CloneOutcome, Forgetting]:
    donor = Replayer(events)
    options = CloneOptions(connections=1, resume_wait_seconds=0.5)
    sink = Forgetting()
    outcome = CloneClient(donor.connect, options, SystemClock(), skip=chooser).run(sink)
    donor.finish()
    return outcome, sink


@pytest.mark.parametrize("chunks", [set[int](), {SYS_CONFIG}, {SYS_CONFIG, MYSQL}])
def test_the_donor_is_asked_for_the_other_chunks_and_the_rest_is_as_ever(chunks: set[int]) -> None:
    chooser = Chooser(chunks)
    outcome, sink = run(leaving_out(chunks), chooser)
    whole, everything = run(leaving_out(set()), Chooser(set()))
    skipped = sum(SIZES[chunk] for chunk in chunks)
    assert outcome.skipped_bytes == skipped and everything.bytes - sink.bytes == skipped
    assert outcome.files == whole.files and outcome.redo == whole.redo
    assert outcome.resumes == 0 and outcome.why_not_skipped is None
    assert sink.calls == [
        f"{call} {stage}" for stage in ("FILE", "PAGE", "REDO") for call in ("start", "ack")
    ]


def test_the_chooser_is_told_every_file_of_the_stage() -> None:
    chooser = Chooser(set())
    run(leaving_out(set()), chooser)
    (files,) = chooser.asked
    assert len(files) == FILES
    assert {file.chunk_bytes for file in files} == {64 * 1024 * 1024}
    by_name = {file.name: file for file in files}
    assert by_name["ib_buffer_pool"].space_id is None and by_name["ib_buffer_pool"].page_size is None
    assert by_name["app/z.ibd"].page_size == 4096
    system = by_name["mysql.ibd"]
    assert (system.first_chunk, system.last_chunk) == (MYSQL, MYSQL)
    assert (system.space_id, system.ordinal, system.size) == (0xFFFFFFFE, 0, SIZES[MYSQL])


def test_a_chunk_that_comes_nevertheless_is_passed_over() -> None:
    events = leaving_out({SYS_CONFIG})
    place = next(number for number, event in enumerate(events) if event.data == reinit({SYS_CONFIG}))
    events = leaving_out(set())
    events[place] = events[place]._replace(data=reinit({SYS_CONFIG}))
    outcome, sink = run(events, Chooser({SYS_CONFIG}))
    assert outcome.skipped_bytes == SIZES[SYS_CONFIG]
    assert sink.bytes == run(leaving_out({SYS_CONFIG}), Chooser({SYS_CONFIG}))[1].bytes


def test_a_block_outside_of_its_chunk_is_a_violation() -> None:
    """Else the bytes that were left out might be others than those that the chooser meant."""

    def move(block: DataBlock) -> DataBlock:
        return replace(block, offset=block.offset + (1 << 26)) if block.chunk == UNDO else block

    with pytest.raises(ProtocolViolation, match="chunk 10 of undo_002 has bytes at 67108864"):
        run(leaving_out({SYS_CONFIG}, move), Chooser({SYS_CONFIG}))


def test_a_chunk_that_no_file_has_is_the_choosers_mistake() -> None:
    events = leaving_out(set())
    listed = next(number for number, event in enumerate(events) if event.connection == 2)
    with pytest.raises(ValueError, match="no file has the chunks"):
        run(events[:listed], Chooser({FILES + 1}))
