"""``backstay backup show``: what one backup is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from cli.backups import Shard, gtid_facts
from cli.configured import open_fleet
from cli.opening import open_repository
from cli.render import render_json, render_text, show
from cli.tables import facts
from fleet import figures
from repository.catalog import LATEST, BackupSummary, Catalog, summary
from repository.manifest import Manifest, Proof


@dataclass(frozen=True, slots=True)
class BackupShown:
    """One backup. In JSON the manifest comes without its lists of files and of index parts."""

    backup: BackupSummary
    manifest: Manifest
    proofs: tuple[Proof, ...]


def show_backup(
    context: typer.Context,
    shard: Shard,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="As `backup list` shows it.")] = LATEST,
) -> None:
    """Show all that is known of one backup.

    With --json the whole manifest but its list of files.
    """
    catalog = Catalog(open_repository(open_fleet(context)))
    manifest = catalog.manifest(shard, label)
    proofs = catalog.proofs(shard, manifest.label)
    backup = summary(manifest, proven=any(proof.proven for proof in proofs))
    show(context, BackupShown(backup, manifest, tuple(proofs)))


@render_json.register
def _(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", exclude={"files", "directories", "index"})


@render_text.register
def _(shown: BackupShown) -> RenderableType:
    return facts(_facts(shown.manifest, shown.proofs))


def _facts(manifest: Manifest, proofs: Sequence[Proof]) -> Iterator[tuple[str, str]]:
    donor, sizes, timings = manifest.donor, manifest.sizes, manifest.timings
    spent = (timings.finished_at - timings.started_at).total_seconds()
    yield "backup", f"{manifest.shard}/{manifest.label}"
    yield "state", _state(proofs)
    yield "taken", f"{figures.moment(timings.finished_at)} UTC, in {figures.duration(spent)}"
    yield "by", manifest.created_by
    yield "donor", f"{donor.server_name} at {donor.host}:{donor.port}, MySQL {donor.version}"
    yield "server uuid", donor.server_uuid
    yield "data", f"{figures.size(sizes.files_bytes)} in {figures.plural(len(manifest.files), 'file')}"
    compression = figures.ratio(sizes.received_bytes, sizes.stored_bytes)
    yield (
        "stored",
        f"{figures.size(sizes.stored_bytes)} in {figures.plural(sizes.packs, 'pack')}, {compression}",
    )
    yield from gtid_facts(manifest.gtid.low, manifest.gtid.high)
    yield "binlog", f"{manifest.binlog.high_file}:{manifest.binlog.high_position}"
    yield "LSN", f"checkpoint {manifest.lsn.checkpoint}, end {manifest.lsn.end}"


def _state(proofs: Sequence[Proof]) -> str:
    proven = [proof for proof in proofs if proof.proven]
    if proven:
        return f"proven on MySQL {proven[-1].server_version}, {figures.moment(proven[-1].finished_at)} UTC"
    return "taken, and the last restore of it failed its proof" if proofs else "taken, not proven yet"
