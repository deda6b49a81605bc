"""What is asked of a restore beside its target: options, and the consent that it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from cli.invocation import invocation_of
from cli.render import show, show_text
from fleet.errors import Cancelled, UsageError
from restore.full import Leave
from restore.plan import Mode, RestorePlan
from restore.proof import CheckLevel

Into: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--into",
        metavar="DIR",
        help="The data directory to be: empty, or not there yet; the same again goes on after a failure.",
    ),
]
Delta: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--delta",
        help="Rewrite an existing data directory: fetch only what differs, delete what is not in the backup.",
    ),
]
Check: TypeAlias = Annotated[
    Literal["none", "sample", "all"] | None,
    typer.Option(
        "--check", metavar="none|sample|all", help="CHECK TABLE on how many tables. [default: as configured]"
    ),
]
Left: TypeAlias = Annotated[
    Leave, typer.Option("--leave", metavar="stopped|running", help="What becomes of the started server.")
]
Every: TypeAlias = Annotated[
    bool, typer.Option("--all", help="All shards to one moment, each into a directory of its name in DIR.")
]
AtOnce: TypeAlias = Annotated[
    int, typer.Option("--at-once", metavar="N", help="With --all: so many shards at a time.", min=1, max=64)
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Print the plan; touch nothing.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is deleted.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """The options of ``backstay restore``, as they were given."""

    into: Path
    label: str
    delta: bool
    check: CheckLevel | None
    leave: Leave
    dry_run: bool
    yes: bool


def is_agreed(context: typer.Context, planned: object, bases: Sequence[RestorePlan], wish: Restoring) -> bool:
    """Show the plan; go on unless that was all, and ask first where something that is there would be lost."""
    if wish.dry_run:
        show(context, planned)
        return False
    if not invocation_of(context).as_json:
        show_text(planned)
    return _is_allowed(bases, yes=wish.yes)


def _is_allowed(plans: Sequence[RestorePlan], *, yes: bool) -> bool:
    """True, or ``Cancelled``; ``UsageError`` where nobody can be asked."""
    losing = [plan.directory for plan in plans if plan.mode is Mode.DELTA or plan.remove_files]
    if not losing or yes:
        return True
    names = ", ".join(map(str, losing))
    if not sys.stdin.isatty():
        raise UsageError(
            f"{names} would be rewritten, and nobody is here to ask",
            hint="Give --yes to go on without a question.",
        )
    if not typer.confirm(f"{names} will be rewritten. Go on?", err=True):
        raise Cancelled("not restored: the answer was no", hint="Nothing was touched.")
    return True
