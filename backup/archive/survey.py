"""Asks every server of a shard what it is, at once, for ``sources`` to decide by."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

from backup.archive.sources import Link, SourceFacts, Unseen
from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, ServerUnsupported, ToolError
from fleet.model import Account, Server, Shard
from fleet.skew import Skew
from wire import admin, binlog_admin
from wire.session import Session, open_session

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0


class Survey(NamedTuple):
    """Those that answered, and those that did not; each in the order of the config."""

    seen: tuple[SourceFacts, ...]
    unseen: tuple[Unseen, ...]


def survey_shard(shard: Shard, account: Account, clock: Clock | None = None) -> Survey:
    """Never raises for what a server says or does not say: a shard has others."""
    here = clock or SystemClock()

    def ask(server: Server) -> SourceFacts | Unseen:
        try:
            return _ask(server, account, here)
        except Cancelled:
            raise
        except ToolError as error:
            return Unseen(server, error)

    with ThreadPoolExecutor(len(shard.servers), thread_name_prefix="survey") as askers:
        answers = list(askers.map(ask, shard.servers))
    return Survey(
        tuple(answer for answer in answers if isinstance(answer, SourceFacts)),
        tuple(answer for answer in answers if isinstance(answer, Unseen)),
    )


def connector(server: Server, account: Account) -> Callable[[], Session]:
    """Opens sessions to one server."""
    return lambda: open_session(server, account, connect_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS)


def _ask(server: Server, account: Account, clock: Clock) -> SourceFacts:
    with closing(connector(server, account)()) as session:
        version = admin.server_version(session)
        if "mariadb" in version.lower():
            raise ServerUnsupported(
                f"server {server.name} is MariaDB ({version})",
                hint="Its binlogs and GTIDs are of another kind.",
            )
        state = binlog_admin.source_state(session)
        if state.gtid_mode != "ON":
            raise ServerUnsupported(
                f"server {server.name} has gtid_mode = {state.gtid_mode}",
                hint="The archive is kept by GTID: turn gtid_mode ON.",
            )
        links = binlog_admin.replication_links(session)
        skew = _ask_time(session, clock)
    return SourceFacts(
        server=server,
        uuid=state.uuid,
        version=state.version,
        is_writable=not state.read_only and not state.super_read_only,
        has_binlog=state.log_bin,
        links=tuple(
            Link(link.source_uuid, link.receiving, link.applying, link.lag_seconds) for link in links
        ),
        executed=state.gtid_executed,
        purged=state.gtid_purged,
        clock=skew,
    )


def _ask_time(session: Session, clock: Clock) -> Skew:
    began = clock.monotonic()
    theirs, answered_at = admin.utc_now(session), clock.now()
    # Asked last: a pause of this process makes it less certain, and never wrong.
    return Skew.of(theirs, answered_at=answered_at, took_seconds=clock.monotonic() - began)
