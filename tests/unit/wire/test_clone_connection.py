from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fleet.clock import SystemClock
from fleet.errors import Cancelled, CloneInterrupted, DonorBusy, ProtocolViolation, ServerRefused, ToolError
from wire.clone import messages
from wire.clone.connection import CloneConnection
from wire.clone.descriptors import TaskMeta
from wire.clone.refusals import ConnectionCut
from wire.packet import frame
from wire.session import RawConnection

OK = frame(b"\0\0\0\2\0\0\0", 1)


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, donor = socket.socketpair()
    yield ours, donor
    ours.close()
    donor.close()


@pytest.fixture
def donor(sockets: tuple[socket.socket, socket.socket]) -> socket.socket:
    return sockets[1]


@pytest.fixture
def connection(sockets: tuple[socket.socket, socket.socket]) -> CloneConnection:
    return CloneConnection(RawConnection(sockets[0], False, "d1"), SystemClock())


def say(donor: socket.socket, *responses: messages.Response) -> None:
    donor.sendall(b"".join(frame(messages.encode_response(response)) for response in responses))


def test_a_session_becomes_one_of_the_clone_protocol(
    connection: CloneConnection, donor: socket.socket
) -> None:
    donor.sendall(OK)
    connection.start()
    assert donor.recv(100) == b"\1\0\0\0\x20"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1227, ServerRefused), (1524, ServerRefused), (3634, DonorBusy), (1053, CloneInterrupted)],
)
def test_a_refusal_says_why(
    connection: CloneConnection, donor: socket.socket, number: int, expected: type[ToolError]
) -> None:
    donor.sendall(frame(b"\xff" + number.to_bytes(2, "little") + b"#HY000because"))
    with pytest.raises(expected, match=rf"d1 .*because \({number}\)"):
        connection.start()


def test_a_command_collects_responses_up_to_complete(
    connection: CloneConnection, donor: socket.socket
) -> None:
    say(donor, messages.Collation("a"), messages.Config("k", "v"), messages.Complete())
    answer = connection.ask(messages.Plain(messages.Command.EXECUTE))
    assert answer == [messages.Collation("a"), messages.Config("k", "v")]


@pytest.mark.parametrize("number", [1158, 1160])
def test_what_another_connection_ran_into_is_a_cut(
    connection: CloneConnection, donor: socket.socket, number: int
) -> None:
    say(donor, messages.Failed(number, "Got an error writing communication packets"))
    with pytest.raises(ConnectionCut):
        connection.ask(messages.Plain(messages.Command.EXECUTE))


def test_a_killed_session_falls_back_to_the_classic_protocol(
    connection: CloneConnection, donor: socket.socket
) -> None:
    donor.sendall(frame(b"\xff" + (1317).to_bytes(2, "little") + b"#70100interrupted"))
    with pytest.raises(CloneInterrupted, match="interrupted"):
        connection.response()


@pytest.mark.parametrize("read_ahead", [1, 64, 4096, 256 * 1024])
def test_blocks_and_small_packets_are_read_whole_however_they_come(
    connection: CloneConnection, donor: socket.socket, read_ahead: int
) -> None:
    connection.read_ahead = read_ahead
    payload = bytes(range(256)) * 5000
    described = messages.encode_response(messages.Described(TaskMeta(1, 2, 3)))
    stream = (frame(described) + frame(b"\3" + payload)) * 3

    def trickle() -> None:
        for begin in range(0, len(stream), 77_777):
            donor.sendall(stream[begin : begin + 77_777])

    sender = threading.Thread(target=trickle)
    sender.start()
    for _ in range(3):
        assert connection.response() == messages.Described(TaskMeta(1, 2, 3))
        assert connection.next_response() == (3, len(payload))
        view = memoryview(bytearray(len(payload)))
        connection.read_into(view)
        assert view == payload
    sender.join()


def test_skipped_bytes_are_gone(connection: CloneConnection, donor: socket.socket) -> None:
    sender = threading.Thread(target=donor.sendall, args=(frame(b"\3" + bytes(700_000)) + frame(b"\x63"),))
    sender.start()
    assert connection.next_response() == (3, 700_000)
    connection.skip(700_000)
    assert connection.response() == messages.Complete()
    sender.join()


def test_an_end_of_the_stream_is_a_cut(connection: CloneConnection, donor: socket.socket) -> None:
    donor.sendall(b"\5\0")
    donor.close()
    with pytest.raises(ConnectionCut, match="d1 closed the connection"):
        connection.response()


def test_silence_is_a_cut(connection: CloneConnection) -> None:
    with pytest.raises(ConnectionCut, match=r"sent nothing for 0\.3 seconds"):
        connection.next_response(seconds=0.3)


def test_a_reader_that_waits_can_be_stopped(sockets: tuple[socket.socket, socket.socket]) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    connection = CloneConnection(RawConnection(sockets[0], False, "d1"), SystemClock(), should_stop=stop)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        connection.response()
    assert time.monotonic() - began < 2


def test_a_reset_wakes_the_reader_at_once_and_closes_the_socket(
    connection: CloneConnection, donor: socket.socket
) -> None:
    errors: list[BaseException] = []

    def read() -> None:
        try:
            connection.read(10)
        except ConnectionCut as cut:
            errors.append(cut)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    began = time.monotonic()
    connection.reset()
    reader.join(timeout=5)
    assert errors and time.monotonic() - began < 0.2
    donor.settimeout(5)
    assert donor.recv(1) == b""
    with pytest.raises(ConnectionCut, match="given up"):
        connection.read(1)
    connection.reset()


def test_a_reset_closes_the_socket_of_a_reader_that_is_away(
    connection: CloneConnection, donor: socket.socket
) -> None:
    donor.sendall(b"x")
    connection.read(1)
    assert connection.away_since is not None
    connection.reset()
    donor.settimeout(5)
    assert donor.recv(1) == b""


def test_a_packet_of_no_known_type_is_named(connection: CloneConnection, donor: socket.socket) -> None:
    donor.sendall(frame(b"\x37abc"))
    with pytest.raises(ProtocolViolation, match="unknown type 55"):
        connection.response()
