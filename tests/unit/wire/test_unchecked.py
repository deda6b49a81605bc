"""Events are altered so that a replica checks no foreign keys on them, and in nothing else."""

from __future__ import annotations

import struct

import pytest

from tests.made_binlogs import BEGIN, query, rows, table_map, xid
from wire.binlog.events import ChecksumAlgorithm, EventType, make_event
from wire.binlog.fields import packed
from wire.binlog.header import check_crc
from wire.binlog.payload import decompress_payload
from wire.binlog.statements import parse_query
from wire.binlog.tablemap import parse_rows
from wire.binlog.unchecked import without_foreign_keys
from wire.binlog.walk import walk

CRC32 = ChecksumAlgorithm.CRC32
FLAGS2 = struct.pack("<BI", 0, 0x4000)


@pytest.mark.parametrize(
    "kind", [EventType.WRITE_ROWS, EventType.UPDATE_ROWS, EventType.DELETE_ROWS, EventType.WRITE_ROWS_V1]
)
@pytest.mark.parametrize("checksum", list(ChecksumAlgorithm))
def test_a_rows_event_says_that_nobody_checked(kind: EventType, checksum: ChecksumAlgorithm) -> None:
    body = rows(kind)[1]
    event = make_event(kind, body, checksum=checksum)
    altered = without_foreign_keys(kind, event, checksum)
    assert len(altered) == len(event)
    assert altered[25] == event[25] | 2
    assert altered[:25] + altered[26 : 19 + len(body)] == event[:25] + event[26 : 19 + len(body)]
    if checksum:
        check_crc(altered)


def test_a_statement_says_that_its_session_did_not_check() -> None:
    kind, body = query("ALTER TABLE t ADD c INT", status=FLAGS2)
    altered = without_foreign_keys(kind, make_event(kind, body, checksum=CRC32), CRC32)
    check_crc(altered)
    assert struct.unpack_from("<I", altered, 19 + 13 + 1) == (0x4000 | 1 << 26,)
    assert parse_query(altered, CRC32).sql == b"ALTER TABLE t ADD c INT"


def test_a_statement_without_flags_stays_as_it_is() -> None:
    kind, body = query("BEGIN")
    event = make_event(kind, body, checksum=CRC32)
    assert without_foreign_keys(kind, event, CRC32) == event


def test_a_compressed_transaction_is_altered_inside() -> None:
    inside = [BEGIN, table_map("t"), rows(EventType.WRITE_ROWS), xid()]
    plain = b"".join(make_event(kind, body, checksum=ChecksumAlgorithm.NONE) for kind, body in inside)
    payload = packed(1) + packed(len(packed(len(plain)))) + packed(len(plain))
    body = payload + packed(2) + packed(3) + packed(255) + packed(0) + plain
    event = make_event(EventType.TRANSACTION_PAYLOAD, body, checksum=CRC32, server_id=7, log_pos=1000)
    altered = without_foreign_keys(EventType.TRANSACTION_PAYLOAD, event, CRC32)
    check_crc(altered)
    found = memoryview(decompress_payload(altered, CRC32))
    assert len(found) == len(plain)
    flags = [
        parse_rows(found[at : at + length], ChecksumAlgorithm.NONE).flags
        for at, kind, length in walk(found)
        if kind == EventType.WRITE_ROWS
    ]
    assert flags == [3]
