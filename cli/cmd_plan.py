"""``backstay plan``: what the backups will take, cost and be worth."""

from __future__ import annotations

from typing import Annotated

import typer

import cli.text_plan  # noqa: F401 # pyright: ignore[reportUnusedImport] - it registers the texts
from backup.capacity import Wish, plan_capacity
from cli.assuming import parse_assumptions, parse_prices
from cli.backups import Shards
from cli.configured import open_fleet
from cli.opening import open_repository
from cli.render import show
from cli.sizes import parse_size_option
from fleet.errors import UsageError
from repository.forecast import LONGEST_DAYS


def plan(
    context: typer.Context,
    shards: Shards = None,
    *,
    days: Annotated[int, typer.Option("--days", metavar="N", help="Days to look ahead.")] = 30,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            metavar="NAME=VALUE,...",
            help="Figures for each shard instead of measured ones: size=20TB, change=2%/day, compression=3, "
            "growth=0.1%/day, archive=50GB/day and log=150GB/day (stored, plain), rate=1.25GB/s (restore), "
            "read=1GB/s (backup), network=1.25GB/s, disk=4GB/s, replay=20MB/s, start=2m, promote=1m.",
        ),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="NAME=VALUE,...",
            help="The store's prices: per-gb-month=..., per-1000-requests=..., currency=USD.",
        ),
    ] = None,
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="SIZE", help="Say which policies fit into so much storage.")
    ] = None,
    no_history: Annotated[
        bool,
        typer.Option("--no-history", help="Ask neither store nor servers; reckon by --assume alone."),
    ] = False,
) -> None:
    """Forecast storage, cost, RTO and RPO, and which policies fit.

    By the repository's own history and the configuration. What was not measured is not guessed: it is said
    how to measure it, and --assume gives a figure in its place.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise UsageError(f"--days: {days} is not between 1 and {LONGEST_DAYS}")
    wish = Wish(
        days=days,
        assumed=parse_assumptions(assume or []),
        prices=parse_prices(price or []),
        fit_bytes=parse_size_option(fit, "--fit") if fit is not None else None,
    )
    fleet = open_fleet(context)
    repository = None if no_history else open_repository(fleet)
    show(context, plan_capacity(fleet, shards or [], repository=repository, wish=wish))
