"""The flow ``reconcile``: ends runs whose process died, and takes at once a full backup that was missed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext
from prefect.states import Crashed

from drills.status.places import schedule_file
from drills.status.schedule_known import ScheduleKnown
from fleet.errors import Cancelled, ToolError
from fleet.figures import moment
from fleet.model import Fleet
from flows.applying import prefect_client
from flows.asking import deployments_of, runs_in, server_time
from flows.opening import open_repository, shards_at_work
from flows.reconciling import PENDING, RunKnown, dead_runs, missed_fulls
from flows.recorded import Done, recorded
from flows.telling import log
from repository import layout
from repository.outcomes import Outcomes
from repository.repository import Repository

LIMIT_SECONDS = 240

_UNENDED = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.CANCELLING,
    StateType.PAUSED,
]


@flow(
    name="reconcile",
    flow_run_name="reconcile",
    retries=0,
    persist_result=False,
    timeout_seconds=LIMIT_SECONDS,
)
def reconcile() -> State[None]:
    """Look at all runs that have not ended, and at what the repository lacks."""
    return recorded("reconcile", None, _work)


def _work(fleet: Fleet) -> Done:
    repository = open_repository(fleet)
    context = FlowRunContext.get()
    own = context.flow_run.id if context is not None and context.flow_run is not None else None
    with prefect_client(fleet) as client:
        done = reconcile_fleet(fleet, repository, client, now=server_time(client), own=own)
    _forget_old_outcomes(repository)
    return Done("; ".join(done) or "nothing to do")


def reconcile_fleet(
    fleet: Fleet,
    repository: Repository,
    client: SyncPrefectClient,
    *,
    now: datetime,
    own: UUID | None = None,
) -> list[str]:
    """What was done, a line each. ``now``: by the server's clock; ``own``: the run that does it.

    Raises what store and server raise.
    """
    deployments = {each.id: each for each in deployments_of(client, fleet)}
    runs = [run for run in _runs(client, fleet, deployments) if run.id != own]
    at_work = shards_at_work(repository)
    done: list[str] = []
    dead = dead_runs(runs, at_work, now=now, server_listened=_server_listened(client, now))
    for run in dead:
        why = f"its process is gone: nothing was heard of it since {moment(run.heard_at or run.since)} UTC"
        client.set_flow_run_state(run.id, Crashed(message=why), force=True)
        done.append(f"ended {run.name}: {why}")
    alive = [run for run in runs if run not in dead]
    labels = {shard.name: _labels(repository, shard.name) for shard in fleet.shards}
    known_since = ScheduleKnown(schedule_file(fleet)).note(fleet, now)
    missed = missed_fulls(fleet, labels, alive, at_work, now=now, known_since=known_since)
    for shard, due in missed.items():
        if _begin_full(client, fleet, deployments.values(), shard, due):
            done.append(f"began a full of {shard}, which was due at {moment(due)} UTC")
    for line in done:
        log(line)
    return done


def _forget_old_outcomes(repository: Repository) -> None:
    """Of how runs ended the last few stay. Who may not delete leaves the others to prune."""
    try:
        Outcomes(repository).trim()
    except Cancelled:
        raise
    except ToolError as error:
        log(f"how older runs ended stays in the repository: {error.message}")


def _begin_full(
    client: SyncPrefectClient,
    fleet: Fleet,
    deployments: Iterable[DeploymentResponse],
    shard: str,
    due: datetime,
) -> bool:
    """One run for each time that was missed: the server knows the key again."""
    name = f"{fleet.name}.{shard}"
    for deployment in deployments:
        if deployment.name == name:
            run = client.create_flow_run_from_deployment(
                deployment.id,
                parameters={"shard": shard, "kind": "full"},
                name=f"full-{shard}",
                tags=["missed"],
                idempotency_key=f"missed-full-{shard}-{due.isoformat()}",
            )
            return run.state is not None and run.state.is_scheduled()
    return False


def _runs(
    client: SyncPrefectClient, fleet: Fleet, deployments: dict[UUID, DeploymentResponse]
) -> list[RunKnown]:
    found = runs_in(client, fleet, _UNENDED)
    busy = [run.id for run in found if run.state_type is not StateType.SCHEDULED]
    heard = _last_events(client, busy)
    return [_as_known(run, deployments, heard.get(run.id)) for run in found if run.state is not None]


def _as_known(
    run: FlowRun, deployments: dict[UUID, DeploymentResponse], heard_at: datetime | None
) -> RunKnown:
    deployment = deployments.get(run.deployment_id) if run.deployment_id else None
    parameters: dict[str, Any] = {**(deployment.parameters if deployment else {}), **run.parameters}
    assert run.state is not None
    shard = parameters.get("shard")
    return RunKnown(
        run.id,
        run.name,
        "backup" if shard else "other",
        shard,
        parameters.get("kind"),
        cast(Any, run.state.type.value),
        run.state.timestamp,
        run.expected_start_time,
        heard_at,
    )


def _last_events(client: SyncPrefectClient, runs: list[UUID]) -> dict[UUID, datetime]:
    """When the server heard of each run last; its heartbeats are events."""
    heard: dict[UUID, datetime] = {}
    for run in runs:
        query = {"resource": {"id": [f"prefect.flow-run.{run}"]}, "order": "DESC"}
        for event in _events(client, query, limit=1):
            heard[run] = datetime.fromisoformat(event["received"])
    return heard


def _server_listened(client: SyncPrefectClient, now: datetime) -> bool:
    """Whether any event came before the silence that would count against a run."""
    until, since = now - PENDING, now - PENDING - timedelta(minutes=6)
    span = {"occurred": {"since": since.isoformat(), "until": until.isoformat()}}
    return bool(_events(client, span, limit=1))


def _events(client: SyncPrefectClient, query: dict[str, Any], *, limit: int) -> list[dict[str, Any]]:
    response = client.request("POST", "/events/filter", json={"filter": query, "limit": limit})
    response.raise_for_status()
    return cast(list[dict[str, Any]], response.json()["events"])


def _labels(repository: Repository, shard: str) -> list[str]:
    return [found.key.rpartition("/")[2] for found in repository.store.list(layout.manifests(shard))]
