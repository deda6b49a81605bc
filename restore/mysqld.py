"""One mysqld of our own on a data directory: private, read-only, and gone when we are gone.

The server listens on a socket in a directory that only we can enter, and nowhere else. So it needs nobody's
account (``skip-grant-tables``). It starts no event and no replication, writes no binlog (``gtid_executed``
is exact without one: a clone's recovery brings it into ``mysql.gtid_executed``), and takes its UUID fresh
from the missing ``auto.cnf``.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, RecoveryFailed, ServerUnreachable
from fleet.model import Account, Secret, Server
from restore.errorlog import first_error, last_line
from restore.guarded import GuardedProcess
from restore.program import (
    LOG_NAME,
    SOCKET_NAME,
    DataShape,
    default_buffer_pool_bytes,
    server_options,
)
from restore.target import locked_by
from restore.wording import GOES_ON_HINT
from wire.session import Session, open_session

# sockaddr_un holds 108 bytes, the NUL among them.
LONGEST_SOCKET_PATH = 107
POLL_SECONDS = 0.1
LAST_WORDS_SECONDS = 10
CONNECT_SECONDS = 5
LONGEST_STATEMENT_SECONDS = 30 * 24 * 3600
READY = "ready for connections"
SIGNAL_STATUS = 128
LOG_READ_BYTES = 4 << 20


class PrivateServer:
    """A context manager around one mysqld. Leaving the block kills it, unless it was stopped or left running.

    ``datadir`` must be free: InnoDB itself refuses one that another server holds. The run directory (socket,
    pid file, error log) has mode 0700 and is removed at the end; after a failure it stays, and the error
    says where the log is.
    """

    def __init__(
        self,
        mysqld: Path,
        datadir: Path,
        shape: DataShape,
        *,
        start_timeout_seconds: float,
        stop_timeout_seconds: float = 600,
        buffer_pool_bytes: int | None = None,
        options: Sequence[str] = (),
        clock: Clock | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._mysqld = mysqld
        self._datadir = datadir
        self._shape = shape
        self._start_timeout_seconds = start_timeout_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._buffer_pool_bytes = buffer_pool_bytes or default_buffer_pool_bytes()
        self._options = tuple(options)
        self._clock = clock or SystemClock()
        self._cancelled = cancelled or threading.Event()
        self._run_directory: Path | None = None
        self._process: GuardedProcess | None = None
        self._session: Session | None = None

    def __enter__(self) -> Self:
        """Start, and wait for the end of recovery; see ``start``."""
        try:
            self.start()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end(error)

    @property
    def pid(self) -> int:
        """The server's process id."""
        process = self._running()
        if process.pid is None:
            raise self._failure("mysqld could not be started")
        return process.pid

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._directory() / SOCKET_NAME

    @property
    def log(self) -> Path:
        """Its error log."""
        return self._directory() / LOG_NAME

    def start(self) -> None:
        """Start, and return when the server answers, which is after recovery.

        Raises ``RecoveryFailed`` with the first error of its log, or with how far it came when time is up.
        """
        # InnoDB itself would try for 100 s to get the lock before it gave up.
        holder = locked_by(self._datadir)
        if holder is not None:
            raise RecoveryFailed(
                f"{self._datadir} is in use by process {holder or 'of another machine or container'}",
                hint="Stop the server that runs on it first.",
            )
        self._run_directory = make_run_directory()
        command = server_options(
            self._datadir.absolute(),
            self._run_directory,
            self._shape,
            buffer_pool_bytes=self._buffer_pool_bytes,
            as_root=os.geteuid() == 0,
        )
        self._process = GuardedProcess([self._mysqld, *command, *self._options], self._console())
        deadline = self._clock.monotonic() + self._start_timeout_seconds
        while self._process.poll() is None:
            if self._answers():
                return
            if self._cancelled.is_set():
                raise Cancelled("stopped while the server recovered", hint=GOES_ON_HINT)
            if self._clock.monotonic() >= deadline:
                reached = last_line(self._read_log()) or "it is empty"
                self.kill()
                raise RecoveryFailed(
                    f"mysqld was not ready after {self._start_timeout_seconds:g} s; its log ends: {reached}",
                    hint=f"Raise restore.start_timeout_seconds, or read the whole log: {self.log}",
                )
            self._clock.sleep(POLL_SECONDS)
        raise self._failure("mysqld ended before it was ready", self._process.poll())

    def query(self, sql: str, args: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows as dictionaries. A server that died over it raises ``RecoveryFailed`` with its first error."""
        try:
            if self._session is None:
                self._session = open_private_session(self.socket)
            return self._session.query(sql, args)
        except ServerUnreachable as error:
            self._session = None
            status = self._running().wait(LAST_WORDS_SECONDS)
            if status is None:
                raise
            raise self._failure("mysqld died", status) from error

    def stop(self) -> None:
        """Shut down in order, redo flushed. Raises ``RecoveryFailed`` when that takes too long or fails."""
        process = self._running()
        self._close_session()
        process.terminate()
        status = process.wait(self._stop_timeout_seconds)
        if status is None:
            self.kill()
            raise RecoveryFailed(
                f"mysqld did not stop within {self._stop_timeout_seconds:g} s and was killed",
                hint=f"Its data recovers at the next start. The log: {self.log}",
            )
        self._process = None
        if status != 0:
            raise self._failure(f"mysqld stopped with status {status}", status)
        self._remove_run_directory()

    def kill(self) -> None:
        """End it at once; nothing happens when it does not run."""
        self._close_session()
        if self._process is not None:
            self._process.kill()
            self._process = None

    def leave(self) -> None:
        """Let it run on without us: its socket and log stay where they are."""
        self._close_session()
        self._running().leave()
        self._process = None
        self._run_directory = None

    def _end(self, error: BaseException | None) -> None:
        self.kill()
        # The log of a server that failed is worth reading; the error said where it is.
        if not isinstance(error, RecoveryFailed):
            self._remove_run_directory()

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            open_private_session(self.socket, read_timeout_seconds=CONNECT_SECONDS).close()
        except ServerUnreachable:
            return False
        return True

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _running(self) -> GuardedProcess:
        if self._process is None:
            raise RecoveryFailed("mysqld does not run", hint="It was stopped or left before.")
        return self._process

    def _directory(self) -> Path:
        if self._run_directory is None:
            raise RecoveryFailed("mysqld does not run", hint="It was stopped or left before.")
        return self._run_directory

    def _console(self) -> Path:
        return self._directory() / "console.log"

    def _failure(self, what: str, status: int | None = None) -> RecoveryFailed:
        log = self._read_log()
        # Of a server that was once ready, what it complained of while starting is not what it died of.
        log = log.rpartition(READY)[2]
        told = first_error(log) or _killed_by(status) or last_line(log) or "its log is empty"
        return RecoveryFailed(f"{what}: {told}", hint=f"The whole log is in {self.log}")

    def _read_log(self) -> str:
        texts: list[str] = []
        for path in (self._console(), self.log):
            if path.exists():
                with path.open("rb") as file:
                    texts.append(file.read(LOG_READ_BYTES).decode("utf-8", "replace"))
        return "\n".join(texts)

    def _remove_run_directory(self) -> None:
        if self._run_directory is not None:
            shutil.rmtree(self._run_directory, ignore_errors=True)
            self._run_directory = None


def _killed_by(status: int | None) -> str | None:
    if status is None or status <= SIGNAL_STATUS:
        return None
    number = status - SIGNAL_STATUS
    suspicion = ", perhaps for lack of memory" if number == signal.SIGKILL else ""
    return f"it was ended by signal {number}{suspicion}"


def make_run_directory() -> Path:
    """A directory of mode 0700 whose path leaves room for a socket's name."""
    directory = Path(tempfile.mkdtemp(prefix="backstay-mysqld-"))
    if len(str(directory / SOCKET_NAME)) > LONGEST_SOCKET_PATH:
        directory.rmdir()
        directory = Path(tempfile.mkdtemp(prefix="backstay-mysqld-", dir="/tmp"))
    return directory


def open_private_session(path: Path, *, read_timeout_seconds: float = LONGEST_STATEMENT_SECONDS) -> Session:
    """Log in over the socket. Raises ``ServerUnreachable``."""
    # The server asks nobody for a password; the models want one.
    nobody = Account(user="root", password=Secret(inline=SecretStr("none")))
    server = Server(name="restored", host="localhost", region="here", socket=path)
    return open_session(server, nobody, connect_timeout=CONNECT_SECONDS, read_timeout=read_timeout_seconds)
