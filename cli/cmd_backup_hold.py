"""``backstay backup hold`` and ``release``: a backup stays until a date, whatever retention says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, TypeAlias

import typer
from rich.console import RenderableType

from backup.keeping import Held, Released, hold, release
from cli.backups import Shard, acting_person, told_holds
from cli.configured import open_fleet
from cli.durations import parse_duration_option
from cli.opening import open_repository
from cli.render import render_text, show
from cli.tables import facts
from cli.times import parse_time_option
from fleet import figures
from fleet.clock import SystemClock

HeldLabel: TypeAlias = Annotated[str, typer.Argument(metavar="LABEL", help="As `backup list` shows it.")]


def hold_backup(
    context: typer.Context,
    shard: Shard,
    label: HeldLabel,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Who needs it, and what for.")],
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="Such as 30d, or 2026-09-01T00:00:00Z.")
    ],
) -> None:
    """Keep a backup until a date, whatever retention says.

    With it stays all that it rests on. One that has expired is taken back, as long as `prune` has not deleted
    it, also after its grace time. A backup can have several holds; it stays until the last of them ends, or
    `backup release` ends them all.
    """
    repository = open_repository(open_fleet(context))
    end = _moment(until)
    show(context, hold(repository, shard, label, reason=reason, until=end, by=acting_person()))


def release_backup(context: typer.Context, shard: Shard, label: HeldLabel) -> None:
    """End all holds of a backup.

    The next `expire` decides on it.
    """
    show(context, release(open_repository(open_fleet(context)), shard, label))


def _moment(text: str) -> datetime:
    if text[:1].isdigit() and "-" not in text:
        return SystemClock().now() + timedelta(seconds=parse_duration_option(text, "--until"))
    return parse_time_option(text, "--until")


@render_text.register
def _(held: Held) -> RenderableType:
    rows = [
        ("held", f"{held.shard}/{held.label}"),
        ("until", f"{figures.moment(held.until)} UTC"),
        ("reason", held.reason),
    ]
    if held.taken_back:
        rows.append(("taken back", ", ".join(held.taken_back)))
    return facts(rows)


@render_text.register
def _(released: Released) -> RenderableType:
    rows = [("released", f"{released.shard}/{released.label}")]
    return facts(rows + [("was held", told) for told in told_holds(released.holds)])
