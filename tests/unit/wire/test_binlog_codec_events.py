"""Single events: made, read back, and refused when they lie."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import BinlogUnreadable
from fleet.gtid import LAST_NUMBER, GtidSet, Interval, Origin
from fleet.transaction import Gtid
from tests.made_binlogs import UUID, MadeFile, gtid_body, query, signed_varint, tagged_body, varint
from wire.binlog.events import (
    ARTIFICIAL,
    ChecksumAlgorithm,
    EventType,
    Fields,
    Header,
    Place,
    artificial_rotate,
    check_crc,
    clear_in_use,
    decode_gtid_set,
    encode_gtid_set,
    for_replica,
    heartbeat,
    heartbeat_v2,
    make_event,
    parse_format_description,
    parse_gtid_event,
    parse_header,
    parse_heartbeat,
    parse_incident,
    parse_previous_gtids,
    parse_query,
    parse_rotate,
    parse_rows,
    parse_rows_query,
    parse_xa_prepare,
    parse_xid,
    type_name,
)
from wire.binlog.fields import packed
from wire.binlog.walk import walk, whole_events

# Busy machines are slow, and say nothing about the codec.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NONE, CRC32 = ChecksumAlgorithm.NONE, ChecksumAlgorithm.CRC32
checksums = st.sampled_from(ChecksumAlgorithm)
uuids = st.uuids().map(str)
tags = st.from_regex(r"[a-z_][a-z0-9_]{0,31}", fullmatch=True)
numbers = st.integers(1, LAST_NUMBER)
intervals = st.tuples(numbers, st.integers(0, 1000)).map(
    lambda pair: Interval(pair[0], min(sum(pair), LAST_NUMBER))
)
gtid_sets = st.lists(
    st.builds(Origin, uuids, st.just("") | tags, st.lists(intervals, min_size=1, max_size=4).map(tuple)),
    max_size=6,
).map(GtidSet)
file_names = st.from_regex(r"[a-z0-9_.-]{1,40}", fullmatch=True)
times = st.integers(1, (1 << 55) - 1)


@patient
@given(gtid_sets, checksums)
def test_a_gtid_set_is_read_back(gtids: GtidSet, checksum: ChecksumAlgorithm) -> None:
    assert decode_gtid_set(encode_gtid_set(gtids)) == gtids
    event = make_event(EventType.PREVIOUS_GTIDS, encode_gtid_set(gtids), checksum=checksum)
    assert parse_previous_gtids(event, checksum) == gtids


def test_gtid_sets_have_the_bytes_that_a_server_writes() -> None:
    assert encode_gtid_set(GtidSet()) == bytes(8)
    uuid = bytes.fromhex(UUID.replace("-", ""))
    one = b"\1" + bytes(7)
    assert encode_gtid_set(GtidSet.parse(f"{UUID}:5-7")) == one + uuid + one + struct.pack("<QQ", 5, 8)
    tagged = encode_gtid_set(GtidSet.parse(f"{UUID}:1:t:2"))
    assert tagged == (
        (b"\1\2" + bytes(5) + b"\1" + uuid + b"\0" + one + struct.pack("<QQ", 1, 2))
        + (uuid + b"\2t" + one + struct.pack("<QQ", 2, 3))
    )


@patient
@given(gtid_sets.filter(bool), st.data())
def test_every_truncation_of_a_gtid_set_is_refused(gtids: GtidSet, data: st.DataObject) -> None:
    encoded = encode_gtid_set(gtids)
    with pytest.raises(BinlogUnreadable, match="an encoded GTID set is truncated"):
        decode_gtid_set(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(BinlogUnreadable, match="1 bytes too many"):
        decode_gtid_set(encoded + b"\0")


def test_gtid_sets_that_mean_nothing_are_refused() -> None:
    uuid, one = bytes.fromhex(UUID.replace("-", "")), b"\1" + bytes(7)
    for data, match in (
        (one + uuid + one + struct.pack("<QQ", 5, 5), "no transactions are numbered"),
        (one + uuid + one + struct.pack("<QQ", 0, 5), "no transactions are numbered"),
        (one + uuid + one + struct.pack("<QQ", 5, 1 << 63), "no transactions are numbered"),
        (b"\0\1" + bytes(5) + b"\1", "unknown form"),
        (b"\1\1" + bytes(5) + b"\1" + uuid + b"\3x", "tag of 3/2 bytes"),
        (b"\1\1" + bytes(5) + b"\1" + uuid + b"\x42", "tag of 66/2 bytes"),
        (b"\1\1" + bytes(5) + b"\1" + uuid + b"\2\xff", "not ASCII"),
        (b"\1\1" + bytes(5) + b"\1" + uuid + b"\2-" + one + struct.pack("<QQ", 1, 2), "malformed GTID set"),
        (b"\xff" * 6 + bytes(2) + uuid, "truncated"),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            decode_gtid_set(data)


@patient
@given(st.builds(Gtid, uuids, tags, numbers), st.integers(0, 1 << 40), times, st.none() | times, checksums)
def test_a_tagged_gtid_event_is_read_back(
    gtid: Gtid, length: int, committed: int, original: int | None, checksum: ChecksumAlgorithm
) -> None:
    body = tagged_body(gtid, length, committed, original)
    event = parse_gtid_event(make_event(EventType.TAGGED_GTID, body, checksum=checksum), checksum)
    assert (event.gtid, event.transaction_length) == (gtid, length)
    assert (event.immediate_commit_us, event.original_commit_us) == (committed, original or committed)
    assert (event.last_committed, event.sequence_number) == (gtid.number - 1, gtid.number)
    assert event.server_version == 90704


@patient
@given(st.builds(Gtid, uuids, st.just(""), numbers), st.integers(0, 1 << 40), times, st.none() | times)
def test_a_gtid_event_is_read_back(gtid: Gtid, length: int, committed: int, original: int | None) -> None:
    body = gtid_body(gtid, length, committed, original, flags=1)
    event = parse_gtid_event(make_event(EventType.GTID, body, checksum=CRC32), CRC32)
    assert (event.gtid, event.transaction_length, event.flags) == (gtid, length, 1)
    assert (event.immediate_commit_us, event.original_commit_us) == (committed, original or committed)


def test_gtid_events_of_older_servers_say_less() -> None:
    for since, clock in (("5.6", 0), ("5.7", 9)):
        body = gtid_body(Gtid(UUID, "", 9), 0, 0, since=since)
        event = parse_gtid_event(make_event(EventType.GTID, body, checksum=NONE), NONE)
        assert (event.gtid.number, event.sequence_number, event.transaction_length) == (9, clock, 0)


def test_gtid_events_that_mean_nothing_are_refused() -> None:
    plain = gtid_body(Gtid(UUID, "", 9), 100, 5)
    tagged = tagged_body(Gtid(UUID, "t", 9), 100, 5)
    fields = tagged[3:]
    kinds = {EventType.GTID: plain, EventType.TAGGED_GTID: tagged}
    for kind, body, match in (
        (EventType.GTID, gtid_body(Gtid(UUID, "", 0), 100, 5), "has transaction number 0"),
        (EventType.GTID, plain[:25] + b"\3" + plain[26:], "logical clock of unknown kind 3"),
        (EventType.TAGGED_GTID, varint(2) + tagged[1:], "message of version 2"),
        (EventType.TAGGED_GTID, tagged + b"\0", "says that its message has"),
        (EventType.TAGGED_GTID, tagged[:2] + varint(13) + fields, "cannot be read without its field 12"),
        (EventType.TAGGED_GTID, tagged[:3] + varint(5) + fields[1:], "has field 1 after field 5"),
        (EventType.TAGGED_GTID, varint(1) + varint(3) + varint(0), "names no uuid"),
        (EventType.XID, bytes(8), "where a GTID event should be"),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            parse_gtid_event(make_event(kind, body, checksum=NONE), NONE)
    for kind, body in kinds.items():
        for cut in range(1, 20):
            event = make_event(kind, body[:cut], checksum=NONE)
            with pytest.raises(BinlogUnreadable, match=r"truncated|says that its message"):
                parse_gtid_event(event, NONE)


@patient
@given(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1))
def test_integers_of_every_kind_are_read_back(number: int, signed: int) -> None:
    for data, expected in ((packed(number), number), (varint(number), number)):
        fields = Fields(data, "it")
        assert (fields.packed() if data == packed(number) else fields.varint()) == expected
        fields.finish()
    fields = Fields(varint(number) + signed_varint(signed), "it")
    assert (fields.varint(), fields.signed_varint()) == (number, signed)
    fields.finish()


@patient
@given(file_names, st.integers(0, 2**64 - 1), checksums)
def test_places_on_a_connection_are_read_back(name: str, position: int, checksum: ChecksumAlgorithm) -> None:
    place = Place(name, position)
    rotate = artificial_rotate(place, server_id=7, checksum=checksum)
    assert parse_rotate(rotate, checksum) == place
    assert parse_header(rotate) == Header(0, EventType.ROTATE, 7, len(rotate), 0, ARTIFICIAL)
    assert parse_heartbeat(heartbeat_v2(place, server_id=7, checksum=checksum), checksum) == place
    small = Place(name, position % 2**32)
    assert parse_heartbeat(heartbeat(small, server_id=7, checksum=checksum), checksum) == small


def test_a_heartbeat_of_version_1_names_no_place_beyond_four_gibibytes() -> None:
    with pytest.raises(ValueError, match="4294967296"):
        heartbeat(Place("b.1", 1 << 32), server_id=1, checksum=NONE)


def test_a_rotate_read_by_the_wrong_checksum_rule_is_no_file_name() -> None:
    event = artificial_rotate(Place("binlog.000001", 4), server_id=1, checksum=CRC32)
    with pytest.raises(BinlogUnreadable, match="names a binlog file"):
        parse_rotate(event, NONE)
    for name in (b"", b"../etc/passwd", b"a\0b", b"\xff"):
        event = make_event(EventType.ROTATE, bytes(8) + name, checksum=NONE)
        with pytest.raises(BinlogUnreadable, match="names a binlog file"):
            parse_rotate(event, NONE)


def test_heartbeats_of_version_2_must_be_whole() -> None:
    for body, match in (
        (b"\0", "names no file or no position"),
        (b"\1\1b\0", "no position"),
        (b"\2\1\5\0", "names no file"),
        (b"\1\1b\2\1\5", "truncated"),
        (b"\1\1b\2\2\5\5\0", "too many"),
        (b"\1\1b\2\1\5\0\0", "too many"),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            parse_heartbeat(make_event(EventType.HEARTBEAT_V2, body, checksum=NONE), NONE)
    unknown = b"\7\2xx\1\1b\2\1\5\0"
    assert parse_heartbeat(make_event(EventType.HEARTBEAT_V2, unknown, checksum=NONE), NONE) == Place("b", 5)


def test_a_format_description_is_read_and_changed() -> None:
    file = MadeFile(NONE, in_use=True)
    length = parse_header(file.data, 4).length
    event = bytes(file.data[4 : 4 + length])
    found = parse_format_description(event)
    assert (found.server_version, found.version, found.checksum) == ("9.7.4", (9, 7, 4), NONE)
    assert (found.in_use, found.created, len(found.post_header_lengths)) == (True, 0, 42)
    assert not parse_format_description(clear_in_use(event)).in_use
    check_crc(event)
    check_crc(clear_in_use(event))
    created = event[:71] + b"\1\2\3\4" + event[75:]
    with pytest.raises(BinlogUnreadable, match="has checksum"):
        check_crc(created)
    check_crc(for_replica(created))
    assert for_replica(created) == clear_in_use(event)


def test_a_format_description_of_something_else_is_refused() -> None:
    good = bytes(MadeFile().data[23 : 4 + parse_header(MadeFile().data, 4).length - 4])
    for body, match in (
        (b"\3\0" + good[2:], "binlog version 3"),
        (good[:56] + b"\x13"[:0] + b"\x14" + good[57:], "headers have 20 bytes"),
        (good[:-1] + b"\2", "unknown checksum algorithm 2"),
        (good[:57], "truncated"),
        (good[:20], "truncated"),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            parse_format_description(make_event(EventType.FORMAT_DESCRIPTION, body, checksum=CRC32))


@patient
@given(st.binary(max_size=60), st.data())
def test_one_wrong_bit_is_a_wrong_checksum(body: bytes, data: st.DataObject) -> None:
    event = make_event(EventType.XID, body, checksum=CRC32, log_pos=1000)
    check_crc(event)
    changed = bytearray(event)
    # Type, length and flags aside: those are other errors.
    place = data.draw(st.sampled_from([*range(4), *range(5, 9), *range(19, len(event))]))
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BinlogUnreadable, match=r"XID event at .* has checksum 0x"):
        check_crc(changed)


def test_headers_that_cannot_be_are_refused() -> None:
    event = make_event(EventType.XID, bytes(8), checksum=NONE, log_pos=1000)
    for data, at, match in (
        (event[:18], 0, "an event header at 0 is truncated: 18 of 19 bytes"),
        (event, 15, "an event header at 15 is truncated"),
        (event, 1000, "an event header at 1000 is truncated: 0 of"),
        (
            event[:9] + struct.pack("<I", 18) + event[13:],
            0,
            "an? XID event at 0 says that it is 18 bytes long",
        ),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            parse_header(data, at)
    for changed in (event + b"\0", event[:-1]):
        with pytest.raises(
            BinlogUnreadable, match=f"an? XID event at 973 says 27 bytes, but {len(changed)} are"
        ):
            parse_xid(changed, NONE)
    with pytest.raises(BinlogUnreadable, match="no room for its checksum"):
        parse_xid(make_event(EventType.XID, b"\0", checksum=NONE), CRC32)
    assert type_name(99) == "type 99"


def test_a_query_is_read_with_the_variables_that_matter() -> None:
    status = (
        (b"\0" + bytes(4) + b"\1" + (5).to_bytes(8, "little") + b"\6\3std")
        + (b"\4" + struct.pack("<HHH", 8, 8, 255) + b"\5\3UTC" + b"\x0c\2a\0bc\0")
        + (b"\x0b\1u\1h" + b"\x0c\xfe" + b"\2\3std\0" + b"\x11" + bytes(8) + b"\x7f anything")
    )
    kind, body = query("SELECT 'ä'".encode("cp1252"), status=status)
    found = parse_query(make_event(kind, body, checksum=CRC32), CRC32)
    assert (found.schema, found.text, found.charset) == ("app", "SELECT 'ä'", 8)
    assert (found.sql_mode, found.time_zone, found.thread_id) == (5, "UTC", 7)


def test_a_query_that_lies_is_refused() -> None:
    kind, body = query("SELECT 1", status=b"\5\3UTC")
    for changed, match in (
        (body[:8] + b"\xff" + body[9:], "truncated"),
        (body[:11] + b"\xff\xff" + body[13:], "truncated"),
        (body[:8] + b"\2" + body[9:], "no zero byte after its schema"),
        (
            body[:14] + b"\x09" + body[15:],
            "the status variables of a QUERY event .* is truncated|are truncated",
        ),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            parse_query(make_event(kind, changed, checksum=NONE), NONE)


def test_small_events_are_read() -> None:
    xa = b"\1" + struct.pack("<iII", -1, 2, 1) + b"gtb"
    found = parse_xa_prepare(make_event(EventType.XA_PREPARE, xa, checksum=NONE), NONE)
    assert (found.one_phase, found.format_id, found.global_id, found.branch) == (True, -1, b"gt", b"b")
    with pytest.raises(BinlogUnreadable, match="has an xid of 100 and 29 bytes"):
        body = b"\0" + struct.pack("<iII", 1, 100, 29) + bytes(129)
        parse_xa_prepare(make_event(EventType.XA_PREPARE, body, checksum=NONE), NONE)
    incident = parse_incident(make_event(EventType.INCIDENT, b"\1\0\4lost", checksum=CRC32), CRC32)
    assert (incident.number, incident.message) == (1, "lost")
    text = make_event(EventType.ROWS_QUERY, b"\5INSERT ...", checksum=NONE)
    assert parse_rows_query(text, NONE) == "INSERT ..."


def test_rows_events_of_both_versions_are_taken_apart() -> None:
    front = (90).to_bytes(6, "little") + b"\1\0"
    v1 = parse_rows(make_event(EventType.UPDATE_ROWS_V1, front + b"\2\3\1values", checksum=CRC32), CRC32)
    assert (v1.table_id, v1.flags, v1.width, v1.before, v1.after) == (90, 1, 2, b"\3", b"\1")
    assert bytes(v1.rows) == b"values"
    v2 = parse_rows(make_event(EventType.WRITE_ROWS, front + b"\5\0xyz\1\1", checksum=NONE), NONE)
    assert (v2.extra, v2.before, v2.after, bytes(v2.rows)) == (b"xyz", b"", b"\1", b"")
    gone = parse_rows(make_event(EventType.DELETE_ROWS, front + b"\2\0\1\1", checksum=NONE), NONE)
    assert (gone.before, gone.after) == (b"\1", b"")
    for body, match in (
        (front + b"\1\0\1\1", "extra part has 1 bytes"),
        (front + b"\xff\0\1\1", "truncated"),
        (front + b"\2\0\xfd\0\0\1" + bytes(9000), "65536 columns"),
        (front + b"\2\0\xff", "255 where a packed integer"),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            parse_rows(make_event(EventType.DELETE_ROWS, body, checksum=NONE), NONE)


def test_walking_stops_at_the_first_event_that_is_not_whole() -> None:
    event = make_event(EventType.XID, bytes(8), checksum=NONE)
    data = event * 3
    assert list(walk(data)) == [(0, 16, 27), (27, 16, 27), (54, 16, 27)]
    assert list(walk(data, 27)) == [(27, 16, 27), (54, 16, 27)]
    assert whole_events(b"") == 0
    for cut in range(1, 27):
        assert whole_events(data[:-cut]) == 54
        assert whole_events(memoryview(data)[:-cut], 54) == 54
        with pytest.raises(BinlogUnreadable, match="at byte 54 is cut off"):
            list(walk(data[:-cut]))
    short = bytearray(data)
    short[27 + 9] = 18
    for read in (whole_events, lambda data: list(walk(data))):
        with pytest.raises(BinlogUnreadable, match="at byte 27 says that it is 18 bytes long"):
            read(short)
