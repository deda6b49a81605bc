"""What a replication source makes of binlog files: recorded real ones, and made ones where size matters."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import BinlogUnreadable, ReplayFailed, ToolError
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from tests.sources import BinlogFile, pieces_of
from wire.binlog.events import (
    ChecksumAlgorithm,
    EventType,
    Place,
    check_crc,
    for_replica,
    make_event,
    parse_gtid_event,
    parse_heartbeat,
    parse_rotate,
)
from wire.binlog.feed import Piece
from wire.binlog.outgoing import Outgoing

GOLDEN = Path(__file__).parents[2] / "golden" / "binlogs"
NAMES = ("plain", "compressed", "tagged", "unchecked", "xa", "ddl", "minimal")
FACTS: dict[str, Any] = json.loads((GOLDEN / "facts.json").read_text())
FILES = {name: BinlogFile(name, (GOLDEN / f"{name}.binlog").read_bytes()) for name in NAMES}
UNSENT = {EventType.ROTATE, EventType.STOP}
UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def outgoing(have: str = "", **more: Any) -> Outgoing:
    settings: dict[str, Any] = {"server_id": 9, "replica_server_id": 77, "checksum": ChecksumAlgorithm.CRC32}
    return Outgoing(GtidSet.parse(have), **(settings | more))


def sent(stream: Outgoing, pieces: Iterable[Piece]) -> list[bytes]:
    """The events in the packets, whose sequence numbers must follow each other from 1 on."""
    data = b"".join(bytes(buffer) for piece in pieces for buffer in stream.packets(piece))
    return events_in(data)


def events_in(data: bytes, sequence: int = 1) -> list[bytes]:
    events: list[bytes] = []
    at, payload = 0, b""
    while at < len(data):
        length = int.from_bytes(data[at : at + 3], "little")
        assert data[at + 3] == sequence & 0xFF
        payload += data[at + 4 : at + 4 + length]
        at, sequence = at + 4 + length, sequence + 1
        if length < 0xFFFFFF:
            assert payload[0] == 0
            events.append(payload[1:])
            payload = b""
    assert at == len(data) and not payload
    return events


def as_sent(*files: BinlogFile) -> list[bytes]:
    """The events of the files as a replica should get them, artificial rotates left out."""
    return [
        for_replica(event) if kind == EventType.FORMAT_DESCRIPTION else event
        for file in files
        for _, kind, event in file.events()
        if kind not in UNSENT
    ]


def without_rotates(events: list[bytes]) -> list[bytes]:
    return [event for event in events if event[4] != EventType.ROTATE]


@settings(max_examples=25)
@given(st.integers(1, 9000))
def test_files_go_out_event_by_event_however_they_are_cut(piece_bytes: int) -> None:
    files = list(FILES.values())
    stream = outgoing()
    events = sent(stream, [piece for file in files for piece in pieces_of(file, piece_bytes)])
    assert without_rotates(events) == as_sent(*files)
    counts = stream.counts
    assert counts.transactions == sum(GtidSet.parse(FACTS[name]["gtids"]).count() for name in NAMES)
    assert (counts.left_out, counts.torn) == (0, 0)
    assert (stream.file, stream.position) == (files[-1].name, len(files[-1].data))


def test_every_file_is_announced_under_a_name_of_our_own_with_the_checksum_of_the_file_before() -> None:
    stream = outgoing()
    first = events_in(stream.announce())
    rest = b"".join(
        bytes(buffer)
        for name in ("plain", "unchecked", "xa", "ddl")
        for piece in pieces_of(FILES[name])
        for buffer in stream.packets(piece)
    )
    rotates = [event for event in (*first, *events_in(rest, 2)) if event[4] == EventType.ROTATE]
    algorithms = [ChecksumAlgorithm.CRC32] * 2 + [ChecksumAlgorithm.NONE] + [ChecksumAlgorithm.CRC32]
    places = [parse_rotate(event, how) for event, how in zip(rotates, algorithms, strict=True)]
    assert places == [Place(f"archive.{number:06}", 4) for number in (1, 2, 3, 4)]
    for event, how in zip(rotates, algorithms, strict=True):
        if how:
            check_crc(event)
        assert event[:4] == bytes(4) and event[17:19] == b"\x20\0"


def test_a_replica_without_checksums_gets_a_first_rotate_without_one() -> None:
    stream = outgoing(checksum=ChecksumAlgorithm.NONE)
    (rotate,) = events_in(stream.announce())
    assert parse_rotate(rotate, ChecksumAlgorithm.NONE) == Place("archive.000001", 4)


ALL = [
    parse_gtid_event(event, file.checksum()).gtid
    for file in FILES.values()
    for _, kind, event in file.events()
    if kind in {EventType.GTID, EventType.TAGGED_GTID}
]


def gtids_in(events: Iterable[bytes], checksum: ChecksumAlgorithm = ChecksumAlgorithm.CRC32) -> list[Gtid]:
    found: list[Gtid] = []
    for event in events:
        if event[4] == EventType.FORMAT_DESCRIPTION:
            checksum = ChecksumAlgorithm(event[-5])
        elif event[4] in {EventType.GTID, EventType.TAGGED_GTID}:
            found.append(parse_gtid_event(event, checksum).gtid)
    return found


def union(gtids: Iterable[Gtid]) -> GtidSet:
    whole = GtidSet()
    for gtid in gtids:
        whole |= gtid.as_set()
    return whole


@settings(max_examples=40)
@given(
    st.sets(st.sampled_from(ALL)),
    st.sets(st.sampled_from(ALL), max_size=5),
    st.sampled_from([None, *ALL]),
    st.integers(1, 9000),
)
def test_what_a_replica_has_is_left_out_and_nothing_goes_beyond_the_hold(
    have: set[Gtid], leave_out: set[Gtid], hold: Gtid | None, piece_bytes: int
) -> None:
    stream = outgoing(str(union(have)), leave_out=union(leave_out), hold_before=hold)
    pieces = [piece for file in FILES.values() for piece in pieces_of(file, piece_bytes)]
    events = sent(stream, pieces)
    reached = ALL[: ALL.index(hold)] if hold else ALL
    assert gtids_in(events) == [gtid for gtid in reached if gtid not in have | leave_out]
    assert stream.held == (hold is not None)
    if hold is not None:
        place, held_at = stream.position, len(events)
        assert events_in(stream.heartbeat() or b"", held_at + 1)[0][4] == EventType.HEARTBEAT_V2
        assert [bytes(part) for piece in pieces for part in stream.packets(piece)] == []
        assert stream.position == place


def test_what_was_sent_once_is_left_out_when_it_comes_again() -> None:
    """As after a failover: the new source's files hold much of what the old one's held."""
    stream = outgoing()
    again = [BinlogFile("other.000001", FILES["plain"].data), FILES["compressed"]]
    events = sent(stream, [p for file in (FILES["plain"], *again) for p in pieces_of(file)])
    assert gtids_in(events) == ALL[: len(gtids_in(as_sent(FILES["plain"], FILES["compressed"])))]
    assert stream.counts.left_out == len(gtids_in(as_sent(FILES["plain"])))


@settings(max_examples=40)
@given(st.data())
def test_a_torn_transaction_is_sent_again_when_it_comes_whole(data: st.DataObject) -> None:
    plain = FILES["plain"]
    ends = [at + len(event) for at, kind, event in plain.events() if kind not in UNSENT][2:]
    end = data.draw(st.sampled_from(ends))
    starts = [at for at, kind, _ in plain.events() if kind == EventType.GTID]
    torn = BinlogFile("old.000009", plain.data[:end])
    stream = outgoing()
    events = sent(stream, [p for file in (torn, plain) for p in pieces_of(file)])
    whole = end in [*starts, ends[-1]]
    begun = sum(start < end for start in starts)
    gtids = gtids_in(as_sent(plain))
    assert gtids_in(events) == [*gtids[:begun], *gtids[begun if whole else begun - 1 :]]
    assert stream.counts.torn == (not whole)


def test_a_torn_transaction_at_the_very_end_is_ended_by_another_file() -> None:
    """Replicas roll back when a file begins; without it, they would wait for the rest."""
    plain = FILES["plain"]
    at, _, event = next(entry for entry in plain.events() if entry[1] == EventType.TABLE_MAP)
    stream = outgoing()
    events = sent(stream, pieces_of(BinlogFile("b.1", plain.data[: at + len(event)])))
    rotate, description = events_in(stream.end_torn() or b"", len(events) + 1)
    assert rotate[4] == EventType.ROTATE and description == events[0]
    (beat,) = events_in(stream.heartbeat() or b"", len(events) + 3)
    assert parse_heartbeat(beat, ChecksumAlgorithm.CRC32) == Place("archive.000001", 4 + len(description))
    assert stream.end_torn() is None


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_transaction_is_known_as_one_though_nothing_follows_it(name: str) -> None:
    """Compressed, tagged, unchecked, prepared: every GTID event says how long its transaction is."""
    file = FILES[name]
    starts = [at for at, kind, _ in file.events() if kind in {EventType.GTID, EventType.TAGGED_GTID}]
    ends = [*starts[1:], next(at for at, kind, _ in file.events() if kind in UNSENT)]
    for end in ends:
        stream = outgoing()
        sent(stream, pieces_of(BinlogFile(name, file.data[:end])))
        assert stream.end_torn() is None


def test_whole_transactions_may_be_missing_between_pieces_and_nothing_else() -> None:
    plain = FILES["plain"]
    view = memoryview(plain.data)
    starts = [at for at, kind, _ in plain.events() if kind == EventType.GTID]
    stream = outgoing()
    holed = [Piece("b", 4, view[4 : starts[3]]), Piece("b", starts[5], view[starts[5] :])]
    assert gtids_in(sent(stream, holed)) == ALL[:3] + ALL[5 : len(starts)]
    inside = starts[2] + len(next(event for at, _, event in plain.events() if at == starts[2]))
    for lying in (
        [Piece("b", starts[1], view[starts[1] :])],
        [Piece("b", 4, view[4:inside]), Piece("b", starts[3], view[starts[3] :])],
        [Piece("b", 4, view[4 : starts[3]]), Piece("c", starts[3], view[starts[3] :])],
        [Piece("b", 4, view[4 : starts[3]]), Piece("b", starts[2], view[starts[2] :])],
    ):
        with pytest.raises(BinlogUnreadable, match="goes on at"):
            sent(outgoing(), lying)


def test_a_file_that_does_not_begin_as_one_is_refused() -> None:
    view = memoryview(FILES["plain"].data)
    second = FILES["plain"].events()[1][0]
    for data in (view[second:], view[:0], view[4:10]):
        with pytest.raises(BinlogUnreadable, match="does not begin with a format description"):
            sent(outgoing(), [Piece("b", 4, data)])
    twice = Piece("b", second, view[4:])
    with pytest.raises(BinlogUnreadable, match="second format description"):
        sent(outgoing(), [Piece("b", 4, view[4:second]), twice])


@given(st.integers(0, len(FILES["ddl"].data)), st.binary(max_size=60))
def test_a_damaged_file_is_an_error_and_never_a_crash(at: int, lie: bytes) -> None:
    whole = FILES["ddl"].data
    damaged = whole[:at] + lie + whole[at + len(lie) :]
    with suppress(ToolError):
        sent(outgoing(), [Piece("b", 4, memoryview(damaged)[4:])])


@given(st.integers(70, len(FILES["compressed"].data)))
def test_after_an_error_another_file_begins_behind_all_that_was_given_out(end: int) -> None:
    pieces = [*pieces_of(FILES["compressed"], 500)]
    pieces.append(Piece("b", 4, memoryview(FILES["ddl"].data)[4:end]))
    stream, given = outgoing(), b""
    with suppress(ToolError):
        for piece in pieces:
            for buffer in stream.packets(piece):
                given += bytes(buffer)
    given += stream.give_up() or b""
    events = events_in(given)
    assert [event[4] for event in events[-2:]] == [EventType.ROTATE, EventType.FORMAT_DESCRIPTION]
    assert stream.sequence == (len(events) + 1) & 0xFF


def test_transactions_without_a_gtid_are_refused() -> None:
    file = BinlogFile("b.7", (GOLDEN / "anonymous.binlog").read_bytes())
    with pytest.raises(ReplayFailed, match=r"b\.7 has a transaction without a GTID at \d+"):
        sent(outgoing(), pieces_of(file))


def test_a_replica_with_the_server_id_of_a_transaction_is_refused() -> None:
    """It would take the transaction for its own and drop it."""
    own = struct.unpack_from("<I", FILES["plain"].events()[2][2], 5)[0]
    with pytest.raises(ReplayFailed, match=f"the replica has server_id {own}"):
        sent(outgoing(replica_server_id=own), pieces_of(FILES["plain"]))


@pytest.mark.parametrize("length", [0xFFFFFF - 2, 0xFFFFFF - 1, 0xFFFFFF, 2 * 0xFFFFFF - 1])
def test_an_event_beyond_16_mib_goes_in_several_packets(length: int) -> None:
    head = FILES["plain"].data[: FILES["plain"].events()[2][0]]
    gtid = b"\0" + bytes(range(16)) + struct.pack("<QBqq", 1, 2, 0, 1) + bytes(7) + b"\x01"
    event = make_event(EventType.GTID, gtid + bytes(4), checksum=ChecksumAlgorithm.CRC32, server_id=1)
    body = bytes(length - 23)
    large = make_event(EventType.WRITE_ROWS, body, checksum=ChecksumAlgorithm.CRC32, server_id=1)
    assert len(large) == length
    small = make_event(EventType.XID, bytes(8), checksum=ChecksumAlgorithm.CRC32, server_id=1)
    data = head + event + large + small
    events = sent(outgoing(), [Piece("b", 4, memoryview(data)[4:])])
    assert [events[-2] == large, events[-1] == small, events[-3] == event] == [True] * 3


def test_heartbeats_name_the_file_that_the_replica_knows_and_how_far_it_was_read() -> None:
    for version, kind in ((True, EventType.HEARTBEAT_V2), (False, EventType.HEARTBEAT)):
        stream = outgoing(heartbeat_v2=version)
        count = len(events_in(stream.announce()))
        (beat,) = events_in(stream.heartbeat() or b"", count + 1)
        assert beat[4] == kind
        assert parse_heartbeat(beat, ChecksumAlgorithm.CRC32) == Place("archive.000001", 4)
        data = b"".join(bytes(b) for p in pieces_of(FILES["unchecked"]) for b in stream.packets(p))
        count += 1 + len(events_in(data, 3))
        (beat,) = events_in(stream.heartbeat() or b"", count + 1)
        place = parse_heartbeat(beat, ChecksumAlgorithm.NONE)
        assert place == Place("archive.000001", len(FILES["unchecked"].data))


def test_beyond_4_gib_only_the_second_version_of_heartbeats_is_sent() -> None:
    for version in (True, False):
        stream = outgoing(heartbeat_v2=version)
        stream.announce()
        stream.position = 2**32
        packet = stream.heartbeat()
        assert (packet is not None) == version
        if packet is not None:
            place = parse_heartbeat(events_in(packet, 2)[0], ChecksumAlgorithm.CRC32)
            assert place == Place("archive.000001", 2**32)
