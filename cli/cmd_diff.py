"""``backstay diff``: what became of a table since a point, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.archived import check_known
from cli.backups import Label, Shard
from cli.configured import complete_servers, open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.points import BeforeGtid, Latest, SkipGtid, To, ToGtids, recovery_target
from cli.progress import Display
from cli.render import show
from cli.text_diff import TableCompared
from fleet.errors import TablesDiffer, UsageError
from fleet.table_name import TableName
from repository.catalog import LATEST
from restore.diff import diff_table
from restore.diff_compare import EXAMPLES

Table = Annotated[str, typer.Option("--table", metavar="DB.TABLE", help="The table.")]
OfServer = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="NAME",
        help="Compare with this server, such as a replica. [default: the primary]",
        autocompletion=complete_servers,
    ),
]
Sql = Annotated[
    Path | None,
    typer.Option(
        "--sql", metavar="FILE", help="Write the statements that would undo the difference; runs none."
    ),
]
Rows = Annotated[int, typer.Option("--rows", metavar="N", min=0, help="Show so many of the rows.")]
Work = Annotated[
    Path | None,
    typer.Option("--work", metavar="DIR", help="Bring the past here. [default: where temporary files go]"),
]
Fail = Annotated[bool, typer.Option("--fail-if-different", help="End with exit code 44 if anything differs.")]


def diff(
    context: typer.Context,
    shard: Shard,
    *,
    table: Table,
    to: To = None,
    before_gtid: BeforeGtid = None,
    to_gtids: ToGtids = None,
    latest: Latest = False,
    skip_gtid: SkipGtid = None,
    server: OfServer = None,
    sql: Sql = None,
    rows: Rows = EXAMPLES,
    label: Label = LATEST,
    work: Work = None,
    fail_if_different: Fail = False,
) -> None:
    """Compare a table with what it was, row by row.

    The table is brought to the point in a private server, and compared with the live one, which is read by
    the account accounts.diff in one consistent snapshot. The definition is compared as well; of rows, the
    columns that both have. While the live table is read, an ALTER of it waits, and others behind it: for a
    large one name a replica. Nothing is changed anywhere; a difference is a result, and no error.
    """
    target = recovery_target(
        to=to, before_gtid=before_gtid, to_gtids=to_gtids, latest=latest, skip_gtid=skip_gtid
    )
    if target is None:
        raise UsageError("no point is given to compare with", hint="Give --to TIME, or --before-gtid GTID.")
    name = TableName.parse(table)
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    check_known(fleet, repository, shard)
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        result = diff_table(
            fleet,
            shard,
            name,
            target,
            repository=repository,
            server=server,
            sql=sql,
            label=label,
            work=work,
            examples=rows,
            progress=display,
            on_replay=display.replay,
            cancelled=cancelled,
        )
    told = TableCompared.of(result)
    differs = fail_if_different and not told.equal
    show(context, told, TablesDiffer(f"{name} is not what it was", hint=told.hint) if differs else None)
