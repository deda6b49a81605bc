"""A real donor's recorded conversation with one thing made wrong: each is named, none gets through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import ProtocolViolation, ServerUnsupported
from tests.clones import Forgetting, Keeping
from tests.conversations import Direction, Event, Replayer, load
from tests.digests import digest_of
from wire.clone.client import CloneClient, CloneOptions
from wire.clone.descriptors import DataBlock, FileFlag, FileMeta, State, StateChange
from wire.clone.messages import (
    Complete,
    Config,
    Described,
    Locators,
    Response,
    decode_response,
    encode_response,
)
from wire.packet import frame, payload_length

CONVERSATION = Path(__file__).parents[2] / "golden" / "clone-conversation" / "conversation.zst"
DATA = 3

Tamper = Callable[[Response], list[Response]]


@cache
def recorded() -> tuple[Event, ...]:
    return tuple(load(CONVERSATION))


def tampered(change: Tamper, *, data: Callable[[bytes], bytes] = lambda payload: payload) -> list[Event]:
    """What the donor said, each response through ``change``, and each DATA payload through ``data``."""
    return [
        event._replace(data=_through(event.data, change, data))
        if event.direction is Direction.FROM_DONOR
        else event
        for event in recorded()
    ]


def _through(packets: bytes, change: Tamper, data: Callable[[bytes], bytes]) -> bytes:
    result: list[bytes] = []
    position = 0
    while position < len(packets):
        end = position + 4 + payload_length(packets[position : position + 4])
        payload = packets[position + 4 : end]
        if payload[0] == 0:
            result.append(packets[position:end])
        elif payload[0] == DATA:
            result.append(frame(bytes((DATA,)) + data(payload[1:])))
        else:
            result += [frame(encode_response(response)) for response in change(decode_response(payload))]
        position = end
    return b"".join(result)


def run(events: list[Event], sink: Forgetting | None = None, **options: str) -> None:
    donor = Replayer(events)
    settings = CloneOptions(connections=1, resume_wait_seconds=0.1, **options)  # type: ignore[arg-type]
    CloneClient(donor.connect, settings, SystemClock()).run(sink or Forgetting())


def on(kind: type, **changes: object) -> Tamper:
    """Change the first descriptor of ``kind``."""
    done: list[bool] = []

    def change(response: Response) -> list[Response]:
        if isinstance(response, Described) and isinstance(response.descriptor, kind) and not done:
            done.append(True)
            return [Described(replace(response.descriptor, **changes))]  # type: ignore[type-var]
        return [response]

    return change


def renaming(old: bytes, new: bytes) -> Tamper:
    def change(response: Response) -> list[Response]:
        match response:
            case Described(FileMeta() as meta) if meta.name == old:
                return [Described(replace(meta, name=new))]
            case _:
                return [response]

    return change


def test_the_way_through_changes_nothing_by_itself(tmp_path: Path) -> None:
    sink = Keeping(tmp_path / "data")
    run(tampered(lambda response: [response]), sink)
    sink.close()


@pytest.mark.parametrize(
    "name",
    [b"../../../etc/passwd", b"./../app/kept.ibd", b"./app/../../x.ibd", b"auto.cnf", b"./#clone/x.ibd"],
)
def test_a_name_that_leads_out_is_refused_before_any_data(name: bytes) -> None:
    sink = Forgetting()
    with pytest.raises(ProtocolViolation, match="the donor"):
        run(tampered(renaming(b"./app/kept.ibd", name)), sink)
    assert sink.bytes == 0


def test_a_rename_to_a_name_that_leads_out_is_refused() -> None:
    def change(response: Response) -> list[Response]:
        match response:
            case Described(FileMeta() as meta) if meta.flags & FileFlag.RENAMED:
                return [Described(replace(meta, name=b"./../../x.ibd"))]
            case _:
                return [response]

    with pytest.raises(ProtocolViolation, match="plain relative path"):
        run(tampered(change))


def test_an_external_file_is_refused_or_mapped(tmp_path: Path) -> None:
    events = tampered(renaming(b"./app/kept.ibd", b"/mnt/fast/app/kept.ibd"))
    with pytest.raises(ServerUnsupported, match=r"/mnt/fast/app/kept\.ibd"):
        run(events)
    sink = Keeping(tmp_path / "data")
    donor = Replayer(events)
    options = CloneOptions(connections=1, external_tablespaces="into-datadir")
    sink.lay_out(CloneClient(donor.connect, options, SystemClock()).run(sink))
    plain = Keeping(tmp_path / "plain")
    donor = Replayer(list(recorded()))
    plain.lay_out(CloneClient(donor.connect, CloneOptions(connections=1), SystemClock()).run(plain))
    assert digest_of(tmp_path / "data") == digest_of(tmp_path / "plain")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (on(DataBlock, file_index=99), "file 99, which was not announced"),
        (on(DataBlock, length=5), "a block of 5 bytes is followed by a response of type 3"),
        (on(DataBlock, length=1 << 30), "followed by a response"),
        (on(DataBlock, offset=(1 << 63) - 2), "bytes at"),
        (on(DataBlock, chunk=0), "a block of chunk 0"),
        (on(DataBlock, chunk=9999), "a block of chunk 9999"),
        (on(DataBlock, state=State.DONE), "in DONE"),
        (on(StateChange, state=State.REDO, start=True), "the state REDO starts in INIT"),
        (on(FileMeta, state=State.REDO), "a file of stage REDO announced in FILE"),
        (on(FileMeta, index=1 << 30), "announced"),
        (lambda response: [] if isinstance(response, Locators) else [response], "no locator"),
        (
            lambda response: [] if response == Config("innodb_page_size", "16384") else [response],
            "did not say its innodb_page_size",
        ),
        (
            lambda response: [Complete()] if isinstance(response, Described) else [response],
            "done in the state",
        ),
        (
            lambda response: [response, Config("a", "b")] if isinstance(response, Described) else [response],
            "EXECUTE was answered by a Config",
        ),
    ],
)
def test_what_does_not_fit_is_named(change: Tamper, message: str) -> None:
    with pytest.raises(ProtocolViolation, match=message):
        run(tampered(change))


def test_a_block_that_comes_for_the_wrong_file_is_missed_in_the_right_one() -> None:
    dictionary_bytes = 29_360_128
    moved: list[DataBlock] = []

    def change(response: Response) -> list[Response]:
        match response:
            case Described(DataBlock(State.FILE, file_size=size) as block) if (
                size == dictionary_bytes and not moved
            ):
                moved.append(block)
                return [Described(replace(block, file_index=1))]
            case _:
                return [response]

    with pytest.raises(ProtocolViolation, match=r"28311552 of 29360128 bytes of mysql\.ibd came"):
        run(tampered(change))


def test_a_redo_log_without_its_header_is_noticed() -> None:
    def change(response: Response) -> list[Response]:
        match response:
            case Described(StateChange(State.REDO, start=True) as started):
                return [Described(replace(started, chunks=started.chunks + 2))]
            case _:
                return [response]

    with pytest.raises(ProtocolViolation, match="redo"):
        run(tampered(change))


def test_two_files_of_one_name_are_noticed() -> None:
    with pytest.raises(ProtocolViolation, match=r"both become app/z\.ibd"):
        run(tampered(renaming(b"./app/kept.ibd", b"./app/z.ibd")))
