"""A source that breaks off or lies: what a dump hands on is always a true beginning of the file."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from pathlib import Path
from struct import pack, unpack_from

import pytest

from fleet.clock import SystemClock
from fleet.errors import (
    BinlogUnreadable,
    ProtocolViolation,
    ServerUnreachable,
    SourceDiverged,
    ToolError,
)
from tests.conversations import load
from tests.dump_conversations import FULL, REGISTERED, Heard, Stream, hear, packets, said_by_source
from wire.binlog.dump import StartAt
from wire.binlog.events import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    MAGIC,
    ChecksumAlgorithm,
    EventType,
    Place,
    artificial_rotate,
    make_event,
)
from wire.binlog.link import Link, LinkClosed
from wire.binlog.reading import Reading
from wire.packet import frame
from wire.session import RawConnection

GOLDEN = Path(__file__).parents[2] / "golden" / "dump-conversation"
START = StartAt("binlog.000002", 0)
CRC, NONE = ChecksumAlgorithm.CRC32, ChecksumAlgorithm.NONE


@pytest.fixture(scope="module")
def said() -> bytes:
    return said_by_source(load(GOLDEN / "plain.zst"))


@pytest.fixture(scope="module")
def truth(said: bytes) -> dict[str, bytes]:
    files = {name: bytes(data) for name, data in hear(said, START).files.items()}
    expected = json.loads((GOLDEN / "expected.json").read_text())["plain"]["files"]
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == {
        name: digest for name, (_, digest) in expected.items()
    }
    return files


def assert_true_beginning(heard: Heard, truth: dict[str, bytes]) -> None:
    for name, data in heard.files.items():
        assert truth.get(name, b"").startswith(data)
        assert is_whole(bytes(data))


def is_whole(data: bytes) -> bool:
    at = len(MAGIC)
    while at < len(data):
        at += unpack_from("<I", data, at + 9)[0]
    return not data or at == len(data)


def test_cut_after_any_number_of_bytes_it_has_the_whole_events_before(
    said: bytes, truth: dict[str, bytes]
) -> None:
    edges = {edge for begin, end in packets(said) for edge in (begin, begin + 2, begin + 5, end - 1)}
    for length in sorted(edges | set(range(0, len(said), 37))):
        heard = hear(said[:length], START)
        assert isinstance(heard.error, ServerUnreachable), length
        assert_true_beginning(heard, truth)
        received = sum(len(data) for data in heard.files.values())
        whole = [end for _, end in packets(said) if end <= length]
        assert len(whole) <= 3 or received > 0


def test_a_flipped_bit_is_never_handed_on(said: bytes, truth: dict[str, bytes]) -> None:
    # The file without checksums cannot be protected in this way, nor can the rotate that follows it. A name
    # is said twice: in the rotate at the end of the file before, and in the artificial one.
    bare, end = (said.index(name, said.index(name) + 1) for name in (b"binlog.000003", b"binlog.000004"))
    end += len(b"binlog.000004")
    refused = 0
    for at in range(0, len(said), 3):
        if bare <= at < end:
            continue
        damaged = bytearray(said)
        damaged[at] ^= 1 << at % 8
        heard = hear(bytes(damaged), START)
        assert heard.error is not None
        refused += not isinstance(heard.error, ServerUnreachable)
        assert_true_beginning(heard, truth)
    # All but sequence numbers, and lengths that wait for bytes that never come.
    assert refused > (len(said) - (end - bare)) / 3 * 0.85


def test_lengths_that_disagree_are_refused(said: bytes, truth: dict[str, bytes]) -> None:
    for begin, end in packets(said)[2:]:
        for change in (-1, 1, 4):
            damaged = bytearray(said)
            damaged[begin : begin + 3] = (end - begin - 4 + change).to_bytes(3, "little")
            heard = hear(bytes(damaged), START)
            assert isinstance(heard.error, ToolError)
            assert_true_beginning(heard, truth)


# From here on the stream is of our own making.


def test_what_we_make_is_heard_as_it_is() -> None:
    stream = Stream()
    stream.describe()
    stream.store(b"hello")
    stream.alive()
    stream.store(b"", EventType.STOP)
    heard = stream.hear()
    assert heard.files == {stream.file: stream.stored}
    assert [batch.ended_by for batch in heard.batches if batch.ended_by] == ["stop"]
    assert isinstance(heard.error, ServerUnreachable)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("file", "by"), [("binlog.000002", 0), (None, 1), (None, -1)])
def test_a_heartbeat_that_disagrees_with_what_came_is_refused(
    version: int, file: str | None, by: int
) -> None:
    stream = Stream()
    stream.describe()
    stream.store(b"hello")
    stream.alive(version=version)
    stream.store(b"hello")
    stream.alive(file, by, version=version)
    heard = stream.hear()
    assert isinstance(heard.error, ProtocolViolation)
    assert str(stream.position) in heard.error.message


def test_positions_go_on_over_4_gib() -> None:
    begin = 2**32 - 30
    stream = Stream(position=begin)
    stream.describe()
    stream.alive()
    stream.store(b"hello")
    stream.alive()
    stream.store(b"x" * 2_000_000)
    stream.store(b"hello")
    stream.alive()
    stream.data += frame(b"\xfe\0\0\2\0")
    heard = stream.hear(StartAt(stream.file, begin))
    assert heard.batches[-1].end == stream.position > 2**32
    assert heard.files[stream.file] == stream.stored
    assert isinstance(heard.error, ServerUnreachable)


def test_what_came_before_an_error_is_handed_on_before_it_is_raised() -> None:
    stream = Stream()
    stream.describe()
    stream.store(b"hello")
    stream.alive()
    stream.store(b"world")
    said = b"#HY000event read from binlog did not pass crc check"
    stream.data += frame(b"\xff" + (1236).to_bytes(2, "little") + said)
    heard = stream.hear()
    assert heard.files == {stream.file: stream.stored}
    assert isinstance(heard.error, BinlogUnreadable)


def test_a_file_without_checksums_is_taken_as_it_is() -> None:
    stream = Stream()
    stream.describe(NONE)
    stream.store(b"hello")
    stream.alive()
    stream.store((4).to_bytes(8, "little") + b"binlog.000002", EventType.ROTATE)
    stream.send(artificial_rotate(Place("binlog.000002", 4), server_id=1, checksum=NONE))
    heard = stream.hear()
    assert heard.files == {stream.file: stream.stored}
    assert heard.batches[-1].next_file == "binlog.000002"


@pytest.mark.parametrize("checksum", [CRC, NONE])
@pytest.mark.parametrize("over", [-1, 0, 1, 5, 2 * FULL + 3, FULL - 1])
def test_events_around_the_length_of_a_packet(checksum: ChecksumAlgorithm, over: int) -> None:
    stream = Stream()
    stream.describe(checksum)
    tail = CHECKSUM_BYTES if checksum else 0
    stream.store(b"before")
    stream.store(b"y" * (FULL - 1 - HEADER_BYTES - tail + over))
    stream.store(b"after")
    heard = stream.hear()
    assert heard.files == {stream.file: stream.stored}
    assert isinstance(heard.error, ServerUnreachable)


def test_a_large_event_that_lies_about_its_length_is_refused() -> None:
    for change in (-1, 1, FULL):
        stream = Stream()
        stream.describe()
        stream.store(b"before")
        before = len(stream.data), len(stream.stored)
        stream.store(b"y" * (FULL + 1000))
        (length,) = unpack_from("<I", stream.data, before[0] + 5 + 9)
        stream.data[before[0] + 14 : before[0] + 18] = (length + change).to_bytes(4, "little")
        heard = stream.hear()
        assert isinstance(heard.error, ProtocolViolation | ServerUnreachable)
        assert heard.files[stream.file] == stream.stored[: before[1]]


def test_a_length_that_no_server_sends_takes_no_memory() -> None:
    stream = Stream()
    stream.describe()
    head = pack("<IBIIIH", 5, 2, 1, 0xFFFFFFFF, 77, 0)
    stream.data += b"\xff\xff\xff\0\0" + head
    heard = stream.hear()
    assert isinstance(heard.error, BinlogUnreadable)


def test_a_large_event_with_a_flipped_bit_is_refused() -> None:
    stream = Stream()
    stream.describe()
    stream.store(b"y" * (FULL + 1000))
    stream.data[-600] ^= 4
    heard = stream.hear()
    assert isinstance(heard.error, BinlogUnreadable)


def test_a_file_that_was_begun_at_another_time_is_another_file() -> None:
    stream = Stream()
    stream.describe()
    stream.store(b"hello")
    assert stream.hear(StartAt(stream.file, 0, created=1000)).files == {stream.file: stream.stored}
    heard = stream.hear(StartAt(stream.file, 0, created=999))
    assert isinstance(heard.error, SourceDiverged)
    assert not heard.batches


def test_a_source_that_begins_elsewhere_is_refused() -> None:
    stream = Stream("binlog.000005", 400)
    stream.describe()
    for start in (StartAt("binlog.000005", 0), StartAt("binlog.000004", 400), StartAt("binlog.000005", 401)):
        assert isinstance(stream.hear(start).error, ProtocolViolation)


def out_of_order() -> dict[str, Stream]:
    streams = {name: Stream() for name in ("event first", "description twice", "middle", "heartbeat of")}
    streams["event first"].store(b"hello")
    streams["description twice"].describe()
    streams["description twice"].position = 4
    streams["description twice"].describe()
    streams["middle"].describe()
    streams["middle"].send(artificial_rotate(Place("binlog.000002", 444), server_id=1, checksum=CRC))
    streams["heartbeat of"].describe()
    streams["heartbeat of"].send(make_event(EventType.HEARTBEAT_V2, b"\0", checksum=CRC))
    return streams


@pytest.mark.parametrize("name", list(out_of_order()))
def test_an_order_of_events_that_cannot_be_is_refused(name: str) -> None:
    heard = out_of_order()[name].hear()
    assert isinstance(heard.error, ProtocolViolation | BinlogUnreadable)


@pytest.mark.parametrize(
    "payload", [b"", b"\1", b"\0", b"\0\xef", b"\xfe" * 20, b"\xff", b"\xff\x01", b"\0" * 19]
)
def test_packets_that_are_no_event_are_refused(payload: bytes) -> None:
    for described in (False, True):
        stream = Stream()
        if described:
            stream.describe()
        else:
            stream.data = bytearray(REGISTERED)
        stream.data += len(payload).to_bytes(3, "little") + b"\0" + payload
        assert isinstance(stream.hear().error, ProtocolViolation | BinlogUnreadable)


def reading_of(ours: socket.socket, period: float) -> tuple[Link, Reading]:
    link = Link(RawConnection(ours, False, "source"), SystemClock())
    return link, Reading(link, asked="binlog.000001 from 4", period_seconds=period)


def test_silence_gives_an_empty_batch_each_period_and_ends_after_three() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream()
    stream.describe()
    theirs.sendall(bytes(stream.data[len(REGISTERED) :]))
    link, reading = reading_of(ours, 0.02)
    reading.begin()
    first = reading.batch()
    assert first.data == stream.stored
    for _ in range(2):
        empty = reading.batch()
        assert (empty.data, empty.start, empty.received_at) == (b"", first.end, first.received_at)
    with pytest.raises(ServerUnreachable, match=r"silent for 0\.06 s"):
        reading.batch()
    link.close()
    theirs.close()


def test_a_link_that_is_closed_by_another_thread_lets_its_reader_go() -> None:
    ours, theirs = socket.socketpair()
    link, reading = reading_of(ours, 30.0)
    left = threading.Event()

    def read() -> None:
        with pytest.raises(LinkClosed):
            reading.begin()
        left.set()

    thread = threading.Thread(target=read)
    thread.start()
    link.close()
    assert left.wait(10)
    thread.join()
    theirs.close()
