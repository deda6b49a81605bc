"""The archive as the feed of a replication source: a line's events, read ahead from the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.clock import Clock
from fleet.gtid import GtidSet
from repository.archive.line import Entry, Line
from repository.archive.stream import stream
from repository.layout import BinlogFile
from wire.binlog.feed import Piece

MEMORY_BYTES = 256 << 20


@dataclass(frozen=True)
class ArchiveFeed:
    """A ``wire.binlog.feed.BinlogFeed`` over a line of the archive.

    ``server_version`` is that of the server that wrote the events, as the source will announce it. ``until``:
    nothing behind it is read. ``follow``: there is no end; new events are looked for, by that clock.
    """

    line: Line
    server_version: str
    threads: int = 4
    memory_bytes: int = MEMORY_BYTES
    until: Entry | None = None
    follow: Clock | None = None

    def pieces(self, have: GtidSet, cancelled: threading.Event) -> Iterator[Piece | None]:
        """See ``BinlogFeed``."""
        chunks = stream(
            self.line,
            have,
            threads=self.threads,
            memory_bytes=self.memory_bytes,
            until=self.until,
            follow=self.follow,
            cancelled=cancelled,
        )
        for chunk in chunks:
            yield Piece(_name(chunk.file), chunk.start, chunk.data) if chunk is not None else None


def _name(file: BinlogFile) -> str:
    """Names come back after a failover or RESET BINARY LOGS, so the name alone does not tell a file."""
    return f"{file.epoch}/{file.server_uuid}/{file.file}.{file.created:08x}"
