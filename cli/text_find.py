"""What ``backstay find`` answers: transactions, newest last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from rich.console import RenderableType
from rich.text import Text

from cli import figures
from cli.render import render_text
from cli.tables import copyable, dim, findings_table, grid, lines
from cli.text_show import ways_back
from cli.times import rfc3339
from fleet.finding import Finding, Level
from fleet.transaction import Kind
from repository.archive.find import Found
from repository.archive.line import Line

LARGEST_COUNTED = 16 * 1024 * 1024
"""Bytes of the largest transaction whose rows are counted for a list."""

_TABLES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class FoundTransaction:
    """One that matches. ``rows`` is null if it is too large to be counted for a list."""

    gtid: str
    committed_at: str
    kinds: tuple[str, ...]
    tables: tuple[str, ...]
    rows: int | None
    log_bytes: int
    statement: str
    epoch: int
    file: str
    position: int


@dataclass(frozen=True, slots=True)
class TransactionsFound:
    """What was found, oldest first. ``more``: older ones match, too, and are not listed.

    ``findings``: transactions that were not searched, since they are in a gap or on a branch.
    """

    shard: str
    transactions: tuple[FoundTransaction, ...]
    more: bool
    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, line: Line, found: Iterable[tuple[Found, int | None]], *, more: bool) -> Self:
        """The answer for entries of ``line`` with the number of their rows."""
        told = tuple(_found(entry, rows) for entry, rows in found)
        return cls(line.archive.shard, told, more, tuple(_not_searched(line)))


def _found(entry: Found, rows: int | None) -> FoundTransaction:
    transaction = entry.transaction
    return FoundTransaction(
        gtid=str(transaction.gtid),
        committed_at=rfc3339(transaction.committed_at_us),
        kinds=tuple((kind.name or "").lower() for kind in transaction.kinds),
        tables=transaction.tables,
        rows=rows,
        log_bytes=transaction.length,
        statement=transaction.statement,
        epoch=entry.file.epoch,
        file=entry.file.file,
        position=transaction.start,
    )


def _not_searched(line: Line) -> Iterator[Finding]:
    for gap in line.gaps:
        count = figures.plural(gap.missing.count(), "transaction")
        yield Finding(Level.WARN, "gap", f"{count} before {gap.before.file} were never archived", None)
    for branch in line.branches:
        count = figures.plural(branch.gtids.count(), "transaction")
        yield Finding(
            Level.WARN,
            "branch",
            f"{count} of epoch {branch.epoch} left the line, and were not searched",
            None,
        )


@render_text.register
def _(found: TransactionsFound) -> RenderableType:
    notes: list[RenderableType] = ["", findings_table(found.findings)] if found.findings else []
    if not found.transactions:
        return lines("No archived transaction matches.", *notes)
    rows = [row for one in found.transactions for row in _rows(one)]
    return lines(grid(rows), *notes, "", *_ways_on(found))


def _rows(one: FoundTransaction) -> Iterator[tuple[RenderableType, RenderableType]]:
    """When and which; below it what it did."""
    yield one.committed_at.replace("T", " ").removesuffix("Z"), one.gtid
    loud = Kind.DDL.name and "ddl" in one.kinds
    kinds = Text("+".join(one.kinds) or "empty", style="bold" if loud else "")
    yield "", Text.assemble(kinds, f" {_deed(one)}")


def _deed(one: FoundTransaction) -> str:
    size = figures.size(one.log_bytes)
    if one.statement:
        return f"{' '.join(one.statement.split())}, {size}"
    tables = ", ".join(one.tables[:_TABLES_SHOWN])
    if len(one.tables) > _TABLES_SHOWN:
        tables += f" and {len(one.tables) - _TABLES_SHOWN} more"
    rows = "- rows" if one.rows is None else figures.plural(one.rows, "row")
    return ", ".join(part for part in (tables, rows, size) if part)


def _ways_on(found: TransactionsFound) -> Iterator[RenderableType]:
    last = found.transactions[-1].gtid
    count = figures.plural(len(found.transactions), "transaction")
    which = f"The newest {count}; older ones match, too: --limit N, --between" if found.more else count
    yield f"{which}. Times are UTC."
    yield ""
    yield dim("What one did, row by row (here the last):")
    yield copyable(f"  backstay show {found.shard} {last}")
    yield from ways_back(found.shard, last)
