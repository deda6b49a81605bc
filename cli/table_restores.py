"""``backstay restore --table``: single tables to a point. Options, plan, deed, result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from cli.archived import check_known
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.progress import Display
from cli.render import show
from cli.restoring import Restoring, is_agreed
from cli.text_tables import TablesPlanned
from fleet.errors import UsageError
from fleet.table_name import TableName
from restore.full import Leave
from restore.point import RecoveryTarget
from restore.table_delivery import Wanted, plan_table_restore, restore_tables

Tables: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="DB.TABLE",
        help="Bring this table alone, to a point; may be repeated. DIR is only worked in.",
    ),
]
Export: TypeAlias = Annotated[
    Path | None,
    typer.Option("--export", metavar="DIR", help="With --table: tablespaces that a live server can import."),
]
Sql: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--sql", metavar="FILE", help="With --table: as SQL; of several tables, a directory of files."
    ),
]


def restore_some_tables(
    context: typer.Context,
    shard: str,
    tables: list[str],
    target: RecoveryTarget | None,
    wish: Restoring,
    *,
    export: Path | None,
    sql: Path | None,
) -> None:
    """Tables of one shard, up to a transaction of its archive."""
    if target is None:
        raise UsageError("--table needs a point to bring the table to", hint="Give --to TIME, or --latest.")
    if wish.delta or wish.check is not None:
        raise UsageError(
            "--table begins with an empty directory, and checks each table",
            hint="Leave --delta and --check out.",
        )
    names = [TableName.parse(table) for table in tables]
    wanted = Wanted(running=wish.leave is Leave.RUNNING, export=export, sql=sql)
    wanted.check()
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    check_known(fleet, repository, shard)
    plan = plan_table_restore(
        fleet, shard, names, target, wish.into, wanted=wanted, repository=repository, label=wish.label
    )
    if not is_agreed(context, TablesPlanned.of(plan), [], wish):
        return
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        result = restore_tables(
            fleet,
            shard,
            names,
            target,
            wish.into,
            wanted=wanted,
            repository=repository,
            # The plan that was shown, even if a newer backup came in between.
            label=plan.label,
            progress=display,
            on_replay=display.replay,
            cancelled=cancelled,
        )
    show(context, result)


def check_without_tables(tables: list[str] | None, export: Path | None, sql: Path | None) -> None:
    """Raise ``UsageError`` for options that mean something for tables of one shard alone."""
    if tables:
        raise UsageError("--table is of one shard, and --all is given", hint="Name the shard.")
    if export is not None or sql is not None:
        raise UsageError(
            "--export and --sql hand over single tables, and none is named",
            hint="Name them with --table DB.TABLE.",
        )
