"""Bytes of a real server, mutated: whatever comes, the codec says what is wrong, or reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import BinlogUnreadable
from wire.binlog import events
from wire.binlog.events import ChecksumAlgorithm, EventType, make_event
from wire.binlog.sql_text import excerpt, read_sql
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk, whole_events

FOLDER = Path(__file__).parents[2] / "golden" / "binlogs"
FILES = [path.read_bytes() for path in sorted(FOLDER.glob("*.binlog"))]
# Busy machines are slow, and say nothing about the codec.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NONE, CRC32 = ChecksumAlgorithm.NONE, ChecksumAlgorithm.CRC32


class Event(NamedTuple):
    kind: EventType
    body: bytes


def bodies() -> list[Event]:
    """The body of every event, also of those inside of payloads; one of each heartbeat."""
    found = set[Event]()
    for data in FILES:
        checksum = CRC32
        for at, kind, length in walk(data, 4):
            event = data[at : at + length]
            if kind == EventType.FORMAT_DESCRIPTION:
                checksum = events.parse_format_description(event).checksum
            found.add(Event(EventType(kind), event[19 : length - (4 if checksum else 0)]))
            if kind == EventType.TRANSACTION_PAYLOAD and length < 500:
                plain = events.decompress_payload(event, checksum)
                if len(plain) < 10_000:
                    found |= {Event(EventType(k), plain[a + 19 : a + n]) for a, k, n in walk(plain)}
    place = events.Place("binlog.000001", 1 << 33)
    found.add(Event(EventType.HEARTBEAT, place.file.encode()))
    found.add(Event(EventType.HEARTBEAT_V2, events.heartbeat_v2(place, server_id=1, checksum=NONE)[19:]))
    return sorted(found)


BODIES = bodies()
PARSERS: tuple[Callable[[bytes, ChecksumAlgorithm], object], ...] = (
    events.parse_gtid_event,
    events.parse_heartbeat,
    events.parse_incident,
    events.parse_payload,
    events.parse_previous_gtids,
    events.parse_query,
    events.parse_rotate,
    events.parse_rows,
    events.parse_rows_query,
    events.parse_table_map,
    events.parse_xa_prepare,
    events.parse_xid,
    lambda event, checksum: events.decompress_payload(event, checksum, most_bytes=1 << 22),
    lambda event, checksum: list(events.payload_heads(event, checksum, 100)),
    lambda event, _: events.parse_format_description(event),
    lambda event, _: events.for_replica(event),
)
MUTATIONS = st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=4)


def mutated(data: bytes, mutations: list[tuple[int, int]], cut: int, more: bytes) -> bytes:
    changed = bytearray(data[: len(data) - cut] if cut else data) + more
    for place, value in mutations:
        if changed:
            changed[place % len(changed)] = value
    return bytes(changed)


@settings(patient, max_examples=500)
@given(
    st.sampled_from(BODIES),
    MUTATIONS,
    st.integers(0, 12),
    st.binary(max_size=12),
    st.sampled_from(ChecksumAlgorithm),
    st.sampled_from((None, *EventType)),
)
def test_a_mutated_event_is_read_or_refused(
    event: Event,
    mutations: list[tuple[int, int]],
    cut: int,
    more: bytes,
    checksum: ChecksumAlgorithm,
    kind: EventType | None,
) -> None:
    made = make_event(kind or event.kind, mutated(event.body, mutations, cut, more), checksum=checksum)
    for parse in PARSERS:
        try:
            parse(made, checksum)
        except BinlogUnreadable as error:
            assert error.message


@given(st.sampled_from(BODIES), st.data())
@settings(patient, max_examples=300)
def test_every_truncation_of_an_event_is_refused_by_name(event: Event, data: st.DataObject) -> None:
    whole = make_event(event.kind, event.body, checksum=NONE)
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for parse in PARSERS:
        try:
            parse(short, NONE)
        except BinlogUnreadable as error:
            # Its own header already disagrees with what is there.
            assert "truncated" in error.message or "are there" in error.message
        else:
            raise AssertionError("a truncated event was read")


@given(st.sampled_from(FILES), MUTATIONS, st.integers(0, 12), st.binary(max_size=12))
@settings(patient, max_examples=300)
def test_a_mutated_file_is_read_or_refused(
    data: bytes, mutations: list[tuple[int, int]], cut: int, more: bytes
) -> None:
    changed = mutated(data, mutations, cut, more)
    for verify in (True, False):
        try:
            TransactionReader(verify=verify).feed(changed, 0)
        except BinlogUnreadable as error:
            assert error.message
    try:
        assert whole_events(changed, 4) <= len(changed)
        assert all(length >= 19 for _, _, length in walk(changed, 4))
    except BinlogUnreadable as error:
        assert error.message


@given(st.sampled_from([data for data in FILES if len(data) < 9000]), st.data())
@settings(patient, max_examples=300)
def test_one_flipped_bit_of_a_file_with_checksums_never_passes(data: bytes, drawn: st.DataObject) -> None:
    first = 4 + int.from_bytes(data[13:17], "little")
    if not events.parse_format_description(data[4:first]).checksum:
        return
    place = drawn.draw(st.integers(first, len(data) - 1))
    changed = bytearray(data)
    changed[place] ^= 1 << drawn.draw(st.integers(0, 7))
    try:
        TransactionReader().feed(bytes(changed), 0)
    except BinlogUnreadable:
        return
    raise AssertionError(f"a flipped bit at {place} passed")


@given(st.text(max_size=80), st.text(max_size=10))
@settings(patient, max_examples=300)
def test_any_text_is_some_statement(text: str, schema: str) -> None:
    for verb in ("", "DROP TABLE ", "ALTER TABLE ", "CREATE ", "RENAME TABLE ", "DELETE ", "XA "):
        statement = verb + text
        read_sql(statement, schema)
        assert len(excerpt(statement)) <= 200


@given(st.binary(max_size=200))
@settings(patient, max_examples=500)
def test_any_bytes_are_a_gtid_set_or_refused(data: bytes) -> None:
    try:
        gtids = events.decode_gtid_set(data)
    except BinlogUnreadable as error:
        assert "an encoded GTID set" in error.message
    else:
        assert events.decode_gtid_set(events.encode_gtid_set(gtids)) == gtids
