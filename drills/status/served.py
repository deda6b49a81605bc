"""What the service knows of itself, beside what is known of the fleet."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from drills.status.judge import by_urgency, what_to_do
from drills.status.report import FleetStatus, worst
from drills.status.service_state import judge_service, read_service
from fleet.model import Fleet


def with_service(status: FleetStatus, fleet: Fleet, directory: Path, now: datetime) -> FleetStatus:
    """``status`` and what the service knows of its own parts.

    Of the embedded scheduler it knows more than who asks from outside: that it is just being started.
    """
    seen = read_service(directory)
    if seen is None:
        return status
    kept = status.findings
    if fleet.scheduler.api_url is None:
        asked = ("scheduler-down", "scheduler")
        kept = tuple(finding for finding in kept if (finding.code, finding.subject) != asked)
    findings = by_urgency([*kept, *judge_service(seen, directory, now)])
    every = (*findings, *(finding for shard in status.shards for finding in shard.findings))
    return replace(status, findings=findings, health=worst(every), what_to_do=what_to_do(every))
