"""A replication source over its socket: who gets in, what is answered, and what ends a connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ArchiveGap, BinlogUnreadable, StoreUnreachable, ToolError
from fleet.gtid import GtidSet
from tests.sources import BinlogFile, FileFeed, ScriptedReplica, dump_packet, login_packet, pieces_of
from wire.binlog.events import ChecksumAlgorithm, EventType, Place, parse_gtid_event, parse_heartbeat
from wire.binlog.greeting import scramble
from wire.binlog.source import Piece, ReplicationSource

GOLDEN = Path(__file__).parents[2] / "golden" / "binlogs"
PLAIN = BinlogFile("binlog.000003", (GOLDEN / "plain.binlog").read_bytes())
COMPRESSED = BinlogFile("binlog.000006", (GOLDEN / "compressed.binlog").read_bytes())
BEFORE = PLAIN.previous_gtids()
UUID = "00000000-1111-2222-3333-444444444444"
FAST_HEARTBEATS = "SET @master_heartbeat_period = 10000000, @source_heartbeat_period = 10000000"
CHECKSUMS = "SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = 'CRC32'"


class Feed:
    """A feed that a test writes as a generator."""

    def __init__(self, pieces: Callable[[threading.Event], Iterator[Piece | None]]) -> None:
        self._pieces = pieces

    def pieces(self, have: GtidSet, cancelled: threading.Event) -> Iterator[Piece | None]:
        return self._pieces(cancelled)


def source(feed: Any = None, **more: Any) -> ReplicationSource:
    settings: dict[str, Any] = {"version": "9.7.4", "server_id": 4_000_000_001, "server_uuid": UUID}
    return ReplicationSource(feed or FileFeed([PLAIN]), **(settings | more))


def logged_in(to: ReplicationSource) -> ScriptedReplica:
    replica = ScriptedReplica(to.port)
    assert replica.log_in(to.user, to.password).payload[0] == 0
    return replica


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_listens_on_this_machine_alone_and_stops_listening() -> None:
    with source() as ours:
        port = ours.port
        assert ours.host == "127.0.0.1"
        with logged_in(ours) as replica:
            assert replica.ask("SELECT VERSION()") == "9.7.4"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    ours.close()


def test_passwords_are_random_and_wrong_ones_are_refused() -> None:
    with source() as ours, source() as other:
        assert ours.password != other.password
        for user, password in ((ours.user, other.password), ("root", ours.password), (ours.user, "")):
            with ScriptedReplica(ours.port) as replica:
                answer = replica.log_in(user, password).payload
                assert answer[0] == 0xFF and int.from_bytes(answer[1:3], "little") == 1045
                assert answer[3:9] == b"#28000" and ours.password.encode() not in answer
                with pytest.raises(EOFError):
                    replica.receive()


def test_a_client_that_begins_with_another_plugin_is_asked_again() -> None:
    with source() as ours, ScriptedReplica(ours.port) as replica:
        nonce = replica.greet()
        replica.send(login_packet(ours.user, b"x" * 20, "mysql_native_password"), 1)
        request = replica.receive()
        assert request.payload == b"\xfecaching_sha2_password\0" + nonce + b"\0"
        replica.send(scramble(ours.password, nonce), request.sequence + 1)
        assert [replica.receive().payload[:2] for _ in range(2)] == [b"\x01\x03", b"\0\0"]


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"\x00",
        bytes(4),
        (0x200 | 0x8000).to_bytes(4, "little") + bytes(28) + b"user",
        (0x200 | 0x8000).to_bytes(4, "little") + bytes(28) + b"user\0\xff" + bytes(10),
        (0x200 | 0x8000).to_bytes(4, "little") + bytes(28) + b"user\0\x20abc",
        (0xFFFFFFFF).to_bytes(4, "little") + bytes(28),
        bytes(100_000),
    ],
)
def test_a_malformed_login_ends_that_connection_alone(lie: bytes) -> None:
    with source() as ours, logged_in(ours) as good:
        with ScriptedReplica(ours.port) as bad:
            bad.greet()
            bad.send(lie, 1)
            with pytest.raises((EOFError, ConnectionError)):
                while True:
                    assert bad.receive().payload[0] == 0xFF
        assert good.ask("SELECT @@GLOBAL.SERVER_UUID") == UUID


def test_the_questions_of_a_replica_are_answered_and_others_are_errors() -> None:
    with source() as ours, logged_in(ours) as replica:
        assert abs(int(replica.ask("SELECT UNIX_TIMESTAMP()") or 0) - time.time()) < 60
        assert replica.ask("SELECT @@GLOBAL.SERVER_ID") == "4000000001"
        assert replica.ask("select @@global.gtid_mode") == "ON"
        assert replica.ask("SELECT @source_binlog_checksum") is None
        assert replica.ask(CHECKSUMS) is None
        assert replica.ask("SELECT  @master_binlog_checksum ;") == "CRC32"
        for statement in ("SELECT 1", "SELECT @@global.rpl_semi_sync_source_enabled", "DROP TABLE t", ""):
            with pytest.raises(RuntimeError, match="knows nothing of"):
                replica.ask(statement)
        replica.send(b"\x0e")
        assert replica.receive().payload[0] == 0
        for command in (b"\x02schema", b"\x16SELECT 1", b"\xff"):
            replica.send(command)
            answer = replica.receive().payload
            assert (answer[0], int.from_bytes(answer[1:3], "little")) == (0xFF, 1047)
        replica.send(b"\x01")
        with pytest.raises(EOFError):
            replica.receive()


@pytest.mark.parametrize("length", [1, 5, 20, 30])
def test_a_malformed_request_for_the_binlog_is_an_error(length: int) -> None:
    with source() as ours, logged_in(ours) as replica:
        replica.send(dump_packet(BEFORE)[:length])
        answer = replica.receive().payload
        assert int.from_bytes(answer[1:3], "little") == 1236


def test_positions_in_files_are_refused() -> None:
    with source() as ours, logged_in(ours) as replica:
        replica.send(b"\x12" + bytes(10) + b"binlog.000001")
        assert b"by GTID alone" in replica.receive().payload


def test_a_client_that_only_wants_what_is_there_gets_an_end() -> None:
    for follow in (False, True):
        with source(FileFeed([PLAIN, COMPRESSED], follow=follow)) as ours, logged_in(ours) as replica:
            replica.dump(BEFORE, flags=3)
            events = list(replica.events())
            kinds = [event[4] for event in events]
            assert kinds.count(EventType.ROTATE) == 2 and kinds.count(EventType.FORMAT_DESCRIPTION) == 2
            wait_for(lambda ours=ours: ours.statistics.connections == 0)
            told = ours.statistics
            assert told.transactions == kinds.count(EventType.GTID) + kinds.count(EventType.TAGGED_GTID) > 20
            assert (told.file, told.position) == (COMPRESSED.name, len(COMPRESSED.data))
            assert (told.left_out, told.torn, told.held, told.failure) == (0, 0, False, None)
            assert 0 < told.sent_bytes < len(PLAIN.data) + len(COMPRESSED.data) + 200


def test_an_idle_replica_gets_heartbeats_that_it_can_believe() -> None:
    feed = FileFeed([], follow=True)
    with source(feed) as ours, logged_in(ours) as replica:
        replica.ask(FAST_HEARTBEATS)
        replica.ask(CHECKSUMS)
        replica.dump(BEFORE)
        rotate, beat = replica.next_event(), replica.next_event()
        assert rotate[4] == EventType.ROTATE
        assert parse_heartbeat(beat, ChecksumAlgorithm.CRC32) == Place("archive.000001", 4)
        feed.files.append(PLAIN)
        while (event := replica.next_event())[4] != EventType.FORMAT_DESCRIPTION:
            assert event[4] == EventType.HEARTBEAT_V2
        place = Place("archive.000001", len(PLAIN.data))
        while event[4] != EventType.HEARTBEAT_V2:
            event = replica.next_event()
        assert parse_heartbeat(event, ChecksumAlgorithm.CRC32) == place


def test_heartbeats_go_on_while_the_store_is_slow() -> None:
    released = threading.Event()

    def slow(cancelled: threading.Event) -> Iterator[Piece | None]:
        yield from pieces_of(PLAIN)
        released.wait(10)

    with source(Feed(slow)) as ours, logged_in(ours) as replica:
        replica.ask(FAST_HEARTBEATS)
        replica.dump(BEFORE)
        beats = 0
        while beats < 3:
            beats += replica.next_event()[4] == EventType.HEARTBEAT_V2
        released.set()


def test_held_means_heartbeats_and_nothing_more_for_everybody() -> None:
    gtids = [
        parse_gtid_event(event, ChecksumAlgorithm.CRC32).gtid
        for _, kind, event in PLAIN.events()
        if kind == EventType.GTID
    ]
    with source(FileFeed([PLAIN, COMPRESSED]), hold_before=gtids[4]) as ours:
        for known in (0, 3, 4):
            have = BEFORE
            for gtid in gtids[:known]:
                have |= gtid.as_set()
            with logged_in(ours) as replica:
                replica.ask(FAST_HEARTBEATS)
                replica.dump(have)
                kinds: list[int] = []
                while kinds.count(EventType.HEARTBEAT_V2) < 3:
                    kinds.append(replica.next_event()[4])
                assert kinds.count(EventType.GTID) == 4 - known
        assert ours.statistics.held
        beyond = BEFORE | GtidSet.parse(str(gtids[4]))
        with logged_in(ours) as replica:
            replica.dump(beyond)
            with pytest.raises(RuntimeError, match=f"stops before {gtids[4]}, and the replica has executed"):
                replica.next_event()


@pytest.mark.parametrize(
    "failure", [ArchiveGap("transactions x:7 are not there"), BinlogUnreadable("a lie at 17")]
)
def test_what_the_feed_cannot_give_is_told_to_the_replica(failure: ToolError) -> None:
    def failing(cancelled: threading.Event) -> Iterator[Piece | None]:
        yield from pieces_of(PLAIN)
        raise failure

    with source(Feed(failing)) as ours, logged_in(ours) as replica:
        replica.dump(BEFORE)
        with pytest.raises(RuntimeError, match=failure.message):
            list(replica.events())
        with pytest.raises(EOFError):
            replica.receive()
        assert ours.statistics.failure is failure


def test_after_an_error_that_may_pass_the_replica_comes_back_and_is_served() -> None:
    failures = [StoreUnreachable("the store is away")]

    def failing_once(cancelled: threading.Event) -> Iterator[Piece | None]:
        if failures:
            raise failures.pop()
        yield from pieces_of(PLAIN)

    with source(Feed(failing_once), retry_seconds=0.01) as ours:
        with logged_in(ours) as replica:
            replica.dump(BEFORE)
            # The connection ends without an error packet.
            assert [event[4] for event in replica.events()] == [EventType.ROTATE]
            assert isinstance(ours.statistics.failure, StoreUnreachable)
        with logged_in(ours) as replica:
            replica.dump(BEFORE, flags=3)
            assert len(list(replica.events())) > 50
        assert ours.statistics.failure is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_feed_that_breaks_off_is_an_error_too() -> None:
    def broken(cancelled: threading.Event) -> Iterator[Piece | None]:
        yield from pieces_of(PLAIN)
        raise ZeroDivisionError

    with source(Feed(broken)) as ours, logged_in(ours) as replica:
        replica.dump(BEFORE)
        with pytest.raises(RuntimeError, match="broke off"):
            list(replica.events())


def test_closing_ends_every_connection_at_once_whatever_it_waits_for() -> None:
    def endless(cancelled: threading.Event) -> Iterator[Piece | None]:
        number = 0
        while not cancelled.is_set():
            number += 1
            yield from pieces_of(PLAIN)

    with source(Feed(endless)) as ours:
        mute = ScriptedReplica(ours.port)
        idle, deaf = logged_in(ours), logged_in(ours)
        deaf.dump(BEFORE)
        wait_for(lambda: ours.statistics.connections == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 9
    assert ours.statistics.connections == 0
    for replica in (mute, idle, deaf):
        with replica, pytest.raises((EOFError, ConnectionError)):
            while True:
                replica.receive()


def test_a_replica_that_goes_is_noticed_without_heartbeats() -> None:
    gone = threading.Event()

    def following(cancelled: threading.Event) -> Iterator[Piece | None]:
        yield from pieces_of(PLAIN)
        while not cancelled.wait(0.01):
            yield None
        gone.set()

    with source(Feed(following)) as ours:
        with logged_in(ours) as replica:
            replica.dump(BEFORE)
            wait_for(lambda: ours.statistics.transactions > 0)
        wait_for(lambda: ours.statistics.connections == 0)
        assert gone.wait(5)


def test_what_a_replica_has_or_shall_not_have_is_left_out() -> None:
    first = next(
        parse_gtid_event(event, ChecksumAlgorithm.CRC32).gtid
        for _, kind, event in PLAIN.events()
        if kind == EventType.GTID
    )
    with source(leave_out=first.as_set()) as ours, logged_in(ours) as replica:
        replica.dump(BEFORE, flags=3)
        sent = [
            parse_gtid_event(event, ChecksumAlgorithm.CRC32).gtid
            for event in replica.events()
            if event[4] == EventType.GTID
        ]
        assert first not in sent and len(sent) == ours.statistics.transactions > 10
        assert ours.statistics.left_out == 1


def test_an_error_in_the_middle_of_a_piece_is_told_behind_what_was_sent() -> None:
    """A replica takes no packet out of sequence: it would see a lost connection, and try again for ever."""
    cut = Piece(PLAIN.name, 4, memoryview(PLAIN.data)[4:-40])
    with source(Feed(lambda _: iter([cut]))) as ours, logged_in(ours) as replica:
        replica.dump(BEFORE)
        with pytest.raises(RuntimeError, match="no whole event"):
            list(replica.events())
