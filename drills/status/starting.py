"""What is not yet as it should be because it was started a moment ago: neither ill nor well. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from drills.status.judge import by_urgency
from drills.status.report import Health, Judged, ShardStatus, worst
from drills.status.service_state import MANY_FAILURES, PartState, ServiceSeen
from fleet.figures import duration

JUST_STARTED = timedelta(minutes=1)
"""An archiver that runs for longer follows its source, or something is wrong with it."""

_BEGINS: tuple[PartState, ...] = ("waiting", "starting", "running")


def archiver_since(seen: ServiceSeen, now: datetime) -> datetime | None:
    """When the archiver of the service was started, if that was a moment ago and it is no try of many."""
    for part in seen.parts:
        is_new = timedelta() <= now - part.since <= JUST_STARTED
        if part.name == "archiver" and part.state in _BEGINS and is_new and part.failures < MANY_FAILURES:
            return part.since
    return None


def while_it_starts(shard: ShardStatus, since: datetime, now: datetime, *, rpo_seconds: float) -> ShardStatus:
    """``shard``, whose archiver was started at ``since``: that nobody follows its source is not known to be
    wrong yet. What would be lost beyond the promise is as bad as it was.
    """
    lag = shard.archive_lag_seconds
    is_over = lag is not None and lag >= rpo_seconds

    def told(finding: Judged) -> Judged:
        if finding.code != "archive-stopped":
            return finding
        age = duration((now - since).total_seconds())
        return replace(
            finding,
            health=finding.health if is_over else Health.UNKNOWN,
            message=f"its archiver was started {age} ago: {finding.message}",
            hint=f"Look again in a minute: backstay status {shard.shard}",
        )

    findings = by_urgency(told(each) for each in shard.findings)
    return replace(shard, findings=findings, health=worst(findings))
