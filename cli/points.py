"""The point to restore to, as the command line names it."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from cli.times import parse_time_option
from fleet.errors import UsageError
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from restore.point import RecoveryTarget

To: TypeAlias = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="Up to this moment, such as 2026-03-01T02:15:00Z."),
]
BeforeGtid: TypeAlias = Annotated[
    str | None, typer.Option("--before-gtid", metavar="GTID", help="Up to just before this transaction.")
]
ToGtids: TypeAlias = Annotated[
    str | None, typer.Option("--to-gtids", metavar="SET", help="Up to when exactly this set was executed.")
]
Latest: TypeAlias = Annotated[bool, typer.Option("--latest", help="Up to the end of the archive.")]
SkipGtid: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--skip-gtid", metavar="GTID", help="Leave this transaction out; may be repeated."),
]


def recovery_target(
    *,
    to: str | None = None,
    before_gtid: str | None = None,
    to_gtids: str | None = None,
    latest: bool = False,
    skip_gtid: list[str] | None = None,
) -> RecoveryTarget | None:
    """The point that the options name, None if they name none.

    Raises ``UsageError`` for two points and for a naive time, ``GtidSetMalformed``.
    """
    options = {"--to": to, "--before-gtid": before_gtid, "--to-gtids": to_gtids, "--latest": latest}
    given = [name for name, value in options.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} name different points", hint="Give one of them.")
    skip = transactions_to_skip(skip_gtid)
    if to is not None:
        return RecoveryTarget.at_time(parse_time_option(to, "--to"), skip=skip)
    if before_gtid is not None:
        return RecoveryTarget.before(Gtid.parse(before_gtid), skip=skip)
    if to_gtids is not None:
        return RecoveryTarget.exactly(GtidSet.parse(to_gtids), skip=skip)
    if latest:
        return RecoveryTarget.latest(skip=skip)
    if skip:
        raise UsageError(
            "--skip-gtid leaves a transaction out on the way to a point, and no point is given",
            hint="Add --latest to go on to the end of the archive, or --to TIME.",
        )
    return None


def transactions_to_skip(skip_gtid: list[str] | None) -> GtidSet:
    """All that ``--skip-gtid`` named. Raises ``GtidSetMalformed``."""
    skip = GtidSet()
    for text in skip_gtid or []:
        skip = skip | GtidSet.parse(text)
    return skip
