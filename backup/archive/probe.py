"""Looks into one binlog file of a source: when it was begun, and what was executed before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from backup.archive.parsing import read_front
from fleet.clock import Clock
from fleet.errors import ServerUnreachable
from fleet.gtid import GtidSet
from wire.binlog.dump import BinlogDump, DumpOptions, StartAt
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
