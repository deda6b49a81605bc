"""The flow ``archive-health``: whether all that is committed is archived. The archivers are no flows.

They are processes of their own, for nothing that protects data may need a scheduler to be up.
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from backup.archive.report import ArchiveStatus, ShardArchiveStatus
from backup.archive.status import archive_status
from drills.status.look import Looker
from drills.status.notify import notify
from drills.status.served import with_service
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import CheckFailed, ToolError
from fleet.finding import failures
from fleet.model import Fleet
from fleet.state_place import state_directory
from flows.environment import events_api_of
from flows.opening import open_repository
from flows.recorded import Done, recorded
from flows.service.sight import NOTIFIED_FILE
from flows.telling import log, show_table

LIMIT_SECONDS = 240
"""Before the next look begins."""


@flow(
    name="archive-health",
    flow_run_name="archive-health",
    retries=0,
    persist_result=False,
    timeout_seconds=LIMIT_SECONDS,
)
def archive_health() -> State[None]:
    """Look at the archive of every shard, and fail if something must be put right."""
    return recorded("archive-health", None, _work)


def _work(fleet: Fleet) -> Done:
    if fleet.scheduler.api_url is not None:
        _tell_who_is_to_be_told(fleet)
    stands = archive_status(fleet, open_repository(fleet), [])
    show_table("archive-health", [(f"Shard {shard.shard}", _stand(shard)) for shard in stands.shards])
    found = failures(tuple(finding for shard in stands.shards for finding in shard.findings))
    if found:
        first = found[0]
        more = f", and {figures.plural(len(found) - 1, 'more finding')}" if len(found) > 1 else ""
        raise CheckFailed(f"{first.subject}: {first.message}{more}", hint=first.hint)
    return Done(_in_one_line(stands))


def _tell_who_is_to_be_told(fleet: Fleet) -> None:
    """Where workers do the work there may be no service that looks; where there is, it is told once all the
    same, if it runs on this machine. It asks what that asks: what one of them did not see was not over.
    """
    directory, clock = state_directory(fleet), SystemClock()
    looker = Looker(fleet, clock=clock, asks_time=True)
    try:
        status = with_service(looker.look(), fleet, directory, clock.now())
    except ToolError as error:
        log(f"the fleet could not be looked at: {error.message}")
        return
    api = events_api_of(fleet, directory)
    for line in notify(status, fleet.notify, directory / NOTIFIED_FILE, at=clock.now(), prefect=api):
        log(line)


def _stand(shard: ShardArchiveStatus) -> str:
    until = (
        f"archived until {figures.moment(shard.last.committed_at)} UTC" if shard.last else "nothing archived"
    )
    lag = shard.lag
    behind = "" if lag is None or lag.seconds is None else f", {figures.duration(lag.seconds)} behind"
    gaps = f", {figures.plural(len(shard.gaps), 'gap')}" if shard.gaps else ""
    bad = failures(shard.findings)
    return f"{until}{behind}{gaps}" + (f"; {bad[0].message}" if bad else "")


def _in_one_line(stands: ArchiveStatus) -> str:
    lags = [shard.lag.seconds for shard in stands.shards if shard.lag and shard.lag.seconds is not None]
    behind = f", {figures.duration(max(lags))} behind at most" if lags else ""
    return f"{figures.plural(len(stands.shards), 'shard')} archived{behind}"
