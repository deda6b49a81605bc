"""``backstay backup list``: which backups there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import typer
from rich.console import RenderableType

from cli.backups import Shards, left_told, told_holds, with_left
from cli.configured import open_fleet
from cli.damage import damage_told, with_damage
from cli.failure import Failure, failure_of
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.render import render_text, show
from cli.tables import dim, findings_table, lines, listing
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import ObjectMissing, ToolError
from fleet.finding import Finding, Level
from repository.catalog import BackupSummary, Catalog
from repository.findings import Findings
from repository.holds import Hold, Holds


@dataclass(frozen=True, slots=True)
class UnreadableBackup:
    """A manifest that is there and cannot be read."""

    shard: str
    label: str
    error: Failure


@dataclass(frozen=True, slots=True)
class BackupsListed:
    """All backups, by shard and time, those whose manifest cannot be read, and the holds in force."""

    backups: tuple[BackupSummary, ...]
    unreadable: tuple[UnreadableBackup, ...]
    holds: tuple[Hold, ...] = ()


def list_backups(context: typer.Context, shards: Shards = None) -> None:
    """List the backups of some shards, or of all.

    A backup is `taken` when its manifest is stored, `proven` once a restore of it was started and compared,
    `damaged` when verify found something damaged that it needs, `broken` when one that it builds on is gone
    or cannot be read, `unreadable` when it cannot be itself, `expired` when retention has ended it, `reduced`
    when only what others refer to is left of it since. `stored` is what it takes by itself; of one that was
    reduced, what the store lists of it and what it took before.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    catalog, now = Catalog(repository), SystemClock().now()
    backed_up = catalog.shards() if shards else []
    for shard in shards or []:
        if shard not in backed_up:
            # One that left the fleet keeps its backups; one that is nowhere is a slip of the fingers.
            fleet.shard(shard)
    surveys = [catalog.survey(shard) for shard in shards or [None]]
    holds = tuple(each for shard in shards or [None] for each in Holds(repository).in_force(now, shard))
    unreadable = [
        UnreadableBackup(one.shard, one.label, failure_of(one.error, invocation_of(context)))
        for survey in surveys
        for one in survey.unreadable
    ]
    harms = [harm for shard in shards or [None] for harm in Findings(repository).harms(shard).items()]
    backups = with_damage((backup for survey in surveys for backup in survey.backups), dict(harms))
    backups = with_left(repository, backups)
    # A script must not take a backup that nobody can read for one that is there.
    failure = next((one.error for survey in surveys for one in survey.unreadable), None)
    show(context, BackupsListed(backups, tuple(unreadable), holds), failure or _broken(backups))


def _broken(backups: Sequence[BackupSummary]) -> ToolError | None:
    """The first backup that cannot be restored, since what it builds on is gone or cannot be read."""
    return next(
        (
            ObjectMissing(
                f"{one.shard}/{one.label} cannot be restored: {one.broken}",
                hint=_instead(one, backups),
            )
            for one in backups
            if one.broken
        ),
        None,
    )


def _instead(broken: BackupSummary, backups: Sequence[BackupSummary]) -> str:
    """Nobody needs another full who has a newer one that is whole."""
    whole = [
        each.label
        for each in backups
        if each.shard == broken.shard
        and each.finished_at > broken.finished_at
        and not each.broken
        and not each.damaged
        and each.expired_at is None
    ]
    if whole:
        return f"Newer ones are whole; the newest of them is {whole[-1]}."
    return f"Take a full backup now: backstay backup full {broken.shard}."


@render_text.register
def _(listed: BackupsListed) -> RenderableType:
    if not listed.backups and not listed.unreadable:
        return "There is no backup yet. Take one: backstay backup full --all"
    found_rows = {(each.shard, each.label): [*_rows(each, listed.holds)] for each in listed.backups}
    found_rows |= {
        (each.shard, each.label): [(each.shard, each.label, "unreadable", "-", "-", "-")]
        for each in listed.unreadable
    }
    rows = [row for _, of_one in sorted(found_rows.items()) for row in of_one]
    table = listing(("shard", "backup", "state", ">data", ">stored", ">took"), rows)
    found = [
        Finding(Level.FAIL, f"{one.shard}/{one.label}", one.error.message, one.error.hint)
        for one in listed.unreadable
    ]
    found += [
        Finding(Level.FAIL, f"{one.shard}/{one.label}", one.broken) for one in listed.backups if one.broken
    ]
    found += damage_told(listed.backups)
    if not found:
        return table
    return lines(table, "", findings_table(found))


def _rows(backup: BackupSummary, holds: Iterable[Hold]) -> Iterator[tuple[RenderableType, ...]]:
    """A backup, and below it what it builds on: two labels beside each other would not fit a line."""
    yield (
        backup.shard,
        backup.label,
        _state(backup),
        figures.size(backup.files_bytes),
        left_told(backup.left_bytes, backup.stored_bytes),
        figures.duration((backup.finished_at - backup.started_at).total_seconds()),
    )
    if below := backup.base or backup.built_on or backup.consolidates:
        yield "", dim(f"on {below}"), "", "", "", ""
    for told in told_holds(each for each in holds if each.backup == backup.name):
        yield "", dim(f"held {told}"), "", "", "", ""


def _state(backup: BackupSummary) -> str:
    if backup.broken:
        return "broken"
    if backup.damaged:
        return "damaged"
    if backup.expired_at is not None:
        return "reduced" if backup.reduced else "expired"
    return "proven" if backup.proven else "taken"
