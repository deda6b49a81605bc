"""Does a transaction hold some bytes: in its statements, rows or names, compressed or not?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from zlib import crc32

from wire.binlog.fields import Buffer
from wire.binlog.header import HEADER_BYTES, RESIDUE, ChecksumAlgorithm, EventType
from wire.binlog.payload import decompress_payload
from wire.binlog.walk import walk

_PAYLOAD_WITHIN = 2
"""A compressed transaction is its GTID event and its payload; a piece may begin with either."""


def holds_text(pieces: Iterable[Buffer], text: str) -> bool:
    """Whether the UTF-8 bytes of ``text`` stand in one of the events, behind its header.

    ``pieces`` are whole events of one transaction. Text in another character set is not found, nor a number
    that the log holds in binary. Raises BinlogUnreadable.
    """
    pattern = re.compile(re.escape(text.encode("utf-8", "surrogateescape")))
    return any(_holds(memoryview(piece), pattern) for piece in pieces)


def _holds(view: memoryview, pattern: re.Pattern[bytes]) -> bool:
    # Most transactions hold it nowhere: one search over all of their bytes says so at once.
    if pattern.search(view) and any(
        pattern.search(view[at + HEADER_BYTES : at + length]) for at, _, length in walk(view)
    ):
        return True
    return any(
        pattern.search(_unpacked(view[at : at + length])) is not None
        for at, kind, length in islice(walk(view), _PAYLOAD_WITHIN)
        if kind == EventType.TRANSACTION_PAYLOAD
    )


def _unpacked(event: memoryview) -> bytes:
    checksum = ChecksumAlgorithm.CRC32 if crc32(event) == RESIDUE else ChecksumAlgorithm.NONE
    return decompress_payload(event, checksum)
