"""Binlog files of a real server, beside what its own mysqlbinlog printed of them.

Recorded by tests/golden/binlogs/recapture.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from fleet.gtid import GtidSet
from fleet.transaction import Kind
from tests.binlogs import STORIES, Story
from wire.binlog.events import (
    ANONYMOUS,
    CHECKSUM_BYTES,
    ChecksumAlgorithm,
    EventType,
    check_crc,
    clear_in_use,
    decompress_payload,
    encode_gtid_set,
    for_replica,
    parse_format_description,
    parse_gtid_event,
    parse_header,
    parse_payload,
    parse_previous_gtids,
    parse_query,
    parse_rotate,
    parse_rows,
    parse_rows_query,
    parse_table_map,
    parse_xa_prepare,
    parse_xid,
)
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk, whole_events

FOLDER = Path(__file__).parents[2] / "golden" / "binlogs"
FACTS = json.loads((FOLDER / "facts.json").read_text())
ROWS = {
    EventType.WRITE_ROWS: "Write_rows",
    EventType.UPDATE_ROWS: "Update_rows",
    EventType.DELETE_ROWS: "Delete_rows",
    EventType.PARTIAL_UPDATE_ROWS: "Update_rows_partial",
}
PLAIN_NAMES = {
    EventType.PREVIOUS_GTIDS: "Previous-GTIDs",
    EventType.STOP: "Stop",
    EventType.INTVAR: "Intvar",
    EventType.RAND: "Rand",
    EventType.USER_VAR: "User_var",
    EventType.ROWS_QUERY: "Rows_query",
}


class Printed(NamedTuple):
    """One event: where it ends, its checksum, and what mysqlbinlog calls it."""

    end: int
    checksum: str
    text: str


def golden(name: str) -> bytes:
    return (FOLDER / f"{name}.binlog").read_bytes()


def printed(name: str) -> list[Printed]:
    lines = (FOLDER / f"{name}.mysqlbinlog").read_text(errors="replace").splitlines()
    found = (
        re.match(r"#\d{6} .* end_log_pos (\d+) (?:CRC32 0x([0-9a-f]{8}) )?\t(.*)", line) for line in lines
    )
    return [Printed(int(match[1]), match[2] or "", match[3]) for match in found if match]


def ours(data: bytes) -> Iterator[Printed]:
    """The same, by our own codec."""
    checksum = ChecksumAlgorithm.CRC32
    for at, kind, length in walk(data, 4):
        event = data[at : at + length]
        if kind == EventType.FORMAT_DESCRIPTION:
            checksum = parse_format_description(event).checksum
        stated = f"{int.from_bytes(event[-CHECKSUM_BYTES:], 'little'):08x}" if checksum else ""
        yield Printed(at + length, stated, name_of(event, checksum))
        if kind == EventType.TRANSACTION_PAYLOAD:
            plain = decompress_payload(event, checksum)
            for inner, _, size in walk(plain):
                text = name_of(plain[inner : inner + size], ChecksumAlgorithm.NONE)
                yield Printed(at + length, "inside", text)


def name_of(event: bytes, checksum: ChecksumAlgorithm) -> str:
    kind = EventType(parse_header(event).type)
    if kind in ROWS:
        return f"{ROWS[kind]}: table id {parse_rows(event, checksum).table_id} flags: ..."
    match kind:
        case EventType.FORMAT_DESCRIPTION:
            return f"Start: binlog v 4, server v {parse_format_description(event).server_version} created ..."
        case EventType.GTID | EventType.TAGGED_GTID | EventType.ANONYMOUS_GTID:
            gtid = parse_gtid_event(event, checksum)
            return (
                f"{'Anonymous_GTID' if gtid.gtid == ANONYMOUS else 'GTID'}\t"
                f"last_committed={gtid.last_committed}\t"
                f"sequence_number={gtid.sequence_number}\trbr_only={'no' if gtid.flags & 1 else 'yes'}\t"
                f"original_committed_timestamp={gtid.original_commit_us}\t"
                f"immediate_commit_timestamp={gtid.immediate_commit_us}\t"
                f"transaction_length={gtid.transaction_length}"
            )
        case EventType.QUERY:
            query = parse_query(event, checksum)
            facts = (query.thread_id, query.exec_seconds, query.error)
            return "Query\tthread_id={}\texec_time={}\terror_code={}".format(*facts)
        case EventType.TABLE_MAP:
            table = parse_table_map(event, checksum)
            return f"Table_map: `{table.schema}`.`{table.table}` mapped to number {table.table_id}"
        case EventType.XID:
            return f"Xid = {parse_xid(event, checksum)}"
        case EventType.XA_PREPARE:
            xa = parse_xa_prepare(event, checksum)
            return f"XA PREPARE X'{xa.global_id.hex()}',X'{xa.branch.hex()}',{xa.format_id}"
        case EventType.ROTATE:
            place = parse_rotate(event, checksum)
            return f"Rotate to {place.file}  pos: {place.position}"
        case EventType.TRANSACTION_PAYLOAD:
            payload = parse_payload(event, checksum)
            return (
                f"Transaction_Payload\t\tpayload_size={len(payload.data)}\tcompression_type=ZSTD\t"
                f"uncompressed_size={payload.uncompressed}"
            )
        case _:
            return PLAIN_NAMES[kind]


def shortened(event: Printed) -> Printed:
    """Without what only mysqlbinlog says: flags in words, local times, the xid of DDL."""
    text = re.sub(r"(flags: |created ).*", r"\1...", event.text)
    return event._replace(text=re.sub(r"(Query\t.*?)\tXid = \d+", r"\1", text))


@pytest.mark.parametrize("name", sorted(FACTS))
def test_every_event_is_read_as_mysqlbinlog_reads_it(name: str) -> None:
    theirs, mine = [shortened(event) for event in printed(name)], list(ours(golden(name)))
    # mysqlbinlog makes up checksums for the events inside of a payload.
    theirs = [
        event._replace(checksum="inside") if our.checksum == "inside" else event
        for event, our in zip(theirs, mine, strict=True)
    ]
    assert mine == theirs


@pytest.mark.parametrize("name", sorted(FACTS))
def test_gtids_are_those_that_the_server_reported(name: str) -> None:
    data = golden(name)
    checksum = parse_format_description(data[4 : 4 + parse_header(data, 4).length]).checksum
    at, kind, length = list(walk(data, 4))[1]
    assert kind == EventType.PREVIOUS_GTIDS
    previous = parse_previous_gtids(data[at : at + length], checksum)
    assert previous == GtidSet.parse(FACTS[name]["previous_gtids"])
    body = data[at + 19 : at + length - (CHECKSUM_BYTES if checksum else 0)]
    assert encode_gtid_set(previous) == body
    begun = GtidSet()
    for transaction in TransactionReader().feed(data, 0):
        if transaction.gtid != ANONYMOUS:
            begun |= transaction.gtid.as_set()
    assert begun == GtidSet.parse(FACTS[name]["gtids"])


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_every_transaction_of_a_story_is_told(story: Story) -> None:
    found = TransactionReader().feed(golden(story.name), 0)
    assert [(t.kinds, t.tables) for t in found] == [(step.kinds, step.tables) for step in story.steps]
    for transaction, step in zip(found, story.steps, strict=True):
        assert bool(transaction.statement) == bool(step.kinds & Kind.DDL)
        assert "secret" not in transaction.statement
        assert "$A$" not in transaction.statement


@pytest.mark.parametrize("name", sorted(FACTS))
def test_transactions_fill_the_file_without_a_hole(name: str) -> None:
    data = golden(name)
    found = TransactionReader().feed(data, 0)
    for before, after in pairwise(found):
        assert before.start + before.length == after.start
        assert before.committed_at_us <= after.committed_at_us
    behind = found[-1].start + found[-1].length
    (last,) = walk(data, behind)
    assert last[1] in (EventType.ROTATE, EventType.STOP)
    assert whole_events(data, 4) == len(data)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_transactions_are_the_same_event_by_event(name: str) -> None:
    data = golden(name)
    reader, found = TransactionReader(), []
    assert reader.feed(data[:4], 0) == []
    for at, _, length in walk(data, 4):
        found += reader.feed(memoryview(data)[at : at + length], at)
        assert reader.position == at + length
    assert found == TransactionReader().feed(data, 0)
    assert reader.unfinished is None


@pytest.mark.parametrize("name", sorted(FACTS))
def test_checksums_are_right_where_there_are_any(name: str) -> None:
    data = golden(name)
    for at, kind, length in walk(data, 4):
        if name != "unchecked" or kind == EventType.FORMAT_DESCRIPTION:
            check_crc(data[at : at + length])


def test_a_file_in_use_differs_from_the_closed_one_by_its_flag_alone() -> None:
    still_open, closed = golden("open"), golden("stopped")
    length = parse_header(still_open, 4).length
    first, rest = still_open[4 : 4 + length], still_open[4 + length :]
    assert parse_format_description(first).in_use
    check_crc(first)
    assert closed.startswith(still_open[:4] + clear_in_use(first) + rest)
    assert clear_in_use(clear_in_use(first)) == clear_in_use(first)
    sent = parse_format_description(for_replica(first))
    check_crc(for_replica(first))
    assert (sent.in_use, sent.created) == (False, 0)
    assert sent.version == (9, 7, 4)


def test_the_statement_before_its_rows_is_read() -> None:
    data = golden("plain")
    (text,) = [
        parse_rows_query(data[at : at + length], ChecksumAlgorithm.CRC32)
        for at, kind, length in walk(data, 4)
        if kind == EventType.ROWS_QUERY
    ]
    assert text.startswith("INSERT INTO item (name, more) VALUES ('j', ")


def test_full_and_minimal_row_metadata_say_what_they_say() -> None:
    full, minimal = (
        next(
            parse_table_map(data[at : at + length], ChecksumAlgorithm.CRC32)
            for at, kind, length in walk(data, 4)
            if kind == EventType.TABLE_MAP
        )
        for data in (golden("plain"), golden("minimal"))
    )
    assert full.names == ("id", "name", "price", "more")
    assert full.primary_key == ((0, 0),)
    assert minimal.names is None
    assert minimal.primary_key is None
    for table in (full, minimal):
        assert [column.unsigned for column in table.columns] == [True, False, False, False]
        assert [column.nullable for column in table.columns] == [False, True, True, True]
        assert table.columns[1].charset == 255
        assert table.columns[2].metadata == 10 << 8 | 2
