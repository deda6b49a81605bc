"""What a Prefect server has of a fleet: its deployments, and its runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse

from fleet.clock import SystemClock
from fleet.model import Fleet
from flows.deployments import tags_of

_PAGE = 200


def deployments_of(client: SyncPrefectClient, fleet: Fleet) -> Iterator[DeploymentResponse]:
    """All that carry the fleet's tags."""
    offset = 0
    while page := client.read_deployments(deployment_filter=_ours(fleet), limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def runs_in(client: SyncPrefectClient, fleet: Fleet, states: Collection[StateType]) -> list[FlowRun]:
    """Runs of these deployments that are in one of ``states``."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))
    found: list[FlowRun] = []
    while page := client.read_flow_runs(
        flow_run_filter=wanted, deployment_filter=_ours(fleet), limit=_PAGE, offset=len(found)
    ):
        found += page
    return found


def server_time(client: SyncPrefectClient) -> datetime:
    """What time it is by the server's clock, as it dates its answers; by ours where it does not.

    A machine whose own clock is hours off must not take what lives elsewhere for silent.
    """
    said = client.request("GET", "/health").headers.get("Date")
    return parsedate_to_datetime(said) if said else SystemClock().now()


def _ours(fleet: Fleet) -> DeploymentFilter:
    return DeploymentFilter(tags=DeploymentFilterTags(all_=sorted(tags_of(fleet))))
