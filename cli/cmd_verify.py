"""``backstay verify``: read again everything that is stored of a backup, or of all; no MySQL is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from cli.backups import Label, OneShard
from cli.cmd_backup_list import UnreadableBackup
from cli.configured import open_fleet
from cli.failure import failure_of
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.progress import Display
from cli.render import show
from cli.text_verify import AllVerified, Verified
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import (
    CheckFailed,
    FormatUnsupported,
    KeyUnusable,
    ObjectDamaged,
    ObjectMissing,
    UsageError,
)
from fleet.model import Fleet
from repository import layout
from repository.catalog import LATEST, Catalog
from repository.chain import read_chain
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.repository import Repository
from repository.verify import Damage, VerifyProgress, each_once, verify_backup

_NAMED = 3


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
    swapped object is named. Of an incremental, its whole chain is read. What it cannot tell is whether MySQL
    starts on the data; `restore` proves that.
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
    verified = _verify_chain(fleet, repository, Catalog(repository).manifest(shard, label))
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
    manifests = [catalog.manifest(one.shard, one.label) for one in survey.backups]
    backups = tuple(_verify_each(fleet, repository, manifests))
    bad = [f"{one.shard}/{one.label}" for one in (*unreadable, *(one for one in backups if not one.sound))]
    total = figures.plural(len(backups) + len(unreadable), "backup")
    some = ", ".join(bad[:_NAMED]) + (" ..." if len(bad) > _NAMED else "")
    failure = CheckFailed(
        f"{len(bad)} of {total} cannot be restored whole: {some}",
        hint="Take a new full backup of these shards now; until then a sound one can be restored.",
    )
    show(context, AllVerified(not bad, backups, unreadable), failure if bad else None)


def _verify_chain(fleet: Fleet, repository: Repository, manifest: Manifest) -> Verified:
    """All links as one. Where the chain is broken, the newest link tells it."""
    try:
        links = read_chain(Catalog(repository), manifest).links
    except (ObjectMissing, ObjectDamaged, KeyUnusable, FormatUnsupported):
        links = (manifest,)
    found = [_verify(fleet, repository, link) for link in links]
    return replace(
        found[0],
        sound=all(each.sound for each in found),
        objects=sum(each.objects for each in found),
        stored_bytes=sum(each.stored_bytes for each in found),
        frames=sum(each.frames for each in found),
        seconds=sum(each.seconds for each in found),
        damages=each_once(damage for each in found for damage in each.damages),
        links=tuple(each.label for each in found),
    )


def _verify_each(fleet: Fleet, repository: Repository, manifests: Sequence[Manifest]) -> Iterator[Verified]:
    """Every backup by itself, by time. What is damaged below an incremental is its own damage, too."""
    done: dict[BackupName, Verified] = {}
    for manifest in manifests:
        verified = _verify(fleet, repository, manifest)
        base = BackupName(manifest.shard, manifest.base.label) if manifest.base else None
        if base and base in done and not done[base].sound:
            damage = Damage(layout.manifest(base), f"it is damaged, and {manifest.label} continues it")
            verified = replace(verified, sound=False, damages=(*verified.damages, damage))
        done[manifest.backup] = verified
        yield verified


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
        links=(report.label,),
    )
