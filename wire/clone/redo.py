"""The redo log of a clone: where it starts, where recovery starts, where it ends.

The donor sends the archived log, then a header for the first file, then the last block of the last file; the
client invents nothing. Each file has a header of 2048 bytes, then blocks of 512.
Source: storage/innobase/include/log0types.h, log0constants.h, arch0log.cc of MySQL 8.0 to 9.7.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from fleet.errors import ProtocolViolation
from wire.clone import keys
from wire.clone.outcome import RedoFacts

HEADER_BYTES = 2048
_BLOCK_BYTES = 512
_CHECKPOINT = 512
_KEY = 2 * _BLOCK_BYTES + 48
_LENGTH_MASK = 0x7FFF


class RedoLog:
    """Looks at the redo blocks as they pass; made for several reader threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._header: bytes | None = None
        self._last: tuple[int, int, int] = (0, 0, 0)
        self._received: dict[int, int] = {}

    def header(self, data: memoryview) -> None:
        """The header of the first file; a key in it is wrapped in place, so that a server can read it."""
        if len(data) != HEADER_BYTES:
            raise ProtocolViolation(f"a redo header has {HEADER_BYTES} bytes, not {len(data)}")
        info = data[_KEY : _KEY + keys.INFO_BYTES]
        if keys.holds_key(info):
            keys.rewrap(info)
        self._header = bytes(data)

    def block(self, file: int, offset: int, data: memoryview) -> None:
        """Data of redo file number ``file``; the block that lies last tells where the log ends."""
        with self._lock:
            self._received[file] = self._received.get(file, 0) + len(data)
            tail = data[-_BLOCK_BYTES:]
            begin = offset + len(data) - len(tail)
            if (file, begin) >= self._last[:2]:
                self._last = (file, begin, int.from_bytes(tail[4:6], "big") & _LENGTH_MASK)

    def facts(self, sizes: Mapping[int, int]) -> RedoFacts:
        """What the log says, once all of it came. ``sizes``: bytes of each file, by number.

        Raises ProtocolViolation when a part is missing.
        """
        header = self._header
        if header is None:
            raise ProtocolViolation("the redo log came without its header")
        last, begin, used = self._last
        self._check_complete(sizes, last, begin)
        start_lsn = _number(header, 8, 8)
        bytes_before = last * (sizes[last] - HEADER_BYTES) + begin - HEADER_BYTES
        return RedoFacts(
            start_lsn=start_lsn,
            checkpoint_lsn=_number(header, _CHECKPOINT + 8, 8),
            end_lsn=start_lsn + bytes_before + used,
        )

    def _check_complete(self, sizes: Mapping[int, int], last: int, begin: int) -> None:
        if last not in sizes or sorted(sizes) != list(range(len(sizes))):
            raise ProtocolViolation(f"the redo log ends in file {last} of those announced: {sorted(sizes)}")
        for number in range(last + 1):
            wanted = sizes[number] if number < last else begin + _BLOCK_BYTES
            received = self._received.get(number, 0)
            if received < wanted:
                raise ProtocolViolation(f"{received} of {wanted} bytes of redo file {number} came")


def _number(header: bytes, offset: int, width: int) -> int:
    return int.from_bytes(header[offset : offset + width], "big")
