"""A logged-in session with a MySQL server, and the socket under it for those who speak another protocol.

Login, authentication plugins and TLS are pymysql's; its exceptions end here, mapped to ours.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import DictCursor

from fleet.errors import ServerRefused, ServerUnreachable, ToolError
from fleet.model import Account, Server, Tls
from wire.row_stream import packets

_TLS_BROKE_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_ANSWER_HINT = "Is the server running, and can this host reach it?"
_GONE_HINT = "Is the server running?"
_PAUSE_HINT = (
    "Did this machine or the network stand still? At a login the server waits connect_timeout seconds for "
    "each answer."
)
_FULL_HINT = "The server has no connection left; try again later."
_LOGIN_HINT = "Look at the account in backstay.toml: user, password, and the hosts that it may come from."
_PRIVILEGE_HINT = "infra/examples/accounts.sql grants each account what it needs."

_UNREACHABLE = {
    CR.CR_CONN_HOST_ERROR: _ANSWER_HINT,
    CR.CR_SERVER_GONE_ERROR: _ANSWER_HINT,
    CR.CR_SERVER_LOST: _ANSWER_HINT,
    ER.SERVER_SHUTDOWN: _ANSWER_HINT,
    ER.QUERY_INTERRUPTED: _ANSWER_HINT,
    ER.CON_COUNT_ERROR: _FULL_HINT,
    ER.TOO_MANY_USER_CONNECTIONS: _FULL_HINT,
    ER.USER_LIMIT_REACHED: _FULL_HINT,
}
_REFUSED = {
    ER.ACCESS_DENIED_ERROR: _LOGIN_HINT,
    ER.HOST_NOT_PRIVILEGED: _LOGIN_HINT,
    ER.SPECIFIC_ACCESS_DENIED_ERROR: _PRIVILEGE_HINT,
    ER.TABLEACCESS_DENIED_ERROR: _PRIVILEGE_HINT,
    ER.COLUMNACCESS_DENIED_ERROR: _PRIVILEGE_HINT,
    ER.DBACCESS_DENIED_ERROR: _PRIVILEGE_HINT,
}


class ServerGone(ServerUnreachable):
    """The host answers, and nobody listens there: the server is down, and what it kept in memory is lost."""


@dataclass(frozen=True, slots=True)
class RawConnection:
    """The socket of a logged-in session, between two commands. ``peer`` names the server in errors."""

    socket: socket.socket
    is_encrypted: bool
    peer: str


class Session:
    """One connection to ``peer``, for statements; autocommit is on. Not for two threads at once."""

    def __init__(self, connection: Any, peer: str) -> None:
        self._connection: Any = connection
        self.peer = peer

    def query(self, sql: str, args: Sequence[object] = ()) -> list[dict[str, Any]]:
        """All rows of one statement, as dictionaries.

        Raises ServerUnreachable when the connection is lost, ServerRefused when the server says no.
        """
        with _mapped(self.peer, "cannot run a statement on"), self._connection.cursor() as cursor:
            cursor.execute(sql, tuple(args) or None)
            return list(cursor.fetchall())

    def stream(self, sql: str) -> Generator[bytes]:
        """The rows of one SELECT, each when it is asked for: packets, for ``wire.row_stream.cells``.

        Until the last one no other statement can be run; who closes it before must open a new session.
        Raises what ``query`` raises.
        """
        with _mapped(self.peer, "cannot read rows from"):
            yield from packets(self._connection, sql)

    def close(self) -> None:
        """Says goodbye if the connection still stands; closing twice is fine."""
        if self._connection is not None and self._connection.open:
            self._connection.close()
        self._connection = None

    def detach(self) -> RawConnection:
        """Hand the socket over; the session is unusable afterwards."""
        # pymysql has no public way to its socket.
        raw: socket.socket = self._connection._sock
        # The file object would keep the descriptor open after the socket is closed.
        self._connection._rfile.close()
        self._connection._rfile = self._connection._sock = None
        self._connection = None
        return RawConnection(raw, isinstance(raw, ssl.SSLSocket), self.peer)


def open_session(server: Server, account: Account, *, connect_timeout: float, read_timeout: float) -> Session:
    """Log in to ``server``. Timeouts are seconds: of connecting, and of each answer.

    A Unix socket is used without TLS. Raises ServerUnreachable (retryable) when the server does not answer or
    has no connection left, ServerGone (one of them) when nobody listens, ServerRefused when it does not let
    us in or its certificate is not accepted.
    """
    place: dict[str, Any] = {"host": server.host, "port": server.port}
    security: dict[str, Any] = {"ssl_disabled": True}
    where = f"{server.host}:{server.port}"
    if server.socket is not None:
        place, where = {"unix_socket": str(server.socket)}, str(server.socket)
    elif server.tls.mode != "off":
        security = {"ssl": _tls_context(server.tls)}
    peer = f"{server.name} ({where})"
    with _mapped(peer, "cannot log in to"):
        connection: Any = pymysql.connect(
            **place,
            **security,
            user=account.user,
            password=account.password.reveal().encode(),
            charset="utf8mb4",
            autocommit=True,
            cursorclass=DictCursor,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            write_timeout=read_timeout,
            program_name="backstay",
            defer_connect=True,
        )
        if server.socket is None:
            connection.connect()
        else:
            # As pymysql has it of a socket that it opens itself: a password may be sent as it is.
            connection._secure = True
            connection.connect(_connected(server.socket, connect_timeout))
    return Session(connection, peer)


def _connected(path: Path, timeout_seconds: float) -> socket.socket:
    """A Unix socket. One whose connection is refused pymysql leaves open until it is collected as garbage."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout_seconds)
        made.connect(str(path))
    except BaseException:
        made.close()
        raise
    return made


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Raises ServerRefused when a certificate file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        context.check_hostname = tls.mode == "verify-identity"
        if tls.mode == "required":
            context.verify_mode = ssl.CERT_NONE
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ValueError) as error:
        raise ServerRefused(
            f"cannot use the TLS certificates {tls.ca or ''} {tls.cert or ''}: {error}".replace("  ", " "),
            hint="Look at tls.ca, tls.cert and tls.key of the server: PEM files that this user may read.",
        ) from error
    return context


@contextmanager
def _mapped(peer: str, doing: str) -> Generator[None]:
    """The one place where pymysql's errors, and those of the socket below it, become ours."""
    try:
        yield
    except pymysql.MySQLError as error:
        raise _ours(error, f"{doing} {peer}") from error
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise ServerGone(f"{doing} {peer}: {error}", hint=_GONE_HINT) from error
    except OSError as error:
        raise ServerUnreachable(f"{doing} {peer}: {error}", hint=_ANSWER_HINT) from error


def _ours(error: pymysql.MySQLError, doing: str) -> ToolError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    message = f"{doing}: {error.args[-1] if error.args else error}"
    cause = getattr(error, "original_exception", None)
    if _gave_up_waiting(error, cause):
        return ServerUnreachable(f"{doing}: it broke off in the middle ({error.args[-1]})", hint=_PAUSE_HINT)
    if (
        isinstance(cause, ssl.SSLError) and not isinstance(cause, _TLS_BROKE_OFF)
    ) or number == CR.CR_SSL_CONNECTION_ERROR:
        return ServerRefused(message, hint="Look at tls of this server: its mode, and the ca that signs it.")
    if isinstance(cause, (ConnectionRefusedError, FileNotFoundError)):
        return ServerGone(message, hint=_GONE_HINT)
    if number in _UNREACHABLE or isinstance(error, pymysql.InterfaceError):
        return ServerUnreachable(message, hint=_UNREACHABLE.get(number))
    return ServerRefused(message, hint=_REFUSED.get(number))


def _gave_up_waiting(error: pymysql.MySQLError, cause: BaseException | None) -> bool:
    """Whether the server said goodbye when it was our turn: a plain packet with a number that is not next, in
    the middle of a TLS handshake too (seen with MySQL 9.7, as ``connect_timeout`` ran out).
    """
    if isinstance(cause, ssl.SSLError):
        return cause.reason == "WRONG_VERSION_NUMBER"
    # pymysql has no number for it; what a server says has one.
    return isinstance(error, pymysql.InternalError) and not isinstance(error.args[0], int)
