"""``backstay standby``: a restored server that follows the archive, and takes over when it must."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.backups import Shard, by_uuid
from cli.configured import open_fleet
from cli.durations import parse_duration_option
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.points import BeforeGtid, SkipGtid, To, ToGtids, recovery_target, transactions_to_skip
from cli.progress import Display
from cli.render import render_text, show
from cli.restoring import Check
from cli.tables import facts, lines
from cli.text_point import beyond_told
from fleet import figures
from fleet.errors import CheckFailed
from fleet.moments import precise
from restore.full import Leave
from restore.standby import StandbyStatus, promote, run_standby, status

_SHARES = {"fetching": "is being fetched", "following": "follows the archive", "stopped": "is stopped"}

Into = Annotated[
    Path, typer.Option("--into", metavar="DIR", help="Its data directory; the same again goes on.")
]
Delay = Annotated[
    str, typer.Option("--delay", metavar="TIME", help="Apply transactions so long after their commit: 1h.")
]
Where = Annotated[Path, typer.Argument(metavar="DIR", help="The standby's data directory.")]
Left = Annotated[
    Leave, typer.Option("--leave", metavar="stopped|running", help="What becomes of the promoted server.")
]


def follow(
    context: typer.Context,
    shard: Shard,
    *,
    into: Into,
    delay: Delay = "0s",
    skip_gtid: SkipGtid = None,
) -> None:
    """Restore a shard, and follow its archive until Ctrl-C or a promotion.

    It needs the repository and the key, and nothing of the shard. Whatever ends it, the same command goes on.
    """
    delay_seconds = parse_duration_option(delay, "--delay")
    skip = transactions_to_skip(skip_gtid)
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        ended = run_standby(
            fleet,
            shard,
            into,
            repository=repository,
            delay_seconds=delay_seconds,
            skip=skip,
            progress=display,
            on_status=lambda now: display.say(in_short(now)),
            cancelled=cancelled,
        )
    show(context, ended)


def promote_standby(
    context: typer.Context,
    directory: Where,
    *,
    to: To = None,
    before_gtid: BeforeGtid = None,
    to_gtids: ToGtids = None,
    check: Check = None,
    leave: Left = Leave.RUNNING,
) -> None:
    """End a standby: prove it, and open it for writes.

    Whoever follows in the directory stops first. By default it goes on to the end of the archive; a point is
    reached only from before it, as by a standby with a delay.
    """
    target = recovery_target(to=to, before_gtid=before_gtid, to_gtids=to_gtids)
    shard = status(directory).shard
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    with Display(shard) as display, invocation_of(context).interruption.orderly() as cancelled:
        result = promote(
            fleet,
            shard,
            directory,
            repository=repository,
            target=target,
            leave=leave,
            check=check,
            progress=display,
            cancelled=cancelled,
        )
    show(context, result)


def standby_status(context: typer.Context, directory: Where) -> None:
    """Say how a standby does.

    Exit code 41 if it does not run, or has a problem.
    """
    now = status(directory)
    show(context, now, _fault(now))


def _fault(now: StandbyStatus) -> CheckFailed | None:
    """What keeps it from taking over; a standby of which nothing is known to be wrong has none."""
    if now.state != "stopped" and now.problem is None:
        return None
    go_on = (
        f"To go on: backstay standby {now.shard} --into {now.directory}, or end it there: backstay standby "
        f"promote {now.directory}."
    )
    if now.state != "stopped":
        return CheckFailed(f"the standby in {now.directory} waits: {now.problem}", hint=now.hint)
    if now.problem is None:
        return CheckFailed(f"the standby in {now.directory} does not run", hint=go_on)
    return CheckFailed(
        f"the standby in {now.directory} ended with a problem: {now.problem}", hint=now.hint or go_on
    )


def in_short(now: StandbyStatus) -> str:
    """``following, lag 0.4 s, 12 transactions``, for one line."""
    if now.problem:
        return f"{now.state}: {now.problem}"
    if now.lag_transactions is None:
        return now.state
    delay = f", {figures.duration(now.delay_seconds)} of it wanted" if now.delay_seconds else ""
    behind = figures.plural(now.lag_transactions, "transaction")
    return f"{now.state}, lag {figures.duration(now.lag_seconds or 0)}, {behind}{delay}"


@render_text.register
def _(now: StandbyStatus) -> RenderableType:
    rows = [
        ("standby", f"of shard {now.shard} {_SHARES[now.state]}"),
        ("in", str(now.directory)),
        ("began with", f"backup {now.label}"),
        *(("passed over", each) for each in now.passed_over),
    ]
    if now.problem:
        rows.append(("problem", now.problem))
        if now.hint:
            rows.append(("way out", now.hint))
    if now.lag_transactions is not None:
        behind = figures.plural(now.lag_transactions, "transaction")
        rows.append(("lag", f"{figures.duration(now.lag_seconds or 0)}, {behind} behind the archive"))
    if now.delay_seconds:
        rows.append(("delay", f"{figures.duration(now.delay_seconds)} after their commit"))
    if now.applied_at is not None:
        rows.append(("applied", f"up to {precise(now.applied_at)} UTC"))
    if now.archived_at is not None:
        rows.append(("archived", f"up to {precise(now.archived_at)} UTC"))
    if now.gtid_executed:
        rows.append(("GTID set", by_uuid(now.gtid_executed)))
    if now.beyond is not None:
        return lines(facts(rows), "", beyond_told(now.shard, now.beyond, "this standby"))
    return facts(rows)
