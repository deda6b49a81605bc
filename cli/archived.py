"""The archive on the command line: the line of a shard, and one transaction in it."""

from __future__ import annotations

from typing import NamedTuple

import typer

from cli.configured import open_fleet
from cli.opening import open_repository
from fleet.errors import NotFound
from fleet.model import Fleet
from fleet.transaction import Gtid
from repository.archive.archive import ShardArchive
from repository.archive.line import Entry, Line
from repository.repository import Repository


def open_line(context: typer.Context, shard: str) -> Line:
    """The line of the shard's newest epoch. Raises NotFound, and what configuration and store have to say.

    A shard that left the fleet keeps its archive.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    check_known(fleet, repository, shard)
    return Line.of(ShardArchive(repository, shard))


def check_known(fleet: Fleet, repository: Repository, shard: str) -> None:
    """Raise NotFound with the nearest name for a shard that has no archive, and is not in the fleet."""
    if not ShardArchive(repository, shard).epochs():
        fleet.shard(shard)


class Located(NamedTuple):
    """A transaction, and the line in which it stands: the newest one, or one that it left as a branch."""

    line: Line
    entry: Entry
    branch: bool


def locate(line: Line, gtid: Gtid) -> Located:
    """Find the transaction in the line or on one of its branches.

    Raises NotFound, whose hint says what is known of the GTID: executed before the archive began, replaced
    by a restore, missing in a gap, or never seen.
    """
    wanted = gtid.as_set()
    for branch in line.branches:
        if wanted <= branch.gtids:
            older = Line.of(line.archive, branch.epoch)
            entry = older.locate(gtid)
            if entry is not None:
                return Located(older, entry, branch=True)
    entry = line.locate(gtid)
    if entry is not None:
        return Located(line, entry, branch=False)
    raise NotFound(f"{gtid} is not in the archive of shard {line.archive.shard}", hint=_why(line, gtid))


def _why(line: Line, gtid: Gtid) -> str:
    wanted = gtid.as_set()
    if wanted <= line.skipped:
        return "A restore left it out: the shard holds its number, without its content."
    for gap in line.gaps:
        if wanted <= gap.missing:
            return f"It is in a gap: missing in the archive, before {gap.before.file}."
    if wanted <= line.first_gtids:
        return "It was executed before the archive began."
    if not line.gtids:
        return "No transaction is archived yet. See: backstay archive status"
    known = [origin.uuid for origin in line.gtids]
    if gtid.uuid not in known:
        return f"The archive holds transactions of {', '.join(dict.fromkeys(known))}."
    return f"To look for it: backstay find {line.archive.shard}. The newest may not be archived yet."
