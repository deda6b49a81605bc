"""``backstay verify``: read again everything that is stored of a backup, or of all; no MySQL is needed."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from cli.backups import OneShard
from cli.cmd_archive_verify import ArchiveVerified
from cli.cmd_backup_list import UnreadableBackup
from cli.configured import open_fleet
from cli.failure import failure_of
from cli.invocation import invocation_of
from cli.progress import Display
from cli.render import show
from cli.text_verify import AllVerified, ChainVerified, HowVerified, Verified, way_out
from cli.verifying import Full, How, Quick, Rate, Restart, SampleOf, Seed, open_for_verifying, reading_of
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import CheckFailed, UsageError
from fleet.model import Fleet
from repository.catalog import LATEST, Catalog
from repository.findings import Findings, Noted
from repository.leases import LeaseTerms, held
from repository.repository import Repository
from repository.verification import Verification, verify_all, verify_chain
from repository.verify import Reading
from repository.verify_tally import each_once

_NAMED = 3

Backup: TypeAlias = Annotated[
    str | None,
    typer.Option("--backup", metavar="LABEL", help="A label that `backup list` shows, or `latest`."),
]


def verify(  # noqa: PLR0917 - options of a command
    context: typer.Context,
    shard: OneShard = None,
    label: Annotated[str | None, typer.Argument(metavar="LABEL", help="One of its backups.")] = None,
    backup: Backup = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="All backups of the shard, and its archive; without a shard, of all."),
    ] = False,
    quick: Quick = False,
    full: Full = False,
    sample: SampleOf = None,
    seed: Seed = None,
    rate: Rate = None,
    restart: Restart = False,
) -> None:
    """Read all that is stored of a backup again, without MySQL.

    Without a shard, or with --all, it reads every backup and the archives. Every object is fetched, unsealed,
    decompressed and compared with the index, and the checksum of every page is looked at: a flipped bit, a
    missing or swapped object is named, and the tables, pages and points that it breaks. Of an incremental,
    its whole chain is read. A run that was stopped goes on. What it cannot tell is whether MySQL starts on
    the data; `restore` proves that.
    """
    how = How.of(quick, full, sample, seed, rate, restart)
    if label is not None and backup is not None:
        raise UsageError(f"{label} and --backup {backup} are both given", hint="Give one of them.")
    label = label if backup is None else backup
    if label is not None and shard is None:
        raise UsageError(f"backup {label} is given, and no shard", hint="Name its shard before it.")
    if label is not None and every:
        raise UsageError(f"--all and backup {label} are both given", hint="Give one of them.")
    fleet = open_fleet(context)
    repository = open_for_verifying(fleet, how)
    if shard is None or every:
        _verify_all(context, fleet, repository, how, shard)
    else:
        _verify_one(context, fleet, repository, how, (shard, label or LATEST))


def _verify_one(
    context: typer.Context, fleet: Fleet, repository: Repository, how: How, named: tuple[str, str]
) -> None:
    """The chain of one backup. A lease keeps it from being pruned meanwhile."""
    manifest = Catalog(repository).manifest(*named)
    shard, label = manifest.backup
    clock = SystemClock()
    start = clock.monotonic()
    terms = LeaseTerms(shard=shard, kind="verify", labels=(label,))
    with (
        reading_of(fleet, repository, how, (shard, label)) as reading,
        held(repository, terms),
        Display(shard) as display,
    ):
        _tell_what_is_known(context, how, reading, display)
        found = verify_chain(repository, manifest, reading, display, quick=how.mode == "quick")
        noted = Findings(repository).settle(found, reading, quick=how.mode == "quick")
    verified = _chain_answer(found, HowVerified.of(how.mode, reading), noted, clock.monotonic() - start)
    damaged = figures.plural(len(verified.damages), "object")
    hint = _hint(context, fleet, found, every=False)
    failure = CheckFailed(f"backup {shard}/{label} is damaged in {damaged}", hint=hint)
    show(context, verified, None if verified.sound else failure)


def _tell_what_is_known(context: typer.Context, how: How, reading: Reading, display: Display) -> None:
    """At the beginning, since the end may be hours away."""
    told = HowVerified.of(how.mode, reading).goes_on
    if told and not invocation_of(context).as_json:
        display.note(told)


def _chain_answer(found: Verification, how: HowVerified, noted: Noted, seconds: float) -> ChainVerified:
    """All links as one."""
    reports = found.backups
    return ChainVerified(
        shard=reports[0].shard,
        label=reports[0].label,
        sound=found.is_sound,
        objects=sum(each.objects for each in reports),
        stored_bytes=sum(each.stored_bytes for each in reports),
        frames=sum(each.frames for each in reports),
        seconds=round(seconds, 3),
        damages=each_once(damage for each in reports for damage in each.damages),
        links=tuple(each.label for each in reports),
        records=sum(each.records for each in reports),
        pages=sum(each.pages for each in reports),
        donor_pages=sum(each.donor_pages for each in reports),
        how=how,
        broken=found.broken,
        findings=noted,
    )


def _verify_all(
    context: typer.Context, fleet: Fleet, repository: Repository, how: How, shard: str | None
) -> None:
    """All backups and archives of a shard, or of every shard that is in the config or in the repository."""
    known = Catalog(repository).shards()
    if shard is not None and shard not in known:
        fleet.shard(shard)
    shards = [shard] if shard else sorted({*known, *(each.name for each in fleet.shards)})
    clock = SystemClock()
    start = clock.monotonic()
    with (
        reading_of(fleet, repository, how, (shard,) if shard else ()) as reading,
        Display(shard or "") as display,
    ):
        _tell_what_is_known(context, how, reading, display)
        found = verify_all(repository, shards, reading, display, quick=how.mode == "quick")
        noted = Findings(repository).settle(found, reading, quick=how.mode == "quick")
    seconds = clock.monotonic() - start
    answer = _answer(context, found, HowVerified.of(how.mode, reading), noted, seconds)
    hint = _hint(context, fleet, found, every=True)
    show(context, answer, None if answer.sound else _failure(answer, found, hint))


def _answer(
    context: typer.Context, found: Verification, how: HowVerified, noted: Noted, seconds: float
) -> AllVerified:
    broken = {each.backup for each in found.broken}
    return AllVerified(
        sound=found.is_sound,
        backups=tuple(
            Verified.of(report, sound=report.is_sound and report.backup not in broken)
            for report in found.backups
            if not report.pruned
        ),
        unreadable=tuple(
            UnreadableBackup(each.shard, each.label, failure_of(each.error, invocation_of(context)))
            for each in found.unreadable
        ),
        how=how,
        seconds=round(seconds, 3),
        objects=sum(each.objects for each in found.backups)
        + sum(each.listed if how.mode == "quick" else each.segments for each in found.archives),
        stored_bytes=sum(each.stored_bytes for each in (*found.backups, *found.archives)),
        pages=sum(each.pages for each in found.backups),
        donor_pages=sum(each.donor_pages for each in found.backups),
        segments=sum(each.segments for each in found.archives),
        transactions=sum(each.transactions for each in found.archives),
        archives=tuple(map(ArchiveVerified.of, found.archives)),
        missing=found.missing,
        broken=found.broken,
        windows=found.windows,
        unlooked=found.unlooked,
        pruned=tuple(f"{each.shard}/{each.label}" for each in found.backups if each.pruned),
        findings=noted,
    )


def _hint(context: typer.Context, fleet: Fleet, found: Verification, *, every: bool) -> str:
    versions = fleet.repository.scheme != "file"
    return way_out(found, every=every, at_mirror=invocation_of(context).at_mirror, has_versions=versions)


def _failure(answer: AllVerified, found: Verification, hint: str) -> CheckFailed:
    bad = [f"{one.shard}/{one.label}" for one in answer.unreadable]
    bad += [f"{one.shard}/{one.label}" for one in answer.backups if not one.sound]
    total = figures.plural(len(answer.backups) + len(answer.unreadable), "backup")
    some = ", ".join(bad[:_NAMED]) + (" ..." if len(bad) > _NAMED else "")
    told = f"{len(bad)} of {total} cannot be restored whole: {some}" if bad else "the archive is damaged"
    if not bad and not found.archives:
        told = f"{figures.plural(len(answer.missing), 'manifest')} is not there that was"
    return CheckFailed(told, hint=hint)
