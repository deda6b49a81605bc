"""``backstay expire``: retention ends backups, which can be taken back until the grace time has passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

import click
import typer
from rich.console import RenderableType

from backup.expire import Ended, Expiry, ShardExpiry, plan_expire, refusal_of
from backup.expire import expire as act
from backup.keeping import TakenBack, take_back
from cli.backups import Shards, acting_person
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.render import render_text, show
from cli.tables import dim, findings_table, lines, listing
from fleet import figures
from fleet.errors import UsageError
from fleet.finding import Finding, Level
from fleet.model import Fleet
from repository.catalog import Catalog
from repository.repository import Repository


def expire(
    context: typer.Context,
    shards: Shards = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; mark nothing.")] = False,
    yes_shrink: Annotated[
        bool,
        typer.Option(
            "--yes-shrink",
            help="Go on though retention was made so small that most backups, or half of the window, go.",
        ),
    ] = False,
    back: Annotated[
        str | None,
        typer.Option("--take-back", metavar="LABEL", help="Undo it for one backup of the one named shard."),
    ] = None,
) -> None:
    """End the backups that retention does not keep.

    They are marked, and no longer the latest, nor the base of anything. Nothing is deleted before the grace
    time (retention.grace_hours) has passed; --take-back undoes it until `prune` has deleted the backup, and
    so does the next run for what the policy keeps by then. Kept is what the window of
    retention.days needs, with all that it rests on, what the other rules of [retention] name, and what is
    held (`backup hold`). Without a shard named, all are looked at; one that left the configuration goes by
    the same rules.

    Nothing of a shard is marked while one of its manifests cannot be read, or if more than half of its
    backups would go that this retention would have ended two days ago, or if the window would shrink to less
    than half: somebody may have typed 3 for 30. Then the exit code is 45, and --yes-shrink goes on. Archived
    binlogs go by a window that shrank only after the grace time.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    if back is not None:
        show(context, _take_back(repository, shards or [], back, dry_run=dry_run))
        return
    _check_known(fleet, repository, shards or [])
    plan = plan_expire(repository, fleet.retention, shards or (), may_shrink=yes_shrink)
    if not dry_run:
        with invocation_of(context).interruption.orderly() as cancelled:
            plan = act(repository, plan, by=acting_person(), cancelled=cancelled)
    show(context, plan, refusal_of(plan))


def _take_back(repository: Repository, shards: list[str], label: str, *, dry_run: bool) -> TakenBack:
    if len(shards) != 1 or dry_run:
        raise UsageError(
            "--take-back needs one shard, and has no dry run",
            hint=f"Try: backstay expire SHARD{_place()} --take-back {label}",
        )
    return take_back(repository, shards[0], label)


def _check_known(fleet: Fleet, repository: Repository, shards: list[str]) -> None:
    """One that left the fleet keeps its backups; one that is nowhere is a slip of the fingers."""
    backed_up = Catalog(repository).shards() if shards else []
    for shard in shards:
        if shard not in backed_up:
            fleet.shard(shard)


@render_text.register
def _(expiry: Expiry) -> RenderableType:
    if not expiry.shards:
        return "There is no backup yet, so nothing expires."
    head = f"The recovery window begins at {figures.moment(expiry.window_from)} UTC."
    told = [head, *(part for shard in expiry.shards for part in _shard(expiry, shard))]
    for shard in expiry.shards:
        if shard.expires and not shard.refused:
            back = f"backstay expire {shard.shard}{_place()} --take-back {shard.expires[0].label}"
            told += ["", "To take one back, until prune has deleted it:", back]
            break
    return lines(*told)


def _place() -> str:
    """The same place in the command to be typed."""
    context = click.get_current_context(silent=True)
    at_mirror = context is not None and getattr(context.find_root().obj, "at_mirror", False)
    return " --on mirror" if at_mirror else ""


def _shard(expiry: Expiry, shard: ShardExpiry) -> Iterator[RenderableType]:
    yield ""
    yield _head(shard, done=expiry.done)
    rows = [*_rows(expiry, shard)]
    if rows:
        yield ""
        yield listing(("backup", "", "why"), rows)
    found = [Finding(Level.WARN, each.label, f"no mark: {each.problem}") for each in shard.refused_marks]
    if shard.refused is not None:
        found.append(Finding(Level.FAIL, shard.shard, shard.refused.message, shard.refused.hint))
    if found:
        yield ""
        yield findings_table(found)


def _head(shard: ShardExpiry, *, done: bool) -> str:
    """In one line: how many."""
    verb = "would expire" if shard.refused else "expire now" if done else "expire"
    told = f"Shard {shard.shard}: {len(shard.kept):,} stay, {len(shard.expires):,} {verb}"
    if shard.expired:
        told += f", {len(shard.expired):,} expired before"
    if shard.taken_back:
        told += f", {len(shard.taken_back):,} {'taken' if done else 'to be taken'} back"
    return f"{told}; refused, nothing is marked." if shard.refused else f"{told}."


def _rows(expiry: Expiry, shard: ShardExpiry) -> Iterator[tuple[RenderableType, ...]]:
    for each in sorted(shard.kept, key=lambda each: each.label, reverse=True):
        back = ["its mark is taken back"] if each.label in shard.taken_back else []
        yield each.label, dim("stays"), dim("; ".join([*each.reasons, *back]))
    for each in shard.expires:
        if shard.refused is not None:
            yield each.label, "would expire", each.reason
        else:
            yield each.label, "expires" if not expiry.done else "expired", _why(each, expiry.at)
    for each in sorted(shard.expired, key=lambda each: each.label, reverse=True):
        yield each.label, "expired", _why(each, expiry.at)


def _why(ended: Ended, now: datetime) -> str:
    if ended.reduced:
        state = "only what others refer to is left"
    elif now >= ended.stays_until:
        what = "what nobody refers to" if ended.referred_by else "it"
        state = f"the grace time is over, prune may delete {what}"
    else:
        state = f"can be taken back until {figures.moment(ended.stays_until)} UTC"
    return "; ".join([ended.reason, state, *_referred(ended.referred_by)])


def _referred(by: Sequence[str]) -> Iterator[str]:
    """A full that refers is followed by others that do: the newest is the last to need it."""
    if by:
        others = f" and {figures.plural(len(by) - 1, 'older one')}" if len(by) > 1 else ""
        yield f"referred to by {by[-1]}{others}"


@render_text.register
def _(taken: TakenBack) -> RenderableType:
    if not taken.labels:
        return f"Nothing to do: retention has not ended {taken.shard}/{taken.label}."
    others = [label for label in taken.labels if label != taken.label]
    rests = f", with {', '.join(others)}, which it rests on" if others else ""
    return lines(
        f"{taken.shard}/{taken.label} is taken back{rests}.",
        "The next `backstay expire` decides on it anew. To keep it longer, change [retention], or hold it:",
        f"backstay backup hold {taken.shard} {taken.label} --reason TEXT --until 30d",
    )
