"""``backstay sandbox sql``: one statement on a shard's primary, to make and unmake things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pymysql
import typer
from rich.console import RenderableType

from cli.cmd_sandbox import REVIVE, Found, open_sandbox
from cli.render import render_text, show
from cli.tables import listing
from fleet.errors import SandboxFailed, mapped


@dataclass(frozen=True, slots=True)
class SqlDone:
    """What a statement gave. ``rows``: every value as text, or null."""

    server: str
    rows: tuple[Mapping[str, str | None], ...]


def sql(
    context: typer.Context,
    shard: Annotated[str, typer.Argument(metavar="SHARD", help="A shard of the sandbox.")],
    statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="One SQL statement, in quotes.")],
    *,
    directory: Found = None,
) -> None:
    """Run one statement on the primary of a shard, as root."""
    server = open_sandbox(context, directory).shard(shard).primary
    if not server.is_running():
        raise SandboxFailed(f"server {server.name} does not run", hint=REVIVE)
    with mapped({pymysql.MySQLError: SandboxFailed}, f"server {server.name} refuses"):
        rows = server.query(statement)
    texts = tuple({name: _text(value) for name, value in row.items()} for row in rows)
    show(context, SqlDone(server.name, texts))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


@render_text.register
def _(done: SqlDone) -> RenderableType:
    if not done.rows:
        return f"Done on {done.server}."
    names = list(done.rows[0])
    return listing(
        names, [["NULL" if row[name] is None else str(row[name]) for name in names] for row in done.rows]
    )
