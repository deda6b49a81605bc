"""``backstay archive status``: how the archives of shards stand."""

from __future__ import annotations

import typer

import cli.text_archive  # noqa: F401 # pyright: ignore[reportUnusedImport] - it registers the texts
from backup.archive.status import archive_status
from cli.backups import Shards
from cli.configured import open_fleet
from cli.opening import open_repository
from cli.render import show
from fleet.errors import CheckFailed
from fleet.figures import plural
from fleet.finding import failures


def status(context: typer.Context, shards: Shards = None) -> None:
    """Say how the archives of some shards stand, or of all.

    The last archived transaction, the lag behind the source, gaps, and the times between which a shard can
    be recovered. It ends with exit code 41 if something stands in the way of archiving.
    """
    fleet = open_fleet(context)
    stands = archive_status(fleet, open_repository(fleet), shards or [])
    failed = failures(tuple(finding for shard in stands.shards for finding in shard.findings))
    failure = CheckFailed(
        f"{plural(len(failed), 'finding')} of the archive must be put right",
        hint="The lines with `fail` name the way out.",
    )
    show(context, stands, failure if failed else None)
