"""Looks into the binlog of a source: when a file was begun, what was executed before it, what comes next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from backup.archive.parsing import read_front
from fleet.clock import Clock
from fleet.errors import ServerUnreachable
from fleet.gtid import GtidSet
from wire.binlog.dump import BinlogDump, DumpOptions, StartAt
from wire.binlog.gtids import parse_gtid_event
from wire.binlog.header import MAGIC, EventType
from wire.binlog.walk import walk
from wire.session import Session

_MOST_BATCHES = 32


class FileFront(NamedTuple):
    """``created`` is the time stamp of its format description, Unix seconds."""

    created: int
    previous: GtidSet


def probe_file(connect: Callable[[], Session], options: DumpOptions, file: str, clock: Clock) -> FileFront:
    """Receive the beginning of ``file``; without semi-sync, so nothing is acknowledged by it.

    Raises as a dump does.
    """
    data = bytearray()
    with BinlogDump.open(connect(), StartAt(file, 0), replace(options, semi_sync=False), clock=clock) as dump:
        for number, batch in enumerate(dump.batches()):
            data += batch.data
            previous = read_front(data).previous if data else None
            if previous is not None:
                return FileFront(batch.created, previous)
            if number == _MOST_BATCHES or batch.ends_file:
                break
    raise ServerUnreachable(f"the beginning of {file} does not come")


def first_commit(
    connect: Callable[[], Session], options: DumpOptions, start: StartAt, missing: GtidSet, clock: Clock
) -> int | None:
    """When the first transaction of ``missing`` behind ``start`` was committed: microseconds since 1970.

    None: it does not come soon. Nothing is acknowledged. ``options`` must not be the archiver's own, which
    this would end. Raises as a dump does.
    """
    with BinlogDump.open(connect(), start, replace(options, semi_sync=False), clock=clock) as dump:
        for number, batch in enumerate(dump.batches()):
            view = memoryview(batch.data)
            for at, kind, length in walk(view, 0 if batch.start or not view else len(MAGIC)):
                if kind in (EventType.GTID, EventType.TAGGED_GTID):
                    event = parse_gtid_event(view[at : at + length], batch.checksum)
                    if event.gtid.as_set() <= missing:
                        return event.immediate_commit_us
            if number == _MOST_BATCHES or not (batch.data or batch.ends_file):
                break
    return None
