"""Shards that the repository has and the configuration lacks: removed from it, or renamed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from drills.status.report import Health, Judged, UnconfiguredShard
from drills.status.shelf import ShardShelf
from fleet.figures import plural
from fleet.model import Fleet


def seen_unconfigured(
    names: Sequence[str], shelves: Mapping[str, ShardShelf], *, window: timedelta
) -> tuple[UnconfiguredShard, ...]:
    """What there is of each; ``window``: how long retention promises every point."""
    found: list[UnconfiguredShard] = []
    for name in names:
        backups = shelves[name].backups
        newest = backups[-1] if backups else None
        count = len(backups) + len(shelves[name].unreadable)
        if count:
            until = newest.finished_at + window if newest is not None else None
            found.append(UnconfiguredShard(name, count, newest, until))
    return tuple(found)


def judge_renamed(
    fleet: Fleet, shelves: Mapping[str, ShardShelf], unconfigured: Sequence[UnconfiguredShard]
) -> Iterator[Judged]:
    """A shard without any backup, beside backups of one that nobody configured, may be the same shard."""
    bare = [
        shard.name
        for shard in fleet.shards
        if shard.name in shelves and not (shelves[shard.name].backups or shelves[shard.name].unreadable)
    ]
    if not bare or not unconfigured:
        return
    old = ", ".join(each.shard for each in unconfigured)
    count = plural(sum(each.backups for each in unconfigured), "backup")
    several = len(bare) > 1
    message = (
        f"{', '.join(bare)} {'have' if several else 'has'} no backup, and {old}, which the configuration "
        f"does not name, {'have' if len(unconfigured) > 1 else 'has'} {count}"
    )
    hint = (
        f"Was {old} renamed? Then give it its name back, for backups and archive go by it. "
        f"If {bare[0]} is new: backstay backup full {bare[0]}"
    )
    yield Judged(Health.WARNING, "settings", "configuration", message, hint)
