"""Receive a source's binlogs as a replica does: the same bytes, file by file, as they lie on its disk.

A dump is resumed *by file*, from any event boundary, also in the middle of a transaction. After a failover,
where the new source has other files, ``find_file`` asks by GTID set which of them to begin with; it is then
received whole, so that it stays byte-exact: what is archived twice in this way is recognised by its GTIDs.

Errors: ArchiveGap (the binlog was purged; a ``BinlogGone`` with the GTIDs that the source names),
SourceDiverged (the source lost its tail, or has another file of this name), ArchiverReplaced (somebody else
receives under our uuid), BinlogUnreadable (an event is damaged), ServerRefused and ServerUnsupported,
ProtocolViolation, and ServerUnreachable, the only one that is worth a retry: connection lost, shutdown,
silence for three heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from fleet.clock import Clock, SystemClock
from fleet.errors import ProtocolViolation, ServerUnreachable
from fleet.gtid import GtidSet
from wire.binlog.batch import Batch, Ending
from wire.binlog.dump_errors import BinlogGone, source_error
from wire.binlog.dump_messages import FIRST_POSITION, acknowledgement, dump, register_replica
from wire.binlog.link import Link, LinkClosed
from wire.binlog.reading import Reading
from wire.packet import frame, parse_answer, payload_length
from wire.session import Session

__all__ = ["Batch", "BinlogDump", "BinlogGone", "DumpOptions", "Ending", "StartAt", "find_file"]

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class DumpOptions:
    """Who we are to the source, and what we ask of it.

    A second dump with the same ``replica_uuid`` ends the first: so two archivers of one shard must share it,
    and nobody else may have it. ``server_id`` must be unique in the fleet. ``semi_sync``: let commits wait
    for us.
    """

    server_id: int
    replica_uuid: str
    heartbeat_seconds: float = 2.0
    semi_sync: bool = False
    report_host: str = "backstay"
    patience: int = 3


class StartAt(NamedTuple):
    """Resume ``file`` at an event boundary; 0 is its beginning.

    ``created`` is the time stamp of the file's format description, if it is known: another one is divergence.
    With semi-sync a start acknowledges all that lies before it: ``position`` must be durable.
    """

    file: str
    position: int
    created: int | None = None


class BinlogDump:
    """One connection that receives binlogs, one file after the other, for ever. A context manager.

    ``batches`` is for one thread; ``acknowledge`` and ``close`` may be called by any.
    """

    def __init__(self, link: Link, reading: Reading) -> None:
        self._link = link
        self._reading = reading

    @classmethod
    def open(
        cls, session: Session, start: StartAt, options: DumpOptions, *, clock: Clock | None = None
    ) -> BinlogDump:
        """Turn ``session`` into a dump from ``start``; the session is used up, whatever comes of it."""
        position = max(start.position, FIRST_POSITION)
        asked = f"{start.file} from {position}"
        command = dump(options.server_id, file=start.file, position=position)
        link = _ask(session, command, options, clock or SystemClock())
        try:
            reading = Reading(
                link,
                asked=asked,
                period_seconds=options.heartbeat_seconds,
                patience=options.patience,
                created=start.created,
            )
            begun = reading.begin()
            if begun != (start.file, position):
                raise ProtocolViolation(
                    f"{link.peer} sends {begun.file} from {begun.position}, we asked for {asked}"
                )
        except BaseException:
            link.close()
            raise
        return cls(link, reading)

    @property
    def has_semi_sync(self) -> bool:
        """Does the source speak semi-sync with us? Only if we asked for it, and it has the plugin loaded."""
        return self._reading.has_semi_sync

    def batches(self) -> Iterator[Batch]:
        """What arrives, up to 1 MiB at a time; a larger event makes a batch alone. Ends after ``close``.

        Yields an empty batch after each heartbeat, and when nothing came for a heartbeat period. Raises the
        errors named above; after one of them, or to go on elsewhere, open a new dump.
        """
        with suppress(LinkClosed):
            while True:
                yield self._reading.batch()

    def acknowledge(self, file: str, position: int) -> None:
        """Tell the source that its binlogs are durable here up to ``position`` of ``file`` (semi-sync).

        It lets all commits go on that end there or before. Without semi-sync, and after ``close``, nothing
        happens.
        """
        if self.has_semi_sync:
            with suppress(LinkClosed):
                self._link.send(frame(acknowledgement(file, position)))

    def close(self) -> None:
        """Leave at once; a thread that waits in ``batches`` comes to its end. Closing twice is fine."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_file(
    connect: Callable[[], Session], options: DumpOptions, have: GtidSet, *, clock: Clock | None = None
) -> str:
    """The file in which the first transaction stands that is not in ``have``; go on from its beginning.

    Raises as a dump does: BinlogGone when transactions outside of ``have`` are purged already, SourceDiverged
    when ``have`` holds transactions of this source that it does not have itself.
    """
    # Without semi-sync: the question itself would acknowledge what comes before the answer.
    plain = replace(options, semi_sync=False)
    link = _ask(connect(), dump(options.server_id, have=have), plain, clock or SystemClock())
    try:
        asked = "the transactions that the archive does not have"
        return Reading(link, asked=asked, period_seconds=options.heartbeat_seconds).begin().file
    finally:
        link.close()


def _ask(session: Session, command: bytes, options: DumpOptions, clock: Clock) -> Link:
    """Introduce ourselves, register, and send the dump command."""
    try:
        _introduce(session, options)
    except BaseException:
        session.close()
        raise
    link = Link(session.detach(), clock)
    try:
        link.send(frame(register_replica(options.server_id, options.report_host)))
        refusal = parse_answer(_answer(link))
        if refusal is not None:
            raise source_error(refusal, link.peer, "its binlogs")
        link.send(frame(command))
    except BaseException:
        link.close()
        raise
    return link


def _introduce(session: Session, options: DumpOptions) -> None:
    """The session variables that the source looks at; each under the name of old servers too."""
    nanoseconds = round(options.heartbeat_seconds * 1e9)
    session.query(
        "SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32',"
        " @source_heartbeat_period = %s, @master_heartbeat_period = %s, @replica_uuid = %s, @slave_uuid = %s",
        (nanoseconds, nanoseconds, options.replica_uuid, options.replica_uuid),
    )
    if options.semi_sync:
        session.query("SET @rpl_semi_sync_replica = 1, @rpl_semi_sync_slave = 1")


def _answer(link: Link) -> bytes:
    header = _exactly(link, 4)
    return _exactly(link, payload_length(header))


def _exactly(link: Link, length: int) -> bytes:
    answer = bytearray()
    while len(answer) < length:
        part = memoryview(bytearray(length - len(answer)))
        got = link.receive(part, _ANSWER_SECONDS)
        if not got:
            raise ServerUnreachable(f"{link.peer} does not answer our registration")
        answer += part[:got]
    return bytes(answer)
