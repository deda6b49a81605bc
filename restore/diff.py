"""What became of a table since a point in the past: the story.

The past is a private server, the present is read on the shard's primary (or on the server named) in one
consistent snapshot, by an account that may do nothing but read. Nothing is changed anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fleet.clock import Clock, SystemClock
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from fleet.table_name import TableName
from repository.archive.beyond import HeldBeyond
from repository.catalog import LATEST
from repository.repository import Repository
from restore.complete_file import refuse_existing
from restore.diff_compare import EXAMPLES, Compared, Sides, compare_tables
from restore.diff_source import LiveTable, find_live_table, open_past
from restore.point import RecoveryTarget
from restore.replay import ReplayState
from restore.table_restore import BroughtTables, bring_tables
from restore.workroom import open_workroom
from wire.table_reading import Moment


@dataclass(frozen=True)
class TableDiff:
    """The past (``gtid_executed`` reached at ``reached_at`` from backup ``label``) beside the live table of
    ``server``. ``sql``: the file of statements that was written, None where none was asked for.
    ``beyond``: a newer backup with transactions that the archive, whose end the past is, did not reach.
    """

    shard: str
    table: TableName
    server: str
    asked: str
    label: str
    reached_at: datetime | None
    stopped_before: str | None
    gtid_executed: str
    compared: Compared
    sql: Path | None
    seconds: float
    stage_seconds: Mapping[str, float]
    beyond: HeldBeyond | None = None


def diff_table(
    fleet: Fleet,
    shard: str,
    table: TableName,
    target: RecoveryTarget,
    *,
    repository: Repository,
    server: str | None = None,
    sql: Path | None = None,
    label: str = LATEST,
    work: Path | None = None,
    examples: int = EXAMPLES,
    clock: Clock | None = None,
    progress: Progress | None = None,
    on_replay: Callable[[ReplayState], None] | None = None,
    cancelled: threading.Event | None = None,
) -> TableDiff:
    """Compare ``table`` of ``shard`` as it was at ``target`` with what it is now, row by row.

    ``work`` is where the past is brought, for as long as it takes; default: a temporary directory. Raises
    what ``bring_tables`` and ``find_live_table`` raise, and TargetRefused when ``sql`` is there already.
    """
    clock, progress = clock or SystemClock(), progress or Silent()
    stop = cancelled or threading.Event()
    began = clock.monotonic()
    if sql is not None:
        refuse_existing(sql)
    # Whatever is wrong with the live side is told before the long part.
    live = find_live_table(fleet, shard, table, server=server)
    with ExitStack() as stack:
        room = stack.enter_context(open_workroom(work))
        brought = stack.enter_context(
            bring_tables(
                fleet,
                shard,
                [table],
                target,
                room / "data",
                repository=repository,
                label=label,
                clock=clock,
                progress=progress,
                on_replay=on_replay,
                cancelled=stop,
            )
        )
        there = clock.monotonic()
        progress.stage("compare")
        sides = Sides(lambda: open_past(brought.server), live.open, brought.tables[0], live.table)
        compared = compare_tables(
            sides,
            sql=sql,
            heading=lambda moment, notes: _heading(brought, live, moment, notes),
            examples=examples,
            progress=progress,
            cancelled=stop,
        )
        ended = clock.monotonic()
    told = _told(shard, live, brought, compared)
    seconds = {"bring": there - began, "compare": ended - there}
    return replace(told, sql=sql, seconds=ended - began, stage_seconds=seconds)


def _told(shard: str, live: LiveTable, brought: BroughtTables, compared: Compared) -> TableDiff:
    """All but the file and the times."""
    return TableDiff(
        shard=shard,
        table=live.table,
        server=live.server.name,
        asked=brought.asked,
        label=brought.label,
        reached_at=brought.reached_at,
        stopped_before=brought.stopped_before,
        gtid_executed=brought.gtid_executed,
        compared=compared,
        sql=None,
        seconds=0.0,
        stage_seconds={},
        beyond=brought.beyond,
    )


def _heading(brought: BroughtTables, live: LiveTable, moment: Moment, notes: Sequence[str]) -> Iterator[str]:
    """What a reader of the statements must know, the most important first."""
    yield f"What would bring {live.table} on server {live.server.name} back to: {brought.asked}."
    yield "Nothing of it was run. Read it, and take out what should stay as it is now."
    yield f"The past: gtid_executed {GtidSet.parse(brought.gtid_executed).one_line()}"
    if brought.beyond is not None:
        yield f"Careful: {brought.beyond.told}. What they wrote is no damage, and undone here all the same."
    yield f"The live table: gtid_executed {moment.low.one_line()}; what was written later is not in here."
    yield from (f"Note: {note}." for note in notes)
