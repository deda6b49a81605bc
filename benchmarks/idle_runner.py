"""``python -m benchmarks.idle_runner CONFIG COUNT FIRST MINUTES``: the service's runner, idle deployments.

It puts ``COUNT`` of them, each due once, spread over ``MINUTES`` from the minute ``FIRST`` on (ISO 8601).
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from fleet.model import Fleet
from flows import runner
from flows.deployments import CronLine, Deployment, tags_of

ENTRYPOINT = "benchmarks.idle.idle"


def idle_deployments(fleet: Fleet, count: int, first: datetime, minutes: int) -> tuple[Deployment, ...]:
    """As many in every minute."""
    return tuple(
        Deployment(
            "idle",
            f"{fleet.name}.{number:04}",
            ENTRYPOINT,
            "Does nothing.",
            tags_of(fleet) | {"kind:idle"},
            (CronLine("once", cron_at(first + timedelta(minutes=number % minutes)), "UTC"),),
        )
        for number in range(count)
    )


def cron_at(at: datetime) -> str:
    """A line that fires then, and not again for a year."""
    return f"{at.minute} {at.hour} {at.day} {at.month} *"


def main(config: str, count: str, first: str, minutes: str) -> int:
    """Serve until SIGTERM."""

    def wanted(fleet: Fleet, *, in_pools: bool) -> tuple[Deployment, ...]:  # noqa: ARG001 (as the runner asks)
        return idle_deployments(fleet, int(count), datetime.fromisoformat(first), int(minutes))

    runner.wanted_deployments = wanted
    return runner.main([config])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
