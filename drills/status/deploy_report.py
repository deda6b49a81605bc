"""What ``deploy`` says: what a Prefect server was made to have, and which workers it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class DeploymentChange:
    """A deployment or an automation, by the name that Prefect shows. ``what``: its parts that change."""

    name: str
    step: Literal["create", "change", "keep", "delete"]
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerWanted:
    """A pool, whose work waits until a worker takes it. ``queues``: those beside the default one."""

    pool: str
    queues: tuple[str, ...]
    deployments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeployReport:
    """What was ``done``, or would be. ``pools`` and ``queues`` (``pool/queue``) are the new ones.

    ``config``: the file that says so; workers read one that says the same.
    """

    done: bool
    fleet: str
    config: str
    api_url: str
    pools: tuple[str, ...]
    queues: tuple[str, ...]
    deployments: tuple[DeploymentChange, ...]
    automations: tuple[DeploymentChange, ...]
    workers: tuple[WorkerWanted, ...]
