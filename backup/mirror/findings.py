"""What an operator should know of a mirror beside figures: warnings, each with the way out."""

from __future__ import annotations

from collections.abc import Iterator

from backup.mirror.report import LastError
from fleet import figures
from fleet.errors import ToolError
from fleet.finding import Finding, Level
from repository import layout
from repository.mirror.places import Places
from repository.mirror.round import Seen
from repository.repository import is_there

_NAMED = 3


def newer_in_mirror(places: Places, seen: Seen) -> Iterator[Finding]:
    """Backups that cannot have come from the repository: newer than its newest, and it does not have them.
    Raises what the stores raise.
    """
    for shard in sorted({name.shard for name in seen.there}):
        newest = max((name.label for name in seen.here if name.shard == shard), default="")
        newer = sorted(name for name in seen.there - seen.here if name.shard == shard and name.label > newest)
        # A list may be behind.
        newer = [name for name in newer if not is_there(places.source.store, layout.manifest(name))]
        if newer:
            more = f" and {len(newer) - _NAMED} more" if len(newer) > _NAMED else ""
            yield Finding(
                Level.WARN,
                f"shard {shard}",
                f"{places.mirror.store.describe()} holds {figures.plural(len(newer), 'backup')} that "
                f"{places.source.store.describe()} does not have, newer than its newest: "
                + ", ".join(name.label for name in newer[:_NAMED])
                + more,
                hint="Either they were lost here, or the mirror was written to as the repository. If it is "
                "the repository now, put its url into [repository], and mirror it to a new place. "
                "--from mirror restores them.",
            )


def last_error(shard: str, error: LastError | None) -> Iterator[Finding]:
    """What kept the last run from copying all. ``shard`` is empty where it concerns them all."""
    if error is not None:
        yield Finding(
            Level.WARN,
            f"shard {shard}" if shard else "mirror",
            f"last error, {figures.moment(error.at)}: {error.message}",
            hint="It stands here until a run copies everything: backstay mirror run --once",
        )


def unasked(place: str, error: ToolError) -> Finding:
    """The repository at ``place`` does not answer."""
    return Finding(
        Level.WARN,
        "repository",
        f"the repository cannot be asked: {error.message}"
        if place in error.message
        else f"the repository {place} cannot be asked: {error.message}",
        hint="With --from mirror the mirror is read in its place: what it has is told here.",
    )
