"""The last status that is known, for the hour in which the repository cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from drills.status.judge import by_urgency, what_to_do
from drills.status.lag_history import replace_file
from drills.status.report import FleetStatus, Health, Judged
from fleet.errors import KeyUnusable, RepositoryMissing, ToolError
from fleet.figures import duration

_STATUS = TypeAdapter(FleetStatus)


def keep(path: Path, status: FleetStatus) -> bool:
    """Write it down, all or nothing; False if the disk does not take it."""
    return replace_file(path, _STATUS.dump_json(status).decode())


def last_known(path: Path, *, fleet: str) -> FleetStatus | None:
    """What was written down of that fleet, if that can still be read."""
    try:
        status = _STATUS.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return status if status.fleet == fleet else None


def unasked(known: FleetStatus, away: ToolError, *, age_seconds: float | None) -> FleetStatus:
    """``known`` as it counts while ``away`` keeps us from asking: nothing of it is well.

    ``age_seconds`` is None where nothing was known before.
    """
    code = "key-unusable" if isinstance(away, KeyUnusable) else "repository-unreachable"
    since = known.seen_at if age_seconds is not None else None
    finding = Judged(Health.CRITICAL, code, "repository", away.message, _way_out(away, since), since)
    shards = tuple(
        replace(shard, health=Health.UNKNOWN if shard.health is Health.OK else shard.health)
        for shard in known.shards
    )
    findings = (finding, *by_urgency(each for each in known.findings if each.code != code))
    age = "nothing was known before" if age_seconds is None else f"known as of {duration(age_seconds)} ago"
    return replace(
        known,
        health=Health.CRITICAL,
        shards=shards,
        findings=findings,
        what_to_do=what_to_do(findings),
        unreachable=f"{away.message}; {age}",
    )


def _way_out(away: ToolError, since: datetime | None) -> str:
    """Nobody who is in a hurry is told to create a repository where one was seen before."""
    if isinstance(away, RepositoryMissing) and since is not None:
        return "It was there before; is its disk mounted, is its bucket there? See: backstay check"
    return away.hint or "Is the store up, and can this machine reach it? See: backstay check"
