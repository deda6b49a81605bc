"""Page tracking at the donors: is it on, what keeps it from being of use, and how it is switched on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

from backup.preflight import ANSWER_SECONDS, CONNECT_SECONDS
from fleet.errors import Cancelled, ToolError
from fleet.finding import Finding, Level
from fleet.model import Fleet, Server
from wire import page_tracking
from wire.page_tracking import PageTracking
from wire.session import Session, open_session

SWITCHED_ON_BY = (
    f"INSTALL COMPONENT '{page_tracking.COMPONENT}'",
    "SELECT mysqlbackup_page_track_set(true)",
)
"""What ``switch_tracking_on`` runs at a server; the first only where the component is missing."""

_COST = "as the donor of an incremental it reads and sends all of its data"
_CURE = "`backstay check --fix` switches it on; then only those parts of 64 MiB that changed are sent."
_BY_HAND = (
    f"Run there as an administrator: {'; '.join(SWITCHED_ON_BY)}. A replica must not be read-only meanwhile."
)


def check_tracking(fleet: Fleet, shard_name: str) -> tuple[Finding, ...]:
    """What there is to say about page tracking at every server of the shard that answers.

    Nothing of it stops a backup. Nothing at all is said with ``backup.donor_saving = "off"``.
    """
    return _of_every_server(fleet, shard_name, fix=False)


def switch_tracking_on(fleet: Fleet, shard_name: str) -> tuple[Finding, ...]:
    """As ``check_tracking``, after tracking was switched on wherever it was off and the account may.

    It stays on over restarts of the server, whose notes of changed pages lie below its ``#ib_archive``.
    """
    return _of_every_server(fleet, shard_name, fix=True)


def _of_every_server(fleet: Fleet, shard_name: str, *, fix: bool) -> tuple[Finding, ...]:
    if fleet.backup.donor_saving == "off":
        return ()
    servers = fleet.shard(shard_name).servers
    with ThreadPoolExecutor(max_workers=len(servers), thread_name_prefix="tracking") as pool:
        found = pool.map(partial(_look, fleet, fix=fix), servers)
        return tuple(finding for finding in found if finding is not None)


def _look(fleet: Fleet, server: Server, *, fix: bool) -> Finding | None:
    """``None`` where the server does not answer: preflight says so already."""
    subject = f"server {server.name}"
    try:
        session = open_session(
            server, fleet.accounts.backup, connect_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS
        )
    except Cancelled:
        raise
    except ToolError:
        return None
    with closing(session):
        try:
            status = page_tracking.tracking_status(session)
            if status.start_lsn is None and fix:
                status = page_tracking.switch_on(session)
            return _judge(session, subject, status)
        except Cancelled:
            raise
        except ToolError as error:
            if not fix:
                return None
            failed = f"page tracking was not switched on: {error.message}"
            return Finding(Level.WARN, subject, failed, _BY_HAND)


def _judge(session: Session, subject: str, status: PageTracking) -> Finding:
    if status.start_lsn is None:
        off = "page tracking is off" if status.component else "page tracking is not installed"
        return Finding(Level.OK, subject, f"{off}: {_COST}", _CURE)
    since = f"page tracking is on, since LSN {status.start_lsn}"
    if (obstacle := page_tracking.why_no_list(session)) is None:
        return Finding(Level.OK, subject, since)
    return Finding(Level.OK, subject, f"{since}, and of no use: {obstacle.message}", obstacle.hint)
