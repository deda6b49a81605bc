"""``backstay mirror status``: what the mirror has, and what would be lost with the repository now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import typer
from rich.console import RenderableType

from backup.mirror.report import ArchiveBehind, MirrorStatus, ShardMirrorStatus
from backup.mirror.status import mirror_alone, mirror_status
from cli.backups import Shards
from cli.configured import open_fleet
from cli.mirroring import check_has_mirror, mirror_to_look_at, places_to_look_at
from cli.render import render_text, show
from cli.tables import facts, findings_table, lines, listing
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import RepositoryMissing, StoreDenied, StoreUnreachable, ToolError

_AWAY = (RepositoryMissing, StoreDenied, StoreUnreachable)


def status(context: typer.Context, shards: Shards = None) -> None:
    """Say what of some shards the mirror has, or of all.

    The newest backup in both places, what is still to be copied, and the archive's lag: how much of the
    shard's history would be lost if the repository were lost now. Where that does not answer, it says what
    the mirror has.
    """
    fleet, clock = check_has_mirror(open_fleet(context)), SystemClock()
    try:
        stands = mirror_status(fleet, places_to_look_at(fleet), shards or [], clock=clock)
    except _AWAY as away:
        try:
            mirror = mirror_to_look_at(fleet)
        except ToolError:
            raise away from None
        stands = mirror_alone(fleet, mirror, shards or [], away, clock=clock)
    show(context, stands)


@render_text.register
def _(stands: MirrorStatus) -> RenderableType:
    places = facts((("repository", stands.repository), ("mirror", stands.mirror)))
    rows = [row for shard in stands.shards for row in _rows(shard)]
    table = listing(("shard", "", "newest backup", "archived until (UTC)"), rows)
    findings = ["", findings_table(stands.findings)] if stands.findings else []
    return lines(places, "", table, *findings)


def _rows(shard: ShardMirrorStatus) -> Iterator[tuple[str, ...]]:
    """The repository, the mirror, and what lies between them."""
    backups, archive = shard.backups, shard.archive
    if backups.to_copy is None or backups.bytes_to_copy is None:
        yield shard.shard, "mirror", backups.newest_there or "-", _until(archive and archive.last_there)
        return
    yield shard.shard, "repository", backups.newest_here or "-", _until(archive and archive.last_here)
    yield "", "mirror", backups.newest_there or "-", _until(archive and archive.last_there)
    to_copy = figures.plural(backups.to_copy, "backup")
    yield (
        "",
        "to copy",
        f"{to_copy}, {figures.size(backups.bytes_to_copy)}" if backups.to_copy else to_copy,
        _lag(archive),
    )


def _lag(archive: ArchiveBehind | None) -> str:
    if archive is None or archive.bytes_to_copy is None or archive.lag_seconds is None:
        return "-"
    return f"{figures.size(archive.bytes_to_copy)}, lag {figures.duration(archive.lag_seconds)}"


def _until(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "-"
