"""``backstay backup show``: what one backup is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from cli.backups import Shard, gtid_facts, left_told, told_holds, with_left
from cli.configured import open_fleet
from cli.opening import open_repository
from cli.render import render_json, render_text, show
from cli.tables import facts
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import FormatUnsupported, KeyUnusable, ObjectDamaged, ObjectMissing
from repository.catalog import LATEST, BackupSummary, Catalog, summary
from repository.chain import read_chain
from repository.findings import Findings
from repository.holds import Hold, Holds
from repository.manifest import Manifest, Proof, Sizes
from repository.marks import Marks

_NAMED = 3


@dataclass(frozen=True, slots=True)
class BackupShown:
    """One backup. In JSON the manifest comes without its lists of files and of index parts.

    ``chain``: the labels of its links, its own first, as far down as they can be read.
    """

    backup: BackupSummary
    manifest: Manifest
    proofs: tuple[Proof, ...]
    chain: tuple[str, ...]
    holds: tuple[Hold, ...] = ()


def show_backup(
    context: typer.Context,
    shard: Shard,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="As `backup list` shows it.")] = LATEST,
) -> None:
    """Show all that is known of one backup.

    With --json the whole manifest but its list of files.
    """
    repository = open_repository(open_fleet(context))
    catalog = Catalog(repository)
    manifest = catalog.manifest(shard, label)
    proofs = catalog.proofs(shard, manifest.label)
    backup = summary(manifest, proven=any(proof.proven for proof in proofs))
    backup = replace(backup, broken=catalog.broken(manifest.backup))
    backup = backup.with_mark(
        Marks(repository).get(manifest.backup), reduced=Marks(repository).is_reduced(manifest.backup)
    )
    (backup,) = with_left(repository, (backup,))
    harm = Findings(repository).harms(shard).get(manifest.backup)
    backup = replace(backup, damaged=harm.short if harm else None)
    in_force = Holds(repository).in_force(SystemClock().now(), shard)
    holds = tuple(each for each in in_force if each.backup == manifest.backup)
    chain: tuple[str, ...] = (manifest.label,)
    try:
        chain = tuple(link.label for link in read_chain(catalog, manifest).links)
    except (ObjectMissing, ObjectDamaged, KeyUnusable, FormatUnsupported) as error:
        backup = replace(backup, broken=backup.broken or error.message)
    show(context, BackupShown(backup, manifest, tuple(proofs), chain, holds))


@render_json.register
def _(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", exclude={"files", "directories", "index"})


@render_text.register
def _(shown: BackupShown) -> RenderableType:
    return facts(_facts(shown))


def _facts(shown: BackupShown) -> Iterator[tuple[str, str]]:
    manifest = shown.manifest
    donor, sizes, timings = manifest.donor, manifest.sizes, manifest.timings
    spent = (timings.finished_at - timings.started_at).total_seconds()
    yield "backup", f"{manifest.shard}/{manifest.label}"
    yield "state", _state(shown.proofs)
    yield from _kept(shown)
    yield from _builds_on(shown)
    yield "taken", f"{figures.moment(timings.finished_at)} UTC, in {figures.duration(spent)}"
    yield "by", manifest.created_by
    yield "donor", f"{donor.server_name} at {donor.host}:{donor.port}, MySQL {donor.version}"
    yield "server uuid", donor.server_uuid
    yield "data", f"{figures.size(sizes.files_bytes)} in {figures.plural(len(manifest.files), 'file')}"
    yield "stored", _stored(sizes)
    if shown.backup.reduced:
        yield (
            "left of it",
            f"{left_told(shown.backup.left_bytes, sizes.stored_bytes)}, what other backups refer to",
        )
    yield from _spared(sizes)
    if manifest.damaged_pages:
        some = ", ".join(f"{each.file} page {each.page}" for each in manifest.damaged_pages[:_NAMED])
        yield "damaged pages", f"{figures.number(len(manifest.damaged_pages))} on the donor: {some}"
    yield from gtid_facts(manifest.gtid.low, manifest.gtid.high)
    yield "binlog", f"{manifest.binlog.high_file}:{manifest.binlog.high_position}"
    yield "LSN", f"checkpoint {manifest.lsn.checkpoint}, end {manifest.lsn.end}"


def _kept(shown: BackupShown) -> Iterator[tuple[str, str]]:
    backup = shown.backup
    if backup.expired_at is not None:
        yield "expired", f"{figures.moment(backup.expired_at)} UTC: {backup.expired_because}"
    for told in told_holds(shown.holds):
        yield "held", told


def _builds_on(shown: BackupShown) -> Iterator[tuple[str, str]]:
    manifest = shown.manifest
    if shown.backup.broken:
        yield "broken", shown.backup.broken
    if shown.backup.damaged:
        yield "damaged", shown.backup.damaged
    if manifest.base:
        yield "continues", manifest.base.label
    if shown.chain[1:]:
        yield "chain", "\n".join([f"{len(shown.chain)} links, newest first", *shown.chain])
    if manifest.consolidates:
        yield "made of", f"the chain of {manifest.consolidates}, without a server"
    elif manifest.built_on:
        yield "built on", manifest.built_on
    if manifest.refers_to:
        data = figures.size(manifest.sizes.referred_bytes)
        yield "refers to", "\n".join([f"{data} of data in", *(each.label for each in manifest.refers_to)])


def _stored(sizes: Sizes) -> str:
    """With the ratio of what was stored here before and after compression; of index alone there is none."""
    if not sizes.packs:
        return f"{figures.size(sizes.stored_bytes)} of index, and no data"
    data = sizes.received_bytes - sizes.unchanged_bytes
    ratio = f", {figures.ratio(data, sizes.stored_bytes)}" if data > 0 else ""
    return f"{figures.size(sizes.stored_bytes)} in {figures.plural(sizes.packs, 'pack')}{ratio}"


def _spared(sizes: Sizes) -> Iterator[tuple[str, str]]:
    if sizes.unchanged_bytes:
        yield "unchanged", f"{figures.size(sizes.unchanged_bytes)} that the donor sent were stored already"
    if sizes.skipped_bytes:
        yield "not sent", f"{figures.size(sizes.skipped_bytes)} that the donor was asked to leave out"


def _state(proofs: Sequence[Proof]) -> str:
    proven = [proof for proof in proofs if proof.proven]
    if proven:
        return f"proven on MySQL {proven[-1].server_version}, {figures.moment(proven[-1].finished_at)} UTC"
    return "taken, and the last restore of it failed its proof" if proofs else "taken, not proven yet"
