"""``backstay archive branches``: what an old primary wrote, and the new line never had."""

from __future__ import annotations

from dataclasses import dataclass

import typer
from rich.console import RenderableType

from cli.archived import open_line
from cli.backups import Shard
from cli.render import render_text, show
from cli.tables import dim, grid, lines
from cli.text_point import Neighbour, deed, told
from fleet import figures


@dataclass(frozen=True, slots=True)
class BranchShown:
    """The transactions that ``epoch`` left behind. ``gtids`` is all of them, on one line."""

    epoch: int
    gtids: str
    transactions: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class BranchesShown:
    """All branches of the shard's line, oldest first."""

    shard: str
    branches: tuple[BranchShown, ...]


def branches(context: typer.Context, shard: Shard) -> None:
    """List transactions that a failover left behind.

    An old primary wrote them, and the server that took over never had them: no restore of the shard's line
    brings them back. `show` prints what one did, `archive export` all of a branch as SQL.
    """
    line = open_line(context, shard)
    shown = [
        BranchShown(
            branch.epoch,
            branch.gtids.one_line(),
            tuple(told("branch", entry.transaction) for entry in line.branch_entries(branch)),
        )
        for branch in line.branches
    ]
    show(context, BranchesShown(shard, tuple(shown)))


@render_text.register
def _(found: BranchesShown) -> RenderableType:
    if not found.branches:
        return f"The line of shard {found.shard} left no branch behind."
    parts: list[RenderableType] = []
    for branch in found.branches:
        count = figures.plural(len(branch.transactions), "transaction")
        rows: list[tuple[RenderableType, ...]] = []
        for one in branch.transactions:
            rows += [(_moment(one), one.gtid), ("", dim(deed(one)))]
        parts += [*([""] if parts else []), f"{count} that epoch {branch.epoch} left behind:", "", grid(rows)]
    return lines(*parts, "", f"Times are UTC. What they did, as SQL: backstay archive export {found.shard}")


def _moment(one: Neighbour) -> str:
    return one.committed_at.replace("T", " ").removesuffix("Z")
