"""The two servers of a comparison: which one holds the live table, and sessions that are ready to read."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from fleet.errors import ConfigError, NotFound, ServerRefused, ServerUnreachable
from fleet.finding import Finding, Level
from fleet.model import Account, Fleet, Server, Shard
from fleet.table_name import TableName
from restore.mysqld import PrivateServer, open_private_session
from wire.binlog_admin import source_state
from wire.session import Session, open_session
from wire.table_definition import read_definition
from wire.table_reading import prepare_reading

CONNECT_SECONDS = 10
ANSWER_SECONDS = 3600
"""A server that has to sort a table before its first row may take that long."""


@dataclass(frozen=True)
class LiveTable:
    """A table that is there, on a server that answers."""

    server: Server
    account: Account
    table: TableName

    def open(self) -> Session:
        """A session that is ready to read."""
        session = _open(self.server, self.account)
        try:
            prepare_reading(session)
        except BaseException:
            session.close()
            raise
        return session


def find_live_table(fleet: Fleet, shard: str, table: TableName, *, server: str | None = None) -> LiveTable:
    """The table on the server named, or else on the shard's primary.

    Raises ConfigError without an account for it, NotFound for an unknown server or a table that is not
    there, ServerUnreachable, ServerRefused where no server, or more than one, takes writes.
    """
    of = fleet.shard(shard)
    account = fleet.accounts.diff
    if account is None:
        raise ConfigError(
            "backstay.toml names no account that may read rows: accounts.diff",
            hint="infra/examples/accounts.sql makes one, with SELECT on the tables that may be compared.",
        )
    chosen = of.server(server) if server is not None else _primary(of, account)
    live = LiveTable(chosen, account, table)
    with closing(live.open()) as session:
        try:
            read_definition(session, *table)
        except NotFound as error:
            raise NotFound(
                f"server {chosen.name} has no table {table}, or the account {account.user} may not read it",
                hint="If it was dropped, bring it back: backstay restore SHARD --table. Else:"
                f" GRANT SELECT ON {table.quoted} TO '{account.user}'@'%';",
            ) from error
    return live


def check_reader(fleet: Fleet, shard: str) -> tuple[Finding, ...]:
    """What keeps the account of ``diff`` from logging in; a server that is down is told by others."""
    account = fleet.accounts.diff
    if account is None:
        return ()
    found: list[Finding] = []
    for server in fleet.shard(shard).servers:
        try:
            _open(server, account).close()
        except ServerUnreachable:
            continue
        except ServerRefused as error:
            subject = f"server {server.name}"
            found.append(Finding(Level.WARN, subject, f"accounts.diff: {error.message}", error.hint))
    return tuple(found)


def open_past(server: PrivateServer) -> Session:
    """A session of the private server that is ready to read."""
    session = open_private_session(server.socket)
    prepare_reading(session)
    return session


def _primary(shard: Shard, account: Account) -> Server:
    """The one server that takes writes; the role in the config is a hint."""
    writable: list[Server] = []
    silent: list[str] = []
    for server in shard.servers:
        try:
            with closing(_open(server, account)) as session:
                if not source_state(session).read_only:
                    writable.append(server)
        except ServerUnreachable as error:
            silent.append(error.message)
    if len(writable) == 1:
        return writable[0]
    if writable:
        names = ", ".join(server.name for server in writable)
        raise ServerRefused(
            f"{len(writable)} servers of shard {shard.name} take writes: {names}",
            hint="Say which one to compare with: --server.",
        )
    if silent:
        raise ServerUnreachable(
            f"no server of shard {shard.name} that answers takes writes; {'; '.join(silent)}",
            hint="Compare with a replica: --server.",
        )
    raise ServerRefused(
        f"no server of shard {shard.name} takes writes", hint="Compare with a replica: --server."
    )


def _open(server: Server, account: Account) -> Session:
    return open_session(server, account, connect_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS)
