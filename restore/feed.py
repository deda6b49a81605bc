"""The archive as the feed of a replication source: a line's events, read ahead from the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

from fleet.clock import Clock
from fleet.errors import ArchiveGap, SourceDiverged
from fleet.gtid import GtidSet
from repository.archive.line import Entry, Line
from repository.archive.stream import stream
from repository.layout import BinlogFile
from restore.growing import NOTHING
from restore.wording import short
from wire.binlog.feed import Piece

MEMORY_BYTES = 256 << 20
POLL_SECONDS = 1.0


class ArchiveFeed:
    """A ``wire.binlog.feed.BinlogFeed`` over a line of the archive.

    ``server_version`` is that of the server that wrote the events, as the source will announce it. ``until``:
    nothing behind it is read. ``follow``: there is no end; new events are looked for, by that clock, and
    ``line`` is the newest look. ``skipped``: transactions that the replica has as empty ones. ``leave_out``:
    what nobody is to have; segments that hold nothing else are not fetched.
    """

    def __init__(
        self,
        line: Line,
        *,
        server_version: str,
        threads: int = 4,
        memory_bytes: int = MEMORY_BYTES,
        until: Entry | None = None,
        follow: Clock | None = None,
        skipped: GtidSet = NOTHING,
        leave_out: GtidSet = NOTHING,
    ) -> None:
        self.line = line
        self.server_version = server_version
        self._threads = threads
        self._memory_bytes = memory_bytes
        self._until = until
        self._follow = follow
        self._skipped = skipped
        self._leave_out = leave_out

    def pieces(self, have: GtidSet, cancelled: threading.Event) -> Iterator[Piece | None]:
        """See ``BinlogFeed``."""
        clock = self._follow
        if clock is not None:
            check_passable(self.line, have, self._skipped)
        polls = count(1)

        def look(line: Line) -> Line:
            assert clock is not None
            clock.sleep(POLL_SECONDS)
            newer = line.looked_at_again(next(polls))
            if newer is not line:
                check_passable(newer, have | line.gtids, self._skipped)
                self.line = newer
            return newer

        chunks = stream(
            self.line,
            have | self._leave_out,
            threads=self._threads,
            memory_bytes=self._memory_bytes,
            until=self._until,
            look=look if clock else None,
            cancelled=cancelled,
        )
        for chunk in chunks:
            yield Piece(_name(chunk.file), chunk.start, chunk.data) if chunk else None


def check_passable(line: Line, have: GtidSet, skipped: GtidSet) -> None:
    """Whether a replica that has ``have`` can go on along ``line``, now that it may have another course.

    Raises ``ArchiveGap`` for what it lacks and was never archived, ``SourceDiverged`` for what it has and the
    line has not.
    """
    for gap in line.gaps:
        if missing := gap.missing - have - skipped:
            raise ArchiveGap(
                f"{short(missing)} are missing in the archive, and what follows cannot be applied "
                "without them",
                hint="Take a backup, and begin again with it.",
            )
    # Only what is known to have gone another way: a list of the store may be behind.
    strayed = (line.skipped - skipped) & have
    for branch in line.branches:
        strayed = strayed | (branch.gtids & have)
    if strayed:
        raise SourceDiverged(
            f"{short(strayed)} are applied already, and do not belong to the line of epoch "
            f"{line.epoch.epoch}",
            hint="The shard's line went another way: restore anew from a backup.",
        )


def _name(file: BinlogFile) -> str:
    """Names come back after a failover or RESET BINARY LOGS, so the name alone does not tell a file."""
    return f"{file.epoch}/{file.server_uuid}/{file.file}.{file.created:08x}"
