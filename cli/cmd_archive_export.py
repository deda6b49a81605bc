"""``backstay archive export``: the transactions of a branch as SQL, to carry over what is worth it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated

import typer

from cli.archived import open_line
from cli.backups import Shard
from cli.invocation import invocation_of
from cli.render import show, show_text
from cli.text_show import SqlLine
from fleet.errors import NotFound, UsageError
from repository.archive.excerpts import Excerpts
from repository.archive.line import Line
from repository.archive.reckoning import Branch
from wire.binlog.changes import changes
from wire.binlog.sql_export import PREAMBLE, export_sql

BranchOption = Annotated[
    int | None,
    typer.Option("--branch", metavar="EPOCH", help="The epoch of the branch. [default: if there is but one]"),
]


@dataclass(frozen=True, slots=True)
class BranchSql:
    """The transactions of one branch as SQL: what to say first, once, and the statements in order."""

    shard: str
    epoch: int
    gtids: str
    preamble: tuple[str, ...]
    statements: tuple[str, ...]


def export_branch(context: typer.Context, shard: Shard, *, branch: BranchOption = None) -> None:
    """Print what a lost primary alone had, as SQL.

    That is a branch: transactions that its successor never had, archived, and never replayed. Nothing is
    run. Read the SQL, and run what is to be kept; rows may have changed in the line meanwhile.
    """
    line = open_line(context, shard)
    chosen = _chosen(line, branch)
    statements = _statements(line, chosen)
    if invocation_of(context).as_json:
        gtids = chosen.gtids.one_line()
        show(context, BranchSql(shard, chosen.epoch, gtids, PREAMBLE, tuple(statements)))
        return
    # Printed as it is read: a branch may be larger than our memory.
    for statement in chain(PREAMBLE, statements):
        show_text(SqlLine(statement))


def _chosen(line: Line, epoch: int | None) -> Branch:
    shard, branches = line.archive.shard, line.branches
    if not branches:
        raise NotFound(
            f"shard {shard} has no branch", hint="All of its archived transactions are in its line."
        )
    found = [one for one in branches if epoch in (None, one.epoch)]
    epochs = ", ".join(str(one.epoch) for one in branches)
    if not found:
        raise NotFound(f"epoch {epoch} of shard {shard} left no branch", hint=f"There are those of {epochs}.")
    if len(found) > 1:
        raise UsageError(f"shard {shard} has {len(found)} branches", hint=f"Give --branch: one of {epochs}.")
    return found[0]


def _statements(line: Line, branch: Branch) -> Iterator[str]:
    """In the order in which their server committed them."""
    older = Line.of(line.archive, branch.epoch)
    excerpts = Excerpts(older)
    missing = branch.gtids
    parts = [number for number, part in enumerate(older.parts) if part.wanted & branch.gtids]
    for entry in chain.from_iterable(map(older.entries, parts)):
        gtid = entry.transaction.gtid.as_set()
        if gtid <= branch.gtids:
            missing = missing - gtid
            yield from export_sql(changes(excerpts.pieces(entry)))
    if missing:
        yield f"-- not in the archive: {missing.one_line()}"
