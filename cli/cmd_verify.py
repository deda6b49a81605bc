"""``backstay verify``: read again everything that is stored of a backup, or of all; no MySQL is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import RenderableType

from cli import figures
from cli.backups import Label, OneShard
from cli.cmd_backup_list import UnreadableBackup
from cli.configured import open_fleet
from cli.failure import failure_of
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.progress import Display
from cli.render import render_text, show
from cli.tables import facts, findings_table, lines, listing
from fleet.clock import SystemClock
from fleet.errors import CheckFailed, UsageError
from fleet.finding import Finding, Level
from fleet.model import Fleet
from repository.catalog import LATEST, Catalog
from repository.manifest import Manifest
from repository.repository import Repository
from repository.verify import Damage, VerifyProgress, verify_backup

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, and everything that was wrong."""

    shard: str
    label: str
    sound: bool
    objects: int
    stored_bytes: int
    frames: int
    seconds: float
    damages: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class AllVerified:
    """Every backup that was read, by shard and time, and those whose manifest cannot be read."""

    sound: bool
    backups: tuple[Verified, ...]
    unreadable: tuple[UnreadableBackup, ...]


def verify(
    context: typer.Context,
    shard: OneShard = None,
    label: Label = LATEST,
    every: Annotated[
        bool, typer.Option("--all", help="All backups of the shard; without a shard, of all shards.")
    ] = False,
) -> None:
    """Read all that is stored of a backup again, without MySQL.

    Every object is fetched, unsealed, decompressed and compared with the index: a flipped bit, a missing or
    swapped object is named. What it cannot tell is whether MySQL starts on the data; `restore` proves that.
    """
    if every and label != LATEST:
        raise UsageError(f"--all and --backup {label} are both given", hint="Give one of them.")
    if shard is None and not every:
        raise UsageError("no shard is named", hint="Name a shard, or give --all.")
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    if every:
        _verify_all(context, fleet, repository, shard)
        return
    assert shard is not None
    verified = _verify(fleet, repository, Catalog(repository).manifest(shard, label))
    failure = CheckFailed(
        f"backup {shard}/{verified.label} is damaged in {figures.plural(len(verified.damages), 'object')}",
        hint=f"Take a new full backup now; `backstay verify {shard} --all` finds an older one that is sound.",
    )
    show(context, verified, None if verified.sound else failure)


def _verify_all(context: typer.Context, fleet: Fleet, repository: Repository, shard: str | None) -> None:
    catalog = Catalog(repository)
    if shard is not None and shard not in catalog.shards():
        fleet.shard(shard)
    survey = catalog.survey(shard)
    unreadable = tuple(
        UnreadableBackup(one.shard, one.label, failure_of(one.error, invocation_of(context)))
        for one in survey.unreadable
    )
    backups = tuple(
        _verify(fleet, repository, catalog.manifest(one.shard, one.label)) for one in survey.backups
    )
    bad = [f"{one.shard}/{one.label}" for one in (*unreadable, *(one for one in backups if not one.sound))]
    total = figures.plural(len(backups) + len(unreadable), "backup")
    some = ", ".join(bad[:_NAMED]) + (" ..." if len(bad) > _NAMED else "")
    failure = CheckFailed(
        f"{len(bad)} of {total} cannot be restored whole: {some}",
        hint="Take a new full backup of these shards now; until then a sound one can be restored.",
    )
    show(context, AllVerified(not bad, backups, unreadable), failure if bad else None)


def _verify(fleet: Fleet, repository: Repository, manifest: Manifest) -> Verified:
    clock = SystemClock()
    start = clock.monotonic()
    with Display(manifest.shard) as display:
        display.stage("verifying", manifest.sizes.stored_bytes)

        def follow(progress: VerifyProgress) -> None:
            display.reach(progress.bytes_done, progress.bytes_total)

        report = verify_backup(repository, manifest, follow, threads=fleet.parallelism.download_threads)
    return Verified(
        shard=report.shard,
        label=report.label,
        sound=report.is_sound,
        objects=report.objects,
        stored_bytes=report.stored_bytes,
        frames=report.frames,
        seconds=round(clock.monotonic() - start, 3),
        damages=report.damages,
    )


@render_text.register
def _(verified: Verified) -> RenderableType:
    rate = figures.rate(verified.stored_bytes, verified.seconds)
    table = facts(
        [
            ("backup", f"{verified.shard}/{verified.label}"),
            (
                "read",
                f"{figures.size(verified.stored_bytes)} in {figures.plural(verified.objects, 'object')}",
            ),
            ("took", f"{figures.duration(verified.seconds)}, {rate}"),
            ("verdict", "every stored byte is as it was written" if verified.sound else "damaged"),
        ]
    )
    if verified.sound:
        return table
    return lines(table, "", findings_table(_damages_of(verified)))


@render_text.register
def _(every: AllVerified) -> RenderableType:
    if not every.backups and not every.unreadable:
        return "There is no backup yet. Take one: backstay backup full --all"
    rows = [
        (
            one.shard,
            one.label,
            "sound" if one.sound else "damaged",
            figures.size(one.stored_bytes),
            figures.number(one.objects),
            figures.duration(one.seconds),
        )
        for one in every.backups
    ]
    table = listing(("shard", "backup", "verdict", ">stored", ">objects", ">took"), rows)
    found = [damage for one in every.backups for damage in _damages_of(one)]
    found += [
        Finding(Level.FAIL, f"{one.shard}/{one.label}", one.error.message, one.error.hint)
        for one in every.unreadable
    ]
    parts = [*([table] if rows else []), *([findings_table(found)] if found else [])]
    return lines(*parts) if len(parts) == 1 else lines(parts[0], "", parts[1])


def _damages_of(verified: Verified) -> list[Finding]:
    """What is wrong, by object; the table names the object already."""
    return [
        Finding(Level.FAIL, damage.name, damage.problem.removeprefix(damage.name).lstrip(" :"))
        for damage in verified.damages
    ]
