"""``backstay mirror status``: what the mirror has, and what would be lost with the repository now."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from rich.console import RenderableType

from backup.mirror.report import LastError, MirrorStatus, ShardMirrorStatus
from backup.mirror.status import mirror_status
from cli.backups import Shards
from cli.configured import open_fleet
from cli.mirroring import check_has_mirror, places_to_look_at
from cli.render import render_text, show
from cli.tables import dim, facts, lines, listing
from fleet import figures
from fleet.clock import SystemClock


def status(context: typer.Context, shards: Shards = None) -> None:
    """Say what of some shards the mirror has, or of all.

    The newest backup in both places, what is still to be copied, and the archive's lag: how much of the
    shard's history would be lost if the repository were lost now.
    """
    fleet = check_has_mirror(open_fleet(context))
    show(context, mirror_status(fleet, places_to_look_at(fleet), shards or [], clock=SystemClock()))


@render_text.register
def _(stands: MirrorStatus) -> RenderableType:
    places = facts((("repository", stands.repository), ("mirror", stands.mirror)))
    names = ("shard", "newest backup", "in the mirror", ">to copy", ">", ">binlogs", ">lag")
    table = listing(names, [_row(shard) for shard in stands.shards])
    errors = list(_errors(stands))
    return lines(places, "", table, *(["", *errors] if errors else []))


def _row(shard: ShardMirrorStatus) -> tuple[str, ...]:
    backups, archive = shard.backups, shard.archive
    return (
        shard.shard,
        backups.newest_here or "-",
        backups.newest_there or "-",
        figures.number(backups.to_copy),
        figures.size(backups.bytes_to_copy),
        figures.size(archive.bytes_to_copy) if archive else "-",
        figures.duration(archive.lag_seconds) if archive else "-",
    )


def _errors(stands: MirrorStatus) -> Iterator[RenderableType]:
    told = [("", stands.last_error), *((shard.shard, shard.last_error) for shard in stands.shards)]
    for shard, error in told:
        if error is not None:
            yield dim(_told(shard, error))


def _told(shard: str, error: LastError) -> str:
    of = f" of {shard}" if shard else ""
    return f"last error{of}, {figures.moment(error.at)}: {error.message}"
