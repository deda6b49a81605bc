"""The fleet of the configuration, and its names for completion."""

from __future__ import annotations

import typer

from cli.invocation import invocation_of
from fleet.config import load
from fleet.errors import ToolError
from fleet.model import Fleet


def open_fleet(context: typer.Context) -> Fleet:
    """Read the configuration; with ``--from mirror`` or ``--on mirror`` its repository is the mirror.

    Raises ``ConfigError``.
    """
    invocation = invocation_of(context)
    fleet = load(invocation.config)
    invocation.has_mirror = fleet.mirror is not None
    return fleet.at_mirror() if invocation.at_mirror else fleet


def complete_servers(context: typer.Context, incomplete: str) -> list[str]:
    """The servers of the configuration whose names begin so; none where it cannot be read."""
    try:
        shards = open_fleet(context).shards
    except ToolError:
        return []
    return [one.name for shard in shards for one in shard.servers if one.name.startswith(incomplete)]


def complete_shards(context: typer.Context, incomplete: str) -> list[str]:
    """The shards of the configuration whose names begin so; none where it cannot be read."""
    try:
        fleet = open_fleet(context)
    except ToolError:
        return []
    return [shard.name for shard in fleet.shards if shard.name.startswith(incomplete)]
