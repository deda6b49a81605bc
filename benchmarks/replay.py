"""``python -m benchmarks.replay``: binlogs applied to a base, by our source and by ``mysqlbinlog | mysql``.

One server with a few tables is stopped and copied: the base. Then 16 sessions write small transactions (two
rows and an index, 1 kB, seven events) over its eight tables. Each way gets a fresh copy of the base, a server
on it without a binlog and with relaxed flushing, and the same files; it is measured from its start until all
is applied. In the end GTID set and table checksums must be those of the server that wrote the binlogs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pymysql
from pymysql.cursors import DictCursor
from rich.console import Console
from rich.table import Table

from benchmarks.cases import ROOT
from benchmarks.measuring import Usage, run_measured, settle
from fleet.errors import SandboxFailed
from fleet.gtid import GtidSet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution, find_mysql
from infra.sandbox.files import copy_tree
from infra.sandbox.ports import free_ports
from infra.sandbox.server import MysqlServer
from wire import replica_admin
from wire.binlog.source import Piece, ReplicationSource
from wire.session import Session

PEER = "mysqlbinlog | mysql"
SESSIONS, TABLES, BASE_ROWS = 16, 8, 10_000
OPTIONS: dict[str, str | None] = {
    "innodb-buffer-pool-size": "512M",
    "loose-innodb-redo-log-capacity": "1G",
    "innodb-io-capacity": None,
    "innodb-flush-log-at-trx-commit": "0",
    "sync-binlog": "0",
    "max-binlog-size": str(64 << 20),
}
WITHOUT_BINLOG: dict[str, str | None] = {
    **OPTIONS,
    "log-bin": None,
    "sync-binlog": None,
    "max-binlog-size": None,
    "skip-log-bin": "ON",
    "max-relay-log-size": "64M",
    "relay-log-space-limit": "512M",
}
TABLE = (
    "CREATE TABLE bench.t{} (id INT PRIMARY KEY AUTO_INCREMENT, number INT, text VARCHAR(400), KEY (number))"
)
PROCEDURE = """CREATE PROCEDURE bench.fill{0}(transactions INT) BEGIN
    DECLARE chosen INT;
    WHILE transactions > 0 DO
        SET chosen = 1 + FLOOR(RAND() * {1});
        START TRANSACTION;
        INSERT INTO t{0} (number, text) VALUES (transactions, REPEAT('x', 240));
        UPDATE t{0} SET number = number + 1, text = REPEAT('y', 240) WHERE id = chosen;
        COMMIT;
        SET transactions = transactions - 1;
    END WHILE;
END"""

Say = Callable[[str], None]


class Story(NamedTuple):
    """The base's folder, what was written on top of it, and how everything must be in the end."""

    base: Path
    start: GtidSet
    files: tuple[Path, ...]
    size: int
    end: GtidSet
    checksums: dict[str, int | None]


class Run(NamedTuple):
    title: str
    workers: int
    usage: Usage


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "apply":
        apply(sys.argv[2], sys.argv[3], [Path(name) for name in sys.argv[4:]])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--transactions", type=int, default=300_000)
    parser.add_argument("--workers", type=int, action="append", help="of our replica; may be repeated")
    parser.add_argument("--dir", type=Path, help="where everything lies meanwhile (default: temporary)")
    arguments = parser.parse_args()
    workers: list[int] = arguments.workers or [max(4, os.cpu_count() or 1)]
    folder = Path(tempfile.mkdtemp(prefix="backstay-replay-", dir=arguments.dir))
    console = Console(stderr=True, highlight=False)
    try:
        distribution = find_mysql()
        story = write(folder, distribution, arguments.transactions, console.print)
        runs = measure(folder, distribution, story, workers, console.print)
        show(story, runs)
    finally:
        shutil.rmtree(folder)


def write(folder: Path, distribution: MysqlDistribution, transactions: int, say: Say) -> Story:
    """Make the base, and the binlogs on top of it."""
    server = MysqlServer(
        folder / "source", "source", free_ports(1)[0], 1, distribution, options=OPTIONS, owner=folder
    )
    server.initialise()
    try:
        server.start()
        fill_base(server)
        start = executed(server)
        server.stop()
        copy_tree(server.datadir, folder / "base")
        (folder / "base" / "auto.cnf").unlink()
        server.start()
        began = time.monotonic()
        fill(server, transactions)
        say(f"· {transactions:,} transactions written in {time.monotonic() - began:.0f} s")
        server.query("FLUSH BINARY LOGS")
        names = [row["Log_name"] for row in server.query("SHOW BINARY LOGS")]
        # The one that was open when the base was made is where replay begins.
        files = tuple(server.datadir / name for name in names[1:-1])
        end = executed(server)
        if (end - start).count() != transactions // SESSIONS * SESSIONS:
            raise SandboxFailed(f"{(end - start).count()} of {transactions} transactions were written")
        connection = server.connect()
        found = checksums(connection)
        connection.close()
        server.stop()
    except BaseException:
        server.kill()
        raise
    return Story(folder / "base", start, files, sum(file.stat().st_size for file in files), end, found)


def fill_base(server: MysqlServer) -> None:
    server.query("CREATE DATABASE bench")
    for number in range(TABLES):
        server.query(TABLE.format(number))
        server.query(PROCEDURE.format(number, BASE_ROWS))
        server.query(
            f"INSERT INTO bench.t{number} (number, text) WITH RECURSIVE n (i) AS"
            f" (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000), m (j) AS"
            f" (SELECT i FROM n WHERE i <= {BASE_ROWS // 1000})"
            " SELECT i, REPEAT('b', 240) FROM n JOIN m"
        )
    server.query("FLUSH BINARY LOGS")


def fill(server: MysqlServer, transactions: int) -> None:
    call = "CALL bench.fill{}({})"
    sessions = [
        threading.Thread(target=server.query, args=(call.format(number % TABLES, transactions // SESSIONS),))
        for number in range(SESSIONS)
    ]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()


def executed(server: MysqlServer) -> GtidSet:
    return GtidSet.parse(server.query("SELECT @@gtid_executed AS gtids")[0]["gtids"])


def measure(
    folder: Path, distribution: MysqlDistribution, story: Story, workers: Sequence[int], say: Say
) -> list[Run]:
    runs: list[Run] = []
    for title, count in [(PEER, 1), *(("Backstay's source", count) for count in workers)]:
        with restored(folder, distribution, story, count) as server:
            if title == PEER:
                tool = {name: distribution.tool(name) for name in ("mysqlbinlog", "mysql")}
                read = f"{tool['mysqlbinlog']} --no-defaults {' '.join(map(str, story.files))}"
                pipe = f"{read} | {tool['mysql']} --no-defaults --binary-mode -u root -S {server.socket}"
                command = ["bash", "-o", "pipefail", "-c", pipe]
            else:
                module = [sys.executable, "-m", "benchmarks.replay", "apply"]
                command = [*module, str(server.socket), distribution.version, *map(str, story.files)]
            assert server.process is not None
            usage = run_measured(
                command,
                environ=os.environ | {"PYTHONPATH": str(ROOT)},
                servers={"mysqld": server.process.pid},
                durable=None,
                log=folder / "log",
            )
            check(server, story, title)
            runs.append(Run(title, count, usage))
            say(f"· {title}: {usage.seconds:.0f} s, noise {usage.noise:.0%}")
    return runs


@contextmanager
def restored(
    folder: Path, distribution: MysqlDistribution, story: Story, workers: int
) -> Generator[MysqlServer]:
    """A server on a fresh copy of the base, as during a restore: no binlog, relaxed flushing."""
    options = {**WITHOUT_BINLOG, "replica-parallel-workers": str(workers)}
    server = MysqlServer(
        folder / "restored", "restored", free_ports(1)[0], 4_000_000_000, distribution, options=options,
        owner=folder,
    )  # fmt: skip
    server.directory.mkdir()
    copy_tree(story.base, server.datadir)
    settle()
    try:
        server.start()
        if executed(server) != story.start:
            raise SandboxFailed("the base does not know what it has executed")
        yield server
    finally:
        server.remove()


def check(server: MysqlServer, story: Story, title: str) -> None:
    connection = server.connect()
    try:
        if executed(server) != story.end or checksums(connection) != story.checksums:
            raise SandboxFailed(f"{title} did not lead to what the source has")
    finally:
        connection.close()


class Files:
    """Binlog files as a feed."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def pieces(self, have: GtidSet, cancelled: threading.Event) -> Iterator[Piece]:  # noqa: ARG002
        for file in self._files:
            yield Piece(file.name, 4, memoryview(file.read_bytes())[4:])


def apply(socket: str, version: str, files: Sequence[Path]) -> None:
    """What our process does: serve the files to the server behind ``socket``, until it has applied them."""
    session = _session(socket)
    server_uuid = "99999999-9999-9999-9999-999999999999"
    with ReplicationSource(
        Files(files), version=version, server_id=4_000_000_001, server_uuid=server_uuid
    ) as source:
        replica_admin.change_source(session, source.host, source.port, heartbeat_seconds=0.5)
        replica_admin.start_replica(session, source.user, source.password)
        sent = -1
        # Until the source has nothing more to send, and the replica has applied all that it was sent.
        while True:
            time.sleep(0.2)
            state = replica_admin.replica_state(session)
            if state.errors:
                raise SystemExit(str(state.errors[0]))
            before, sent = sent, source.statistics.transactions
            done = source.statistics.file == files[-1].name and state.retrieved <= state.executed
            if done and before == sent and sent:
                break
        replica_admin.stop_replica(session)
        replica_admin.reset_replica_all(session)


def _session(socket: str) -> Session:
    """Of root, who has no password on a server of the sandbox."""
    connection = pymysql.connect(unix_socket=socket, user="root", autocommit=True, cursorclass=DictCursor)
    return Session(connection, "restored")


def show(story: Story, runs: Sequence[Run]) -> None:
    transactions = (story.end - story.start).count()
    table = Table(
        title=f"{transactions:,} transactions, {story.size / 1e6:,.0f} MB, {len(story.files)} files"
    )
    table.add_column("")
    for column in ("workers", "wall s", "transactions/s", "ratio", "client CPU s", "mysqld CPU s", "others"):
        table.add_column(column, justify="right")
    peer = runs[0].usage.seconds
    for title, workers, usage in runs:
        table.add_row(
            title,
            str(workers),
            f"{usage.seconds:.1f}",
            f"{transactions / usage.seconds:,.0f}",
            f"{peer / usage.seconds:.2f}",
            f"{usage.cpu_seconds:.1f}",
            f"{usage.servers_cpu_seconds['mysqld']:.1f}",
            f"{usage.noise:.0%}",
        )
    Console(width=110, highlight=False).print(table)


if __name__ == "__main__":
    main()
