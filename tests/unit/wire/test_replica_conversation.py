"""What a real replica said to our replication source, recorded once: it must get the same files again."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.gtid import GtidSet
from tests.sources import BinlogFile, FileFeed, ScriptedReplica
from wire.binlog.answers import COM_BINLOG_DUMP_GTID, COM_QUERY, parse_dump
from wire.binlog.events import EventType, for_replica
from wire.binlog.greeting import parse_login, scramble
from wire.binlog.source import ReplicationSource

GOLDEN = Path(__file__).parents[2] / "golden" / "replica-conversation"
NAMES = ("plain", "compressed", "tagged", "unchecked", "xa", "ddl", "minimal")
FILES = [BinlogFile(name, (GOLDEN / f"{name}.binlog").read_bytes()) for name in NAMES]
UUID = "00000000-1111-2222-3333-444444444444"
GTIDS = {EventType.GTID, EventType.TAGGED_GTID}
UNSENT = {EventType.ROTATE, EventType.STOP}


class Packet(NamedTuple):
    sequence: int
    payload: bytes


def recorded() -> tuple[list[list[Packet]], GtidSet]:
    """The packets of both connections, and all that the replica had in the end."""
    written = json.loads((GOLDEN / "conversation.json").read_text())
    connections = [
        [Packet(s, bytes.fromhex(data)) for s, data in packets] for packets in written["connections"]
    ]
    return connections, GtidSet.parse(written["gtids"][1])


CONNECTIONS, HAD = recorded()
FIRST, AGAIN = CONNECTIONS


@pytest.fixture
def source() -> Iterator[ReplicationSource]:
    with ReplicationSource(
        FileFeed(FILES), version="9.7.4", server_id=4_000_000_001, server_uuid=UUID, password="recorded"
    ) as made:
        yield made


def say(replica: ScriptedReplica, packets: list[Packet]) -> list[bytes]:
    """Log in with the recorded packet, fresh nonce and all, then ask; the first byte of every answer."""
    nonce = replica.greet()
    login = packets[0].payload
    fresh = login.replace(parse_login(login).scramble, scramble("recorded", nonce))
    replica.send(fresh, packets[0].sequence)
    answers = [replica.receive().payload[:2], replica.receive().payload[:1]]
    for sequence, payload in packets[1:]:
        if payload[0] == COM_BINLOG_DUMP_GTID:
            replica.dump_with(payload)
            break
        replica.send(payload, sequence)
        answer = replica.receive().payload[:1]
        answers.append(answer)
        if payload[0] == COM_QUERY and answer == b"\x01":
            answers += [replica.receive().payload[:1] for _ in range(4)][-1:]
    return answers


def stream(replica: ScriptedReplica, last: bytes) -> list[bytes]:
    """Events up to ``last``, artificial rotates left out."""
    events: list[bytes] = []
    while not events or events[-1] != last:
        event = replica.next_event()
        if event[4] != EventType.ROTATE:
            events.append(event)
    return events


def whole(files: list[BinlogFile]) -> list[bytes]:
    return [
        for_replica(event) if kind == EventType.FORMAT_DESCRIPTION else event
        for file in files
        for _, kind, event in file.events()
        if kind not in UNSENT
    ]


def test_the_recorded_replica_is_let_in_answered_and_sent_every_event(source: ReplicationSource) -> None:
    with ScriptedReplica(source.port) as replica:
        answers = say(replica, FIRST)
        assert answers[:2] == [b"\x01\x03", b"\0"]
        assert set(answers[2:]) == {b"\0", b"\x01", b"\xfe"}
        expected = whole(FILES)
        assert stream(replica, expected[-1]) == expected


def test_the_recorded_replica_comes_again_and_is_sent_no_transaction(source: ReplicationSource) -> None:
    with ScriptedReplica(source.port) as replica:
        say(replica, AGAIN)
        head = whole(FILES[-1:])[:2]
        assert stream(replica, head[-1]) == head
        assert replica.next_event()[4] == EventType.HEARTBEAT_V2
        assert source.statistics.left_out == sum(kind in GTIDS for _, kind, _ in FILES[-1].events())


def test_it_asked_by_the_set_that_it_had() -> None:
    request = parse_dump(AGAIN[-1].payload)
    assert (request.have, request.server_id, request.heartbeat_v2, request.to_the_end) == (
        HAD,
        77,
        True,
        False,
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packet=st.integers(1, len(AGAIN) - 1),
    at=st.integers(0, 400),
    lie=st.binary(min_size=1, max_size=8),
    cut=st.booleans(),
)
def test_lies_and_cuts_end_that_connection_alone(
    source: ReplicationSource, packet: int, at: int, lie: bytes, cut: bool
) -> None:
    payload = AGAIN[packet].payload
    at %= len(payload)
    damaged = payload[:at] if cut else payload[:at] + lie + payload[at + len(lie) :]
    failures: list[object] = []
    hook, threading.excepthook = threading.excepthook, failures.append
    try:
        with ScriptedReplica(source.port) as replica:
            say(replica, AGAIN[:packet])
            if cut:
                replica.socket.sendall(len(payload).to_bytes(3, "little") + b"\0" + damaged)
            elif damaged:
                replica.send(damaged)
            replica.socket.shutdown(socket.SHUT_WR)
            try:
                while True:
                    replica.receive()
            except (EOFError, ConnectionError):
                pass
    finally:
        threading.excepthook = hook
    assert failures == []
    with ScriptedReplica(source.port) as replica:
        say(replica, AGAIN)
        assert replica.next_event()[4] == EventType.ROTATE
