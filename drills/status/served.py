"""What the service knows of itself, beside what is known of the fleet."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from drills.status.judge import by_urgency, what_to_do
from drills.status.notify_failures import judge_blocks, judge_notify, read_blocks, read_failures
from drills.status.report import FleetStatus, worst
from drills.status.service_state import judge_service, read_service
from drills.status.starting import archiver_since, while_it_starts
from fleet.model import Fleet


def with_service(status: FleetStatus, fleet: Fleet, directory: Path, now: datetime) -> FleetStatus:
    """``status`` and what the service knows of its own parts, and of those who could not be told.

    Of the embedded scheduler and of its archiver it knows more than who asks from outside: that they are
    just being started.
    """
    seen = read_service(directory)
    silent = tuple(judge_notify(read_failures(directory), fleet.notify))
    if fleet.scheduler.api_url is None:
        # Who puts automations knows of their blocks: here the service, elsewhere `deploy`, which says so.
        silent += tuple(judge_blocks(read_blocks(directory), fleet.notify))
    if seen is None and not silent:
        return status
    kept = status.findings
    if seen is not None and fleet.scheduler.api_url is None:
        asked = ("scheduler-down", "scheduler")
        kept = tuple(finding for finding in kept if (finding.code, finding.subject) != asked)
    of_parts = judge_service(seen, directory, now) if seen is not None else ()
    findings = by_urgency([*kept, *silent, *of_parts])
    shards, since = status.shards, archiver_since(seen, now) if seen is not None else None
    if since is not None:
        rpo = status.rpo_target_seconds
        shards = tuple(while_it_starts(each, since, now, rpo_seconds=rpo) for each in shards)
    every = (*findings, *(finding for shard in shards for finding in shard.findings))
    return replace(
        status, shards=shards, findings=findings, health=worst(every), what_to_do=what_to_do(every)
    )
