"""``backstay archive run``: archive the binlogs of shards, until somebody stops it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Self

import typer
from rich.console import RenderableType

from backup.archive.catch_up import archive_until_now
from backup.archive.place import read_place
from backup.archive.report import ArchiverOutcome
from backup.archive.run import run_archiver
from backup.archive.status import spool_use
from cli.backups import Shards
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.render import render_text, show
from cli.tables import listing
from cli.ticker import Ticker
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import UsageError
from fleet.model import Fleet
from fleet.moments import from_microseconds
from repository.archive.archive import ShardArchive
from repository.repository import Repository

_WORTH_TELLING_BYTES = 32 * 1024 * 1024
"""A spool file goes when it is full and stored, so a little always lies there."""


@dataclass(frozen=True, slots=True)
class ShardArchived:
    """What one run did for one shard."""

    shard: str
    transactions: int
    received_bytes: int
    stored_bytes: int
    segments: int


@dataclass(frozen=True, slots=True)
class Archived:
    """How a run of the archiver ended: in order."""

    shards: tuple[ShardArchived, ...]

    @classmethod
    def of(cls, outcome: ArchiverOutcome) -> Self:
        """The outcome of a run in which no shard failed."""
        return cls(
            tuple(
                ShardArchived(
                    each.shard, each.transactions, each.received_bytes, each.stored_bytes, each.segments
                )
                for each in outcome.shards
            )
        )


def run(
    context: typer.Context,
    shards: Shards = None,
    once: Annotated[
        bool, typer.Option("--once", help="Archive what is written by now, and end: for cron.")
    ] = False,
    keep_trying: Annotated[
        bool,
        typer.Option(
            "--keep-trying", help="Begin a shard that failed again, as long as another one is archived."
        ),
    ] = False,
) -> None:
    """Archive the binlogs of some shards, or of all, as they are written.

    It follows each shard's primary, also through failovers, until Ctrl-C or SIGTERM; then it stores what it
    has received and ends. On a terminal a line says how it goes; elsewhere only alarms are told, on stderr.
    """
    fleet = open_fleet(context)
    names = [fleet.shard(name).name for name in dict.fromkeys(shards or [])]
    repository = open_repository(fleet)
    if once and keep_trying:
        raise UsageError("--once ends, and --keep-trying does not", hint="Leave one of them out.")
    archive = archive_until_now if once else partial(run_archiver, keep_trying=keep_trying)
    followed = names or [shard.name for shard in fleet.shards]
    with (
        Ticker(lambda: " · ".join(in_short(fleet, repository, name) for name in followed)) as ticker,
        invocation_of(context).interruption.orderly() as cancelled,
    ):
        outcome = archive(
            fleet, names, repository, clock=SystemClock(), cancelled=cancelled, progress=ticker.tell
        )
    show(context, Archived.of(outcome))


def in_short(fleet: Fleet, repository: Repository, shard: str) -> str:
    """``s1 at binlog.000004:1234, last commit 02:15:00``, and a spool that grows, for one line."""
    place = read_place(ShardArchive(repository, shard))
    ends = place.newest.values() if place else ()
    end = max(ends, key=lambda each: each.header.last_at_us or 0, default=None)
    waiting = spool_use(fleet, repository.repository_id, shard).bytes
    spool = f", {figures.size(waiting)} in the spool" if waiting > _WORTH_TELLING_BYTES else ""
    if end is None:
        return f"{shard}{spool}"
    at = end.header.last_at_us
    last = f", last commit {from_microseconds(at):%H:%M:%S}" if at else ""
    return f"{shard} at {end.file.file}:{end.end}{last}{spool}"


@render_text.register
def _(archived: Archived) -> RenderableType:
    rows = [
        (
            each.shard,
            figures.number(each.transactions),
            figures.size(each.received_bytes),
            figures.size(each.stored_bytes),
            figures.number(each.segments),
        )
        for each in archived.shards
    ]
    return listing(("shard", ">transactions", ">received", ">stored", ">segments"), rows)
