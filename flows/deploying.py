"""Putting a fleet's deployments onto a Prefect server of its own, for ``backstay deploy``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drills.status.deploy_report import DeploymentChange, DeployReport, WorkerWanted
from drills.status.places import state_directory
from fleet.errors import ConfigError
from fleet.model import Fleet
from flows.deployments import Deployment, pools_of, wanted_deployments
from flows.environment import api_url_of, environment_of


@dataclass(frozen=True, slots=True)
class _Wanted:
    deployments: tuple[Deployment, ...]
    workers: tuple[WorkerWanted, ...]


def deploy(fleet: Fleet, config: Path, *, dry_run: bool = False) -> DeployReport:
    """Make pools, queues and deployments what the configuration wants, and delete what it no longer does.

    Deployments of other fleets, and those that carry no tag of ours, are left alone. Raises ``ConfigError``
    where no server is named, ``SchedulerUnreachable``.
    """
    if fleet.scheduler.api_url is None:
        raise ConfigError(
            "there is no Prefect server to deploy to: scheduler.api_url is not set",
            hint="Name one; or run `backstay serve`, which has a server of its own and needs no deploy.",
        )
    _become(environment_of(fleet, state_directory(fleet), config.absolute(), os.environ))
    # Here and not above: Prefect reads its settings from the environment when it is imported.
    from flows.applying import apply, plan, prefect_client  # noqa: PLC0415

    wanted = _wanted(fleet)
    with prefect_client(fleet) as client:
        planned = plan(client, fleet, wanted.deployments)
        if not dry_run:
            apply(client, planned)
    return DeployReport(
        done=not dry_run,
        fleet=fleet.name,
        config=str(config.absolute()),
        api_url=api_url_of(fleet),
        pools=planned.pools,
        queues=planned.queues,
        deployments=tuple(DeploymentChange(each.name, each.step, each.what) for each in planned.steps),
        workers=wanted.workers,
    )


def _wanted(fleet: Fleet) -> _Wanted:
    deployments = wanted_deployments(fleet, in_pools=True)
    workers: list[WorkerWanted] = []
    for pool, queues in pools_of(deployments).items():
        names = tuple(each.full_name for each in deployments if each.place and each.place.pool == pool)
        workers.append(WorkerWanted(pool, queues, names))
    return _Wanted(deployments, tuple(workers))


def _become(environment: Mapping[str, str]) -> None:
    """This process runs one command, and ends."""
    os.environ.clear()
    os.environ.update(environment)
