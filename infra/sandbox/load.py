"""A load whose every transaction can be accounted for later; see ``ledger`` for what is checked."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pymysql

from fleet.clock import Clock, SystemClock
from fleet.errors import SandboxFailed
from infra.sandbox.accounts import Credentials
from infra.sandbox.clients import Client, Connect, DdlThread, Pulse
from infra.sandbox.ddl import Connection, DdlEvent, DdlKind
from infra.sandbox.latency import Latencies, LatencySummary
from infra.sandbox.ledger import OPENING_BALANCE, ledger_path
from infra.sandbox.server import MysqlServer

_PAD = 120
_JOIN_SECONDS = 60
_SCHEMA = (
    "CREATE DATABASE IF NOT EXISTS `load`",
    "CREATE TABLE IF NOT EXISTS `load`.ledger (client SMALLINT UNSIGNED NOT NULL,"
    " sequence BIGINT UNSIGNED NOT NULL, book TINYINT UNSIGNED NOT NULL, debited INT NOT NULL,"
    " credited INT NOT NULL, amount INT NOT NULL,"
    " committed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), PRIMARY KEY (client, sequence))",
    "CREATE TABLE IF NOT EXISTS `load`.churn (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " client SMALLINT UNSIGNED NOT NULL, body VARCHAR(400) NOT NULL, KEY (client))",
    "CREATE TABLE IF NOT EXISTS `load`.books (book TINYINT UNSIGNED NOT NULL PRIMARY KEY,"
    " accounts INT NOT NULL)",
)
_ACCOUNTS = (
    "CREATE TABLE `load`.accounts_{} (id INT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL,"
    f" touched INT NOT NULL DEFAULT 0, pad CHAR({_PAD}) NOT NULL)"
)


@dataclass(frozen=True)
class LoadStatistics:
    """What happened in the last ``seconds``.

    ``latency``: of whole transactions, from when each was due, so a stall counts for all that had to wait.
    ``longest_statement_seconds``: of a single statement of a client, from when it was sent.
    ``longest_silence_seconds``: without any commit. ``errors``: by MySQL error number, conflicts left out.
    """

    seconds: float
    transactions: int
    conflicts: int
    errors: Mapping[int, int]
    latency: LatencySummary
    longest_statement_seconds: float
    longest_silence_seconds: float
    ddl: tuple[DdlEvent, ...]

    @property
    def per_second(self) -> float:
        """Transactions a second."""
        return self.transactions / self.seconds if self.seconds else 0.0


def connector(server: MysqlServer, account: Credentials, *, timeout_seconds: float = 600) -> Connect:
    """Connections to ``server`` over TCP and TLS; a statement may take ``timeout_seconds``."""
    tls = {"ca": str(server.tls.ca)} if server.tls else None

    def connect() -> Connection:
        return pymysql.connect(
            host=server.host,
            port=server.port,
            user=account.user,
            password=account.password,
            ssl=tls,
            autocommit=True,
            connect_timeout=5,
            read_timeout=timeout_seconds,
            write_timeout=timeout_seconds,
        )

    return connect


class Load:
    """Several clients that move money between accounts, and a thread that changes definitions meanwhile.

    ``connect`` opens a connection of an account with all rights on schema ``load``; clients ask it again
    after an error, so it may lead to another server then. ``directory`` keeps what was acknowledged, for
    ``check_load``.
    ``rate``: transactions a second of all clients together; None: as fast as they can.
    ``ddl_every_seconds``: None for changes on demand only.
    """

    def __init__(
        self,
        connect: Connect,
        directory: Path,
        *,
        clients: int = 4,
        books: int = 2,
        accounts: int = 1000,
        rate: float | None = None,
        ddl_every_seconds: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._connect = connect
        self._directory = directory
        self._count = clients
        self._books = books
        self._accounts = accounts
        self._interval = clients / rate if rate else 0.0
        self._ddl_every = ddl_every_seconds
        self._clock: Clock = clock or SystemClock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._clients: list[Client] = []
        self._failures: list[BaseException] = []
        self._pulse = Pulse(self._clock)
        self._ddl = DdlThread(connect, books, self._clock)

    def __enter__(self) -> Load:
        self.prepare()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def prepare(self) -> None:
        """Create the schema ``load``; one that is there is used as it is."""
        self._directory.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                for statement in _SCHEMA:
                    cursor.execute(statement)
                cursor.execute("SELECT COUNT(*), MIN(accounts) FROM `load`.books")
                books, accounts = cursor.fetchall()[0]
                if books:
                    self._books, self._accounts = books, accounts
                for book in range(books + 1, self._books + 1):
                    self._open_book(cursor, book)
        finally:
            connection.close()

    def start(self) -> None:
        """Let the clients go."""
        self._stopping.clear()
        self._pulse.begin()
        self._clients = [
            Client(
                number,
                self._connect,
                self._books,
                self._accounts,
                ledger=ledger_path(self._directory, number),
                pulse=self._pulse,
                clock=self._clock,
            )
            for number in range(1, self._count + 1)
        ]
        jobs: list[Callable[[], None]] = [
            partial(client.run, self._stopping, self._interval) for client in self._clients
        ]
        if self._ddl_every is not None:
            jobs.append(partial(self._ddl.run, self._stopping, self._ddl_every))
        self._threads = [threading.Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> LoadStatistics:
        """Let every client finish its transaction, and say how it went since statistics were last taken.

        A load that is stopped already says nothing new.
        Raises SandboxFailed if a client hangs in a statement, or what went wrong inside a thread.
        """
        self._stopping.set()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
            if thread.is_alive():
                raise SandboxFailed(f"a client of the load still hangs after {_JOIN_SECONDS} s")
        self._threads = []
        statistics = self.take_statistics()
        for client in self._clients:
            client.close()
        self._clients = []
        self._ddl.close()
        if self._failures:
            raise self._failures[0]
        return statistics

    def take_statistics(self) -> LoadStatistics:
        """How it went since the start, or since this was last asked."""
        windows = [client.take_window() for client in self._clients]
        latencies = Latencies()
        errors: Counter[int] = Counter()
        for window in windows:
            latencies.add(window.latencies)
            errors.update(window.errors)
        seconds, silence = self._pulse.take()
        return LoadStatistics(
            seconds=seconds,
            transactions=sum(window.transactions for window in windows),
            conflicts=sum(window.conflicts for window in windows),
            errors=dict(errors),
            latency=latencies.summary(),
            longest_statement_seconds=max((window.longest_statement for window in windows), default=0.0),
            longest_silence_seconds=silence,
            ddl=self._ddl.take(),
        )

    def run_ddl(self, kind: DdlKind) -> DdlEvent:
        """Make one change now, in the caller's thread; it is in the statistics too."""
        return self._ddl.run_one(kind)

    def _open_book(self, cursor: Any, book: int) -> None:
        cursor.execute(_ACCOUNTS.format(book))
        for start in range(1, self._accounts + 1, 1000):
            ids = range(start, min(start + 1000, self._accounts + 1))
            rows = [(number, OPENING_BALANCE, secrets.token_hex(_PAD // 2)) for number in ids]
            cursor.executemany(
                f"INSERT INTO `load`.accounts_{book} (id, balance, pad) VALUES (%s, %s, %s)", rows
            )
        cursor.execute("INSERT INTO `load`.books VALUES (%s, %s)", (book, self._accounts))

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - stop() raises it in the caller's thread
            self._failures.append(error)
