"""The codec's front door: every event of a binlog that we read or make, in one import.

A parser takes one whole event, from its header to its checksum, and the file's ``ChecksumAlgorithm`` (NONE
for events out of a compressed payload, whatever the file has). It verifies lengths, not the checksum: that is
``check_crc``. All raise BinlogUnreadable, naming the event's type, where it begins in its file, and the byte.
"""

from __future__ import annotations

from wire.binlog.description import (
    FormatDescription,
    clear_in_use,
    for_replica,
    parse_format_description,
)
from wire.binlog.fields import Buffer, Fields
from wire.binlog.gtids import (
    ANONYMOUS,
    GtidEvent,
    decode_gtid_set,
    encode_gtid_set,
    parse_gtid_event,
    parse_previous_gtids,
    uuid_text,
)
from wire.binlog.header import (
    ARTIFICIAL,
    CHECKSUM_BYTES,
    ENCRYPTED_MAGIC,
    HEADER,
    HEADER_BYTES,
    IN_USE,
    MAGIC,
    RESIDUE,
    ChecksumAlgorithm,
    EventType,
    Header,
    check_crc,
    described,
    fields_of,
    make_event,
    parse_header,
    type_name,
    unreadable,
    with_crc,
)
from wire.binlog.heartbeats import (
    Place,
    artificial_rotate,
    heartbeat,
    heartbeat_v2,
    parse_heartbeat,
    parse_rotate,
)
from wire.binlog.payload import (
    LARGEST_PAYLOAD,
    Payload,
    decompress_payload,
    parse_payload,
    payload_heads,
)
from wire.binlog.statements import (
    Incident,
    QueryEvent,
    XaPrepare,
    decode_text,
    parse_incident,
    parse_query,
    parse_rows_query,
    parse_xa_prepare,
    parse_xid,
)
from wire.binlog.tablemap import Column, ColumnType, RowsEvent, TableMap, parse_rows, parse_table_map

__all__ = [
    "ANONYMOUS",
    "ARTIFICIAL",
    "CHECKSUM_BYTES",
    "ENCRYPTED_MAGIC",
    "HEADER",
    "HEADER_BYTES",
    "IN_USE",
    "LARGEST_PAYLOAD",
    "MAGIC",
    "RESIDUE",
    "Buffer",
    "ChecksumAlgorithm",
    "Column",
    "ColumnType",
    "EventType",
    "Fields",
    "FormatDescription",
    "GtidEvent",
    "Header",
    "Incident",
    "Payload",
    "Place",
    "QueryEvent",
    "RowsEvent",
    "TableMap",
    "XaPrepare",
    "artificial_rotate",
    "check_crc",
    "clear_in_use",
    "decode_gtid_set",
    "decode_text",
    "decompress_payload",
    "described",
    "encode_gtid_set",
    "fields_of",
    "for_replica",
    "heartbeat",
    "heartbeat_v2",
    "make_event",
    "parse_format_description",
    "parse_gtid_event",
    "parse_header",
    "parse_heartbeat",
    "parse_incident",
    "parse_payload",
    "parse_previous_gtids",
    "parse_query",
    "parse_rotate",
    "parse_rows",
    "parse_rows_query",
    "parse_table_map",
    "parse_xa_prepare",
    "parse_xid",
    "payload_heads",
    "type_name",
    "unreadable",
    "uuid_text",
    "with_crc",
]
