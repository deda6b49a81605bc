"""From the source into the spool, and the acknowledgements back.

A commit is acknowledged only when its events are durable where the mode says, and all events before them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from backup.archive.news import NewsKind
from backup.archive.spool import Spool
from fleet.errors import Cancelled, SpoolFull
from fleet.model import ArchiveConfig
from repository.archive.segment import Closed
from repository.layout import BinlogFile
from wire.binlog.dump import Batch, BinlogDump

_LOOK_SECONDS = 0.25


class Acknowledging(Protocol):
    """A dump, to those who acknowledge."""

    def acknowledge(self, file: str, position: int) -> None: ...


class _Wanted(NamedTuple):
    mark: int
    file: str
    position: int


class Acknowledgements:
    """What the source waits for until it is in the store; one connection after the other.

    ``expect`` and ``connect`` belong to the receiver, ``stored`` to the uploader.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: deque[_Wanted] = deque()
        self._dump: Acknowledging | None = None
        self._stored_mark = 0

    def connect(self, dump: Acknowledging | None) -> None:
        """Answers go to ``dump`` from now on; what the connection before still waited for is forgotten."""
        with self._lock:
            self._dump = dump
            self._wanted.clear()

    def expect(self, mark: int, file: str, position: int) -> None:
        """Acknowledge ``position`` once everything up to ``mark`` is stored."""
        with self._lock:
            self._wanted.append(_Wanted(mark, file, position))
        self.stored(self._stored_mark)

    def stored(self, mark: int) -> None:
        """Everything up to ``mark`` is stored: one answer lets all commits go that waited for it."""
        with self._lock:
            self._stored_mark = max(mark, self._stored_mark)
            last: _Wanted | None = None
            while self._wanted and self._wanted[0].mark <= self._stored_mark:
                last = self._wanted.popleft()
            dump = self._dump
        if last is not None and dump is not None:
            dump.acknowledge(last.file, last.position)


class Origin(NamedTuple):
    """Whose files these are, in which epoch."""

    epoch: int
    server_uuid: str

    def file(self, batch: Batch) -> BinlogFile:
        return BinlogFile(self.epoch, self.server_uuid, batch.file, batch.created)


class Receiver:
    """Takes what a dump brings, for as long as it brings something.

    ``check`` raises what stopped the uploader. ``torn`` is called with a file that ended in a crash.
    """

    def __init__(
        self,
        spool: Spool,
        policy: ArchiveConfig,
        acknowledgements: Acknowledgements,
        cancelled: threading.Event,
        *,
        check: Callable[[], None],
        tell: Callable[[NewsKind, str], None],
        torn: Callable[[BinlogFile, int], None],
    ) -> None:
        self.received_bytes = 0
        self._spool = spool
        self._policy = policy
        self._acknowledgements = acknowledgements
        self._cancelled = cancelled
        self._check = check
        self._tell = tell
        self._torn = torn

    def receive(self, dump: BinlogDump, origin: Origin, *, is_at_end: bool) -> None:
        """Until the dump is closed.

        ``is_at_end``: the first file is archived to its end, and only the next one brings more.

        Raises as the dump does; ``SpoolFull`` where the policy is to stop; ``DiskFull``; and as ``check``.
        """
        self._acknowledgements.connect(dump)
        try:
            has_come = not is_at_end
            for batch in dump.batches():
                self._check()
                if self._cancelled.is_set():
                    return
                self._take(dump, origin, batch)
                if batch.ended_by == "torn" and (has_come or batch.data):
                    self._torn(origin.file(batch), batch.end)
                has_come = has_come or bool(batch.data) or batch.ends_file
        finally:
            self._acknowledgements.connect(None)

    def _take(self, dump: BinlogDump, origin: Origin, batch: Batch) -> None:
        if batch.data:
            self._wait_for_room(len(batch.data))
            closed: Closed | None = batch.ended_by
            self._spool.append(origin.file(batch), batch.start, batch.data, closed)
            self.received_bytes += len(batch.data)
        if batch.ack_wanted and self._policy.mode == "store-sync":
            self._acknowledgements.expect(self._spool.mark, batch.file, batch.end)
        elif batch.ack_wanted and self._policy.mode == "local-sync":
            self._spool.sync()
            dump.acknowledge(batch.file, batch.end)

    def _wait_for_room(self, count: int) -> None:
        if self._spool.has_room(count):
            return
        bound = f"the spool has reached its bound of {self._policy.spool_max_bytes} bytes"
        if self._policy.when_full == "stop":
            raise SpoolFull(
                f"{bound}, and the store takes nothing",
                hint="Bring the store back and start again: what is in the spool goes first. "
                "The source keeps its binlogs for binlog_expire_logs_seconds.",
            )
        self._tell("spool-full", f"{bound}; the source is read again when the store has taken some of it")
        while True:
            changes = self._spool.changes
            if self._spool.has_room(count):
                break
            self._check()
            if self._cancelled.is_set():
                raise Cancelled("stopped while the spool was full")
            self._spool.wait_for_change(changes, _LOOK_SECONDS)
        self._tell("recovered", "the spool has room again")
