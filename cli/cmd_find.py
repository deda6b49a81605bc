"""``backstay find``: which transactions touched a table, when, and how much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from functools import reduce
from itertools import islice
from operator import or_
from typing import Annotated

import typer

from cli.archived import open_line
from cli.backups import Shard
from cli.render import show
from cli.sizes import parse_size_option
from cli.text_find import LARGEST_COUNTED, MOST_COUNTED, TransactionsFound
from cli.times import parse_time_option
from fleet.errors import BinlogUnreadable, UsageError
from fleet.transaction import Kind
from repository.archive.excerpts import Excerpts
from repository.archive.find import Found, Query, find
from wire.binlog.changes import count_rows
from wire.binlog.search import holds_text


class KindName(StrEnum):
    """What can be looked for."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    DDL = "ddl"


Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table", metavar="DB.TABLE", help="Touches this table; * and ? stand for any; repeatable."
    ),
]
Kinds = Annotated[
    list[KindName] | None,
    typer.Option("--kind", metavar="insert|update|delete|ddl", help="Does this; repeatable."),
]
Between = Annotated[
    tuple[str, str] | None,
    typer.Option("--between", metavar="TIME TIME", help="Committed then, such as 2026-03-01T02:15:00Z."),
]
TextOption = Annotated[
    str | None, typer.Option("--text", metavar="TEXT", help="Holds this text, in a statement or in a row.")
]
BiggerThan = Annotated[
    str | None, typer.Option("--bigger-than", metavar="SIZE", help="Larger in the binlog, such as 10MB.")
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="List at most the newest so many.")]


def find_transactions(
    context: typer.Context,
    shard: Shard,
    *,
    table: Tables = None,
    kind: Kinds = None,
    between: Between = None,
    text: TextOption = None,
    bigger_than: BiggerThan = None,
    limit: Limit = 20,
) -> None:
    """Find transactions in the archive of a shard.

    The newest that match are listed, the last of them at the end. All options given must hold. Only --text
    reads the transactions themselves, and takes longer: it finds UTF-8 text as it was written, also in
    compressed transactions.
    """
    query = Query(
        tables=tuple(_pattern(one) for one in table or ()),
        kinds=reduce(or_, (Kind[one.name] for one in kind or ()), Kind.EMPTY),
        between=_moments(between),
        bigger_than=None if bigger_than is None else parse_size_option(bigger_than, "--bigger-than"),
        newest_first=True,
    )
    if text == "":
        raise UsageError("--text is empty", hint="Every transaction holds that.")
    line = open_line(context, shard)
    excerpts = Excerpts(line)
    matching = _holding(find(line, query), excerpts, text)
    found = list(islice(matching, limit))
    more = next(matching, None) is not None
    counted = list(_counted(found, excerpts))
    show(context, TransactionsFound.of(line, reversed(counted), more=more))


def _holding(entries: Iterator[Found], excerpts: Excerpts, text: str | None) -> Iterator[Found]:
    if text is None:
        return entries
    return (entry for entry in entries if holds_text(excerpts.pieces(entry), text))


def _counted(found: Iterable[Found], excerpts: Excerpts) -> Iterator[tuple[Found, int | None]]:
    """With the rows that each changed; None where reading them would take long, or is not possible."""
    left = MOST_COUNTED
    for entry in found:
        length = entry.transaction.length
        if length > min(left, LARGEST_COUNTED):
            yield entry, None
            continue
        left -= length
        try:
            yield entry, count_rows(excerpts.pieces(entry))
        except BinlogUnreadable:
            # What one transaction holds must not hide all others; `show` says what is wrong with it.
            yield entry, None


def _pattern(text: str) -> str:
    if "." not in text:
        raise UsageError(
            f"--table: {text!r} does not say in which database",
            hint=f"Write db.{text}, or *.{text} for any of them.",
        )
    return text


def _moments(between: tuple[str, str] | None) -> tuple[datetime | None, datetime | None]:
    if between is None:
        return None, None
    first, last = (parse_time_option(text, "--between") for text in between)
    if last < first:
        raise UsageError("--between ends before it begins", hint="The earlier time comes first.")
    return first, last
