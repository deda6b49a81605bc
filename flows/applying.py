"""The deployments that a Prefect server has, made to be those that are wanted.

``plan`` only reads. What is the same already is not touched: Prefect drops the runs that are ahead, and
makes them anew, whenever a deployment is put.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectException
from prefect.utilities.callables import parameter_schema

from fleet.errors import SchedulerUnreachable
from fleet.model import Fleet
from flows.asking import deployments_of
from flows.deployments import SHORT_QUEUE, CronLine, Deployment, Place, pools_of
from flows.environment import api_url_of

_PAGE = 200
_STRATEGIES = {
    "waits": ConcurrencyLimitStrategy.ENQUEUE,
    "is cancelled": ConcurrencyLimitStrategy.CANCEL_NEW,
}

Step = Literal["create", "change", "keep", "delete"]


@dataclass(frozen=True, slots=True)
class PutStep:
    """What becomes of a deployment or an automation. ``what``: its parts that change."""

    step: Step
    name: str
    what: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What has to be done. ``pools`` and ``queues`` (``pool/queue``) are those to be made."""

    steps: tuple[PutStep, ...]
    pools: tuple[str, ...]
    queues: tuple[str, ...]
    wanted: tuple[Deployment, ...] = field(repr=False)
    ids: dict[str, UUID] = field(repr=False)

    def of(self, *steps: Step) -> tuple[PutStep, ...]:
        return tuple(each for each in self.steps if each.step in steps)


@contextmanager
def prefect_client(fleet: Fleet) -> Generator[SyncPrefectClient]:
    """A client of the fleet's server, as the environment has it. Raises ``SchedulerUnreachable``."""
    try:
        with get_client(sync_client=True) as client:
            yield client
    except (httpx.HTTPError, PrefectException, OSError) as error:
        # Prefect appends the whole answer, over many lines.
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise SchedulerUnreachable(
            f"the Prefect server at {api_url_of(fleet)} gives no answer, or refuses: {first}",
            hint="Does it run? `scheduler.api_url` names it; `backstay serve` starts one itself.",
        ) from error


def plan(client: SyncPrefectClient, fleet: Fleet, wanted: tuple[Deployment, ...]) -> DeploymentPlan:
    """What ``apply`` would do now."""
    there = list(_existing(client, fleet))
    known = {each.full_name: each for each, _ in there}
    names = {each.full_name for each in wanted}
    steps = [_step(each, known.get(each.full_name)) for each in wanted]
    steps += [PutStep("delete", name) for name in known if name not in names]
    pools, queues = _missing(client, pools_of(wanted))
    return DeploymentPlan(tuple(steps), pools, queues, wanted, {each.full_name: id_ for each, id_ in there})


def apply(client: SyncPrefectClient, planned: DeploymentPlan) -> dict[str, UUID]:
    """Do it; the ids of all deployments that are wanted, by name. What is done twice is done once."""
    for pool in planned.pools:
        try:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        except ObjectAlreadyExists:
            continue
    for place in planned.queues:
        pool, _, queue = place.rpartition("/")
        try:
            first = 1 if queue == SHORT_QUEUE else None
            client.create_work_queue(name=queue, work_pool_name=pool, priority=first)
        except ObjectAlreadyExists:
            continue
    ids = dict(planned.ids)
    by_name = {each.full_name: each for each in planned.wanted}
    for step in planned.of("create", "change"):
        ids[step.name] = _put(client, by_name[step.name])
    for step in planned.of("delete"):
        try:
            client.delete_deployment(ids.pop(step.name))
        except ObjectNotFound:
            continue
    return ids


def _step(wanted: Deployment, there: Deployment | None) -> PutStep:
    if there is None:
        return PutStep("create", wanted.full_name)
    parts = ("entrypoint", "description", "tags", "schedules", "parameters", "place", "limit", "next")
    what = tuple(part for part in parts if getattr(wanted, part) != getattr(there, part))
    return PutStep("change" if what else "keep", wanted.full_name, what)


def _existing(client: SyncPrefectClient, fleet: Fleet) -> Iterable[tuple[Deployment, UUID]]:
    flows: dict[UUID, str] = {}
    for each in deployments_of(client, fleet):
        if each.flow_id not in flows:
            flows[each.flow_id] = client.read_flow(each.flow_id).name
        yield _as_ours(each, flows[each.flow_id]), each.id


def _as_ours(there: DeploymentResponse, flow: str) -> Deployment:
    """What the server has, in our words; what is not ours to say in it makes it differ."""
    pool, queue = there.work_pool_name, there.work_queue_name
    options = there.concurrency_options
    cancels = options is not None and options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
    limit = there.global_concurrency_limit.limit if there.global_concurrency_limit else 0
    return Deployment(
        flow,
        there.name,
        there.entrypoint or "",
        there.description or "",
        frozenset(there.tags),
        tuple(
            CronLine(each.slug or "", each.schedule.cron, each.schedule.timezone or "UTC", kind)
            for each in sorted(there.schedules, key=lambda each: each.slug or "")
            if isinstance(each.schedule, CronSchedule) and each.active
            for kind in (each.parameters.get("kind"),)
        ),
        there.parameters,
        Place(pool, queue or "default") if pool is not None else None,
        limit,
        "is cancelled" if cancels else "waits",
    )


def _put(client: SyncPrefectClient, wanted: Deployment) -> UUID:
    module, _, name = wanted.entrypoint.rpartition(".")
    flow: Flow[..., Any] = getattr(import_module(module), name)
    place = wanted.place
    return client.create_deployment(
        flow_id=client.create_flow_from_name(wanted.flow),
        name=wanted.name,
        description=wanted.description,
        tags=sorted(wanted.tags),
        entrypoint=wanted.entrypoint,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=each.line, timezone=each.timezone),
                active=True,
                parameters={} if each.kind is None else {"kind": each.kind},
                slug=each.slug,
            )
            for each in wanted.schedules
        ],
        parameters=dict(wanted.parameters),
        parameter_openapi_schema=parameter_schema(flow).model_dump(exclude_unset=True),
        enforce_parameter_schema=True,
        concurrency_limit=wanted.limit,
        concurrency_options=ConcurrencyOptions(collision_strategy=_STRATEGIES[wanted.next]),
        paused=False,
        work_pool_name=place.pool if place else None,
        work_queue_name=place.queue if place else None,
        pull_steps=[],
    )


def _missing(
    client: SyncPrefectClient, pools: dict[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pools and queues that are not there yet."""
    if not pools:
        return (), ()
    named = WorkPoolFilter(name=WorkPoolFilterName(any_=list(pools)))
    there = {pool.name for pool in client.read_work_pools(work_pool_filter=named, limit=_PAGE)}
    queues: list[str] = []
    for pool, wanted in pools.items():
        known = (
            {queue.name for queue in client.read_work_queues(work_pool_name=pool)}
            if pool in there
            else set[str]()
        )
        queues += [f"{pool}/{queue}" for queue in wanted if queue not in known]
    return tuple(pool for pool in pools if pool not in there), tuple(queues)
