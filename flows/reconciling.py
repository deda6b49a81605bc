"""What deaths leave behind in the scheduler, and what it missed: decided from plain facts. Pure.

That backups have stopped is never told by the scheduler's own state, only by what the repository holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from drills.status.schedule_known import KnownSince
from fleet.model import Fleet
from fleet.schedule import last_due
from flows.lateness import begun_since

SILENCE = timedelta(minutes=3)
"""So long a run that lives is never silent: six heartbeats."""
PENDING = timedelta(minutes=5)
"""So long no process takes to begin."""
MISSED = timedelta(minutes=10)
"""So long the scheduler has to start what is due."""
AHEAD = timedelta(minutes=15)
"""A run that begins that soon is as good as one now."""


@dataclass(frozen=True, slots=True)
class RunKnown:
    """A run of ours that has not ended, as Prefect has it. ``heard_at``: its last event, if there is one."""

    id: UUID
    name: str
    flow: str
    shard: str | None
    kind: str | None
    state: Literal["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]
    since: datetime
    expected_at: datetime | None
    heard_at: datetime | None


def dead_runs(
    runs: Iterable[RunKnown], at_work: Collection[str], *, now: datetime, server_listened: bool
) -> list[RunKnown]:
    """Those whose process is gone: nothing was heard of it, and nobody is at work on its shard.

    ``at_work``: shards whose turn somebody has, in the repository. ``server_listened``: the server took
    events before the silence began; one that was away, or whose clock has jumped, heard nobody, and that
    tells nothing. All times are by the server's clock.
    """
    return [each for each in runs if _is_dead(each, at_work, now, server_listened=server_listened)]


def missed_fulls(
    fleet: Fleet,
    labels: Mapping[str, Iterable[str]],
    runs: Collection[RunKnown],
    at_work: Collection[str],
    *,
    now: datetime,
    known_since: KnownSince | None = None,
) -> dict[str, datetime]:
    """Shards that have no full backup since the last one was due, and no run that will take it; and when
    it was due. ``labels``: the backups of each shard that could be asked for. ``at_work``: as above;
    theirs are left for later, for a run that finds the turn taken is skipped, and none is begun twice.
    ``known_since``: when a cron line took the place of another; it missed nothing before that.
    """
    missed: dict[str, datetime] = {}
    for shard in fleet.shards:
        due = last_due(fleet, shard, "full", now - MISSED)
        if due is None or shard.name not in labels or shard.name in at_work:
            continue
        since = (known_since or {}).get((shard.name, "full"))
        if since is not None and due < since:
            continue
        if _is_taken_care_of(runs, shard.name, now):
            continue
        if not any(label.kind == "full" for _, label in begun_since(due, labels[shard.name], now=now)):
            missed[shard.name] = due
    return missed


def _is_dead(run: RunKnown, at_work: Collection[str], now: datetime, *, server_listened: bool) -> bool:
    last = max(filter(None, (run.since, run.heard_at)))
    if not server_listened:
        return False
    if run.state == "PENDING":
        return now - last > PENDING
    if run.state not in {"RUNNING", "CANCELLING"} or now - last <= SILENCE:
        return False
    return run.shard is None or run.shard not in at_work


def _is_taken_care_of(runs: Collection[RunKnown], shard: str, now: datetime) -> bool:
    for run in runs:
        if run.shard != shard or run.flow != "backup":
            continue
        # Whatever is at work on the shard: after it we look again.
        if run.state != "SCHEDULED":
            return True
        # Also one that was due long ago: it waits for its turn.
        if run.kind == "full" and (run.expected_at is None or run.expected_at <= now + AHEAD):
            return True
    return False
