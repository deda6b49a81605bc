"""From where to receive. By file and position as a rule: byte-exact, in the middle of a transaction too.

With semi-sync, asking for a position tells the source that everything before it is durable here. So the
spool is on disk, or stored, before its end is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

from backup.archive.place import Place
from backup.archive.probe import probe_file
from backup.archive.report import Mode
from backup.archive.sources import EpochChange, SourceFacts, diverged
from backup.archive.spool import Spool
from backup.archive.uploader import Uploader
from fleet.clock import Clock
from fleet.errors import ServerUnreachable, SourceDiverged
from fleet.gtid import GtidSet
from wire.binlog.dump import BinlogGone, DumpOptions, StartAt, find_file
from wire.binlog_admin import binlog_files
from wire.session import Session


class Start(NamedTuple):
    """``is_at_end``: the file is archived up to its end, and only the next one brings more."""

    at: StartAt
    is_at_end: bool


def start_by_file(
    place: Place,
    source_uuid: str,
    spool: Spool,
    uploader: Uploader,
    *,
    mode: Mode,
    cancelled: threading.Event,
) -> Start | None:
    """Where the spool or the store ends, durably; None for a source that the epoch has nothing of yet."""
    tail = spool.tail
    if tail is not None and tail.file[:2] == (place.epoch.epoch, source_uuid):
        if mode == "store-sync":
            uploader.drain(cancelled)
        elif mode == "local-sync":
            spool.sync()
        return Start(StartAt(tail.file.file, tail.end, tail.file.created), tail.closed is not None)
    newest = place.newest.get(source_uuid)
    if newest is None:
        return None
    at = StartAt(newest.file.file, newest.end, newest.file.created)
    return Start(at, newest.header.closed is not None)


def start_by_gtids(
    place: Place, source: SourceFacts, connect: Callable[[], Session], options: DumpOptions, clock: Clock
) -> Start:
    """The beginning of the file in which the first transaction stands that is not archived.

    The oldest file, if nothing is archived, or if what follows was purged: the uploader notes the gap when
    it sees what was executed before it. Raises ``SourceDiverged`` when the source lacks what is archived.
    """
    if place.epoch.server_uuid == source.uuid and (lost := place.archived - source.executed):
        raise SourceDiverged(
            f"server {source.name} no longer has {lost.count()} transactions that are archived: "
            f"{lost.one_line()}",
            hint="Was RESET BINARY LOGS AND GTIDS run there?",
        )
    file: str | None = None
    if place.archived:
        try:
            file = find_file(connect, options, place.archived, clock=clock)
        except BinlogGone:
            file = None
    return Start(StartAt(file or oldest_file(connect), 0), is_at_end=False)


def oldest_file(connect: Callable[[], Session]) -> str:
    """Raises ``ServerUnreachable``."""
    with closing(connect()) as session:
        files = binlog_files(session)
    if not files:
        raise ServerUnreachable("the source lists no binlog file")
    return files[0].name


def divergence(
    place: Place, source: SourceFacts, connect: Callable[[], Session], options: DumpOptions, clock: Clock
) -> EpochChange:
    """What is left of the line after the source lost its tail, or was reset.

    Its transactions up to the first file that the archive does not have are still the same ones. After a
    crash that is the file behind the one whose tail was lost; after a reset it is the oldest.
    """
    with closing(connect()) as session:
        names = [file.name for file in binlog_files(session)]
    if not names:
        raise ServerUnreachable(f"server {source.name} lists no binlog file")
    first = names[0]
    newest = place.newest.get(source.uuid)
    if newest is not None and newest.file.file in names[:-1]:
        at = names.index(newest.file.file)
        if probe_file(connect, options, names[at], clock).created == newest.file.created:
            first = names[at + 1]
    previous = probe_file(connect, options, first, clock).previous
    # What SET gtid_purged declares as contained, is.
    return diverged(place.archived, previous | _declared(source, first, names))


def _declared(source: SourceFacts, first: str, names: list[str]) -> GtidSet:
    return source.purged if first == names[0] else GtidSet()
