"""``backstay show``: what one transaction did, from the archive alone."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import typer

from cli.archived import locate, open_line
from cli.backups import Shard
from cli.invocation import invocation_of
from cli.render import show, show_text
from cli.text_show import ROWS_SHOWN, SqlLine, TransactionShown, TransactionSql
from fleet.errors import UsageError
from fleet.transaction import Gtid
from repository.archive.excerpts import Excerpts
from wire.binlog.changes import changes
from wire.binlog.describe import describe_transaction
from wire.binlog.sql_export import PREAMBLE, export_sql

GtidArgument = Annotated[
    str, typer.Argument(metavar="GTID", help="As `find` shows it: uuid:number, or uuid:tag:number.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=0, help=f"Show at most so many rows. [default: {ROWS_SHOWN}]"),
]
AsSql = Annotated[
    bool, typer.Option("--sql", help="Print SQL that does the same again, all rows of it; nothing is run.")
]


def show_transaction(
    context: typer.Context, shard: Shard, gtid: GtidArgument, *, limit: Limit = None, sql: AsSql = False
) -> None:
    """Show what one archived transaction did, row by row.

    Only the archive is asked; no server need be there. Column names are known if the source logged them
    (binlog_row_metadata=FULL); else columns are called @1, @2 and so on. A TIMESTAMP is shown in UTC.
    """
    if sql and limit is not None:
        raise UsageError("--limit and --sql exclude each other", hint="SQL is printed whole.")
    wanted = Gtid.parse(gtid)
    located = locate(open_line(context, shard), wanted)
    pieces = Excerpts(located.line).pieces(located.entry)
    if not sql:
        detail = describe_transaction(pieces, most_rows=ROWS_SHOWN if limit is None else limit)
        show(context, TransactionShown.of(shard, located, detail))
        return
    statements = export_sql(changes(pieces))
    if invocation_of(context).as_json:
        show(context, TransactionSql(shard, str(wanted), PREAMBLE, tuple(statements)))
        return
    # Printed as it is read: a transaction may be larger than our memory.
    for statement in chain(PREAMBLE, statements):
        show_text(SqlLine(statement))
