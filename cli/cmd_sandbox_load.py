"""``backstay sandbox load``: write to the shards, and account for every transaction afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Annotated

import pymysql
import typer
from rich.console import RenderableType

from cli.cmd_sandbox import REVIVE, Found, open_sandbox
from cli.invocation import invocation_of
from cli.progress import Display
from cli.render import render_text, show
from cli.tables import findings_table, lines, listing
from fleet import figures
from fleet.errors import CheckFailed, SandboxFailed, ToolError, mapped
from fleet.finding import Finding, Level
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.ledger import LoadCheck, acknowledged_in, check_load
from infra.sandbox.load import Load, LoadStatistics

_CLIENTS_HELP = "Clients of each shard."
_SECONDS_HELP = "How long; Ctrl-C ends it sooner."
_RATE_HELP = "Transactions a second of each shard. [default: as many as it takes]"
_DDL_HELP = "Change definitions so often. [default: never]"


@dataclass(frozen=True, slots=True)
class ShardLoaded:
    """What the clients of one shard did, and what its primary says of it now: ``check`` is None if it does
    not answer. ``acknowledged``: transactions noted as committed, also by earlier loads.
    """

    shard: str
    statistics: LoadStatistics
    acknowledged: int
    check: LoadCheck | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A load that has ended."""

    shards: tuple[ShardLoaded, ...]


def load(
    context: typer.Context,
    *,
    directory: Found = None,
    seconds: Annotated[float, typer.Option("--seconds", metavar="N", help=_SECONDS_HELP, min=0)] = 60,
    clients: Annotated[int, typer.Option("--clients", metavar="N", help=_CLIENTS_HELP, min=1, max=64)] = 4,
    rate: Annotated[float | None, typer.Option("--rate", metavar="N", help=_RATE_HELP, min=0.1)] = None,
    ddl: Annotated[float | None, typer.Option("--ddl", metavar="SECONDS", help=_DDL_HELP, min=0.1)] = None,
) -> None:
    """Write to the shards for a while, then check every row.

    Clients move money between accounts and keep a ledger of it. At the end every balance must follow from the
    ledger, and every transaction that was acknowledged must be there.
    """
    fleet = open_sandbox(context, directory)
    loads = {
        shard.name: fleet.new_load(shard.name, clients=clients, rate=rate, ddl_every_seconds=ddl)
        for shard in fleet.shards
    }
    interruption = invocation_of(context).interruption
    with Display() as display, ExitStack() as running, interruption.orderly() as asked:
        for name, each in loads.items():
            with mapped({pymysql.MySQLError: SandboxFailed}, _mute(name), hint=REVIVE):
                running.enter_context(each)
        display.stage(f"{figures.plural(clients * len(loads), 'client')} at work")
        asked.wait(seconds)
        display.stage("checking every row")
        shards = tuple(_account_for(fleet, name, each) for name, each in loads.items())
    show(context, Loaded(shards), _failure(shards))


def _failure(shards: tuple[ShardLoaded, ...]) -> ToolError | None:
    unsound = [one.shard for one in shards if one.check and (not one.check.is_consistent or one.check.lost)]
    if unsound:
        return CheckFailed(
            f"the rows of {', '.join(unsound)} do not agree with what was acknowledged",
            hint="The lines with `fail` say what is wrong.",
        )
    mute = [one.shard for one in shards if one.check is None]
    return SandboxFailed(_mute(", ".join(mute)), hint=REVIVE) if mute else None


def _mute(shard: str) -> str:
    return f"the primary of {shard} does not answer"


def _account_for(fleet: SandboxFleet, shard: str, load: Load) -> ShardLoaded:
    statistics = load.stop()
    directory = fleet.load_directory(shard)
    check = None
    # Who kills a primary under load wants to know what was acknowledged, all the more.
    with (
        suppress(pymysql.OperationalError, pymysql.InterfaceError),
        closing(fleet.shard(shard).primary.connect()) as connection,
    ):
        check = check_load(connection, directory)
    return ShardLoaded(shard, statistics, len(acknowledged_in(directory)), check)


@render_text.register
def _(loaded: Loaded) -> RenderableType:
    rows = [
        (
            one.shard,
            figures.number(one.statistics.transactions),
            f"{one.statistics.per_second:.0f}/s",
            f"{one.statistics.latency.p99_seconds * 1000:.1f} ms",
            figures.duration(one.statistics.longest_silence_seconds),
            figures.number(one.statistics.conflicts),
            figures.number(sum(one.statistics.errors.values())),
            str(len(one.statistics.ddl)),
        )
        for one in loaded.shards
    ]
    columns = ("shard", ">commits", ">rate", ">p99", ">silence", ">conflicts", ">errors", ">DDL")
    findings = (finding for one in loaded.shards for finding in _findings(one))
    return lines(listing(columns, rows), "", findings_table(findings))


def _findings(one: ShardLoaded) -> Iterator[Finding]:
    subject, check = f"shard {one.shard}", one.check
    if check is None:
        noted = figures.plural(one.acknowledged, "acknowledged transaction")
        yield Finding(Level.FAIL, subject, f"{noted} in the ledger, and no primary to compare them with")
        return
    faults = [
        *check.unbalanced,
        *(f"{gap.last - gap.first + 1} rows of client {gap.client} are missing" for gap in check.gaps),
    ]
    if check.lost:
        faults.append(f"{figures.plural(len(check.lost), 'acknowledged transaction')} lost")
    for fault in faults:
        yield Finding(Level.FAIL, subject, fault)
    if not faults:
        count = figures.plural(check.transactions, "transaction")
        yield Finding(Level.OK, subject, f"{count} in the ledger, every balance follows, none is lost")
