"""Putting a fleet's deployments onto a Prefect server of its own, for ``backstay deploy``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from drills.status.deploy_report import DeploymentChange, DeployReport, WorkerWanted
from fleet.clock import SystemClock
from fleet.errors import ConfigError
from fleet.model import Fleet
from fleet.state_place import state_directory
from flows.deployments import Deployment, pools_of, wanted_deployments
from flows.environment import api_url_of, environment_of


@dataclass(frozen=True, slots=True)
class _Wanted:
    deployments: tuple[Deployment, ...]
    workers: tuple[WorkerWanted, ...]


def deploy(fleet: Fleet, config: Path, *, dry_run: bool = False) -> tuple[DeployReport, ConfigError | None]:
    """Make pools, queues and deployments what the configuration wants, and delete what it no longer does.

    Deployments of other fleets, and those that carry no tag of ours, are left alone; so are automations.
    The error is that of a server which has not a block that is to notify: all else is done, or planned.
    Raises ``ConfigError`` where no server is named; ``SchedulerUnreachable``.
    """
    if fleet.scheduler.api_url is None:
        raise ConfigError(
            "there is no Prefect server to deploy to: scheduler.api_url is not set",
            hint="Name one; or run `backstay serve`, which has a server of its own and needs no deploy.",
        )
    with TemporaryDirectory(prefix="backstay-deploy-") as home:
        environment = environment_of(fleet, state_directory(fleet), config.absolute(), os.environ)
        # Nothing of this stays, and who deploys may have no right to the state of a service.
        _become(environment | {"PREFECT_HOME": home})
        return _deploy(fleet, config, dry_run=dry_run)


def _deploy(fleet: Fleet, config: Path, *, dry_run: bool) -> tuple[DeployReport, ConfigError | None]:
    # Here and not above: Prefect reads its settings from the environment when it is imported.
    from flows.applying import apply, plan, prefect_client  # noqa: PLC0415
    from flows.automations import apply_automations, plan_automations  # noqa: PLC0415

    wanted = _wanted(fleet)
    with prefect_client(fleet) as client:
        planned = plan(client, fleet, wanted.deployments)
        automations = plan_automations(client, fleet)
        if not dry_run:
            apply(client, planned)
            apply_automations(client, automations, SystemClock())
    report = DeployReport(
        done=not dry_run,
        fleet=fleet.name,
        config=str(config.absolute()),
        api_url=api_url_of(fleet),
        pools=planned.pools,
        queues=planned.queues,
        deployments=tuple(DeploymentChange(each.name, each.step, each.what) for each in planned.steps),
        automations=tuple(DeploymentChange(each.name, each.step, each.what) for each in automations.steps),
        workers=wanted.workers,
    )
    return report, _refusal(automations.problems, api_url_of(fleet), dry_run=dry_run)


def _wanted(fleet: Fleet) -> _Wanted:
    deployments = wanted_deployments(fleet, in_pools=True)
    workers: list[WorkerWanted] = []
    for pool, queues in pools_of(deployments).items():
        names = tuple(each.full_name for each in deployments if each.place and each.place.pool == pool)
        workers.append(WorkerWanted(pool, queues, names))
    return _Wanted(deployments, tuple(workers))


def _refusal(problems: Mapping[str, str], api_url: str, *, dry_run: bool) -> ConfigError | None:
    if not problems:
        return None
    named = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    rest = "nothing was changed" if dry_run else "all else was put"
    return ConfigError(
        f"notify.prefect_blocks cannot be used on {api_url}: {named}; {rest}",
        hint="Make the block in Prefect, which asks for its secrets, and run `backstay deploy` again; or "
        "take it out of notify.prefect_blocks.",
    )


def _become(environment: Mapping[str, str]) -> None:
    """This process runs one command, and ends."""
    os.environ.clear()
    os.environ.update(environment)
