"""``backstay archive branches``: what an old primary wrote, and the new line never had."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.archived import open_line
from cli.backups import Shard, by_uuid
from cli.render import render_text, show
from cli.tables import dim, grid, lines
from cli.text_point import Neighbour, deed, told
from fleet import figures
from fleet.moments import from_microseconds
from fleet.transaction import Transaction
from repository.archive.line import Line
from repository.archive.reckoning import Branch


@dataclass(frozen=True, slots=True)
class BranchShown:
    """The transactions that ``epoch`` left behind. ``gtids`` is all of them, on one line, and ``count`` how
    many; they were committed from ``first_at`` to ``last_at``. ``transactions`` are the newest of them.
    """

    epoch: int
    gtids: str
    count: int
    first_at: datetime | None
    last_at: datetime | None
    transactions: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class BranchesShown:
    """All branches of the shard's line, oldest first."""

    shard: str
    branches: tuple[BranchShown, ...]


Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, help="List at most the newest so many of each branch.")
]


def branches(context: typer.Context, shard: Shard, *, limit: Limit = 20) -> None:
    """List transactions that a failover left behind.

    An old primary wrote them, and the server that took over never had them: no restore of the shard's line
    brings them back. `show` prints what one did, `archive export` all of a branch as SQL.
    """
    line = open_line(context, shard)
    shown = tuple(_shown(line, branch, limit) for branch in line.branches)
    show(context, BranchesShown(shard, shown))


def _shown(line: Line, branch: Branch, limit: int) -> BranchShown:
    newest: deque[Transaction] = deque(maxlen=limit)
    first_us = last_us = None
    for entry in line.branch_entries(branch):
        at_us = entry.transaction.committed_at_us
        first_us = at_us if first_us is None else min(first_us, at_us)
        last_us = at_us if last_us is None else max(last_us, at_us)
        newest.append(entry.transaction)
    return BranchShown(
        epoch=branch.epoch,
        gtids=branch.gtids.one_line(),
        count=branch.gtids.count(),
        first_at=None if first_us is None else from_microseconds(first_us),
        last_at=None if last_us is None else from_microseconds(last_us),
        transactions=tuple(told("branch", transaction) for transaction in newest),
    )


@render_text.register
def _(found: BranchesShown) -> RenderableType:
    if not found.branches:
        return f"The line of shard {found.shard} left no branch behind."
    parts: list[RenderableType] = []
    for branch in found.branches:
        parts += [*([""] if parts else []), *_summary(branch), "", grid(_rows(branch))]
    return lines(*parts, "", f"Times are UTC. What they did, as SQL: backstay archive export {found.shard}")


def _summary(branch: BranchShown) -> Iterator[RenderableType]:
    yield f"{figures.plural(branch.count, 'transaction')} that epoch {branch.epoch} left behind:"
    if branch.first_at is not None and branch.last_at is not None:
        yield f"committed {figures.moment(branch.first_at)} to {figures.moment(branch.last_at)}"
    yield by_uuid(branch.gtids)
    if len(branch.transactions) < branch.count:
        yield f"The newest {len(branch.transactions)} of them; --limit lists more."


def _rows(branch: BranchShown) -> Iterator[tuple[RenderableType, ...]]:
    for one in branch.transactions:
        yield _moment(one), one.gtid
        yield "", dim(deed(one))


def _moment(one: Neighbour) -> str:
    return one.committed_at.replace("T", " ").removesuffix("Z")
