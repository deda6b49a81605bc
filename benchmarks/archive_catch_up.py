"""``python -m benchmarks.archive_catch_up``: receive a source's binlogs at full speed, beside mysqlbinlog.

One server, binlogs of small transactions (seven events, 1 kB), and whoever receives them writes plain files,
the same bytes: ``mysqlbinlog --read-from-remote-server --raw``, our dump alone, and our dump with the index
of transactions, over TCP, without TLS and with it. Each is a process of its own, measured from its start to
the last byte synced. CPU is told without what Python took to start, which an archiver does once in weeks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.cases import ROOT
from benchmarks.measuring import Usage, run_measured
from fleet.model import Account, Secret, Server, Tls
from infra.sandbox.distribution import find_mysql
from infra.sandbox.files import write_private
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from wire.binlog.dump import BinlogDump, DumpOptions, StartAt
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk
from wire.session import open_session

PEER = "mysqlbinlog --raw"
WRITERS = 4
FILE_BYTES = 64 * 1024 * 1024
OPTIONS: dict[str, str | None] = {
    "sync-binlog": "0",
    "innodb-flush-log-at-trx-commit": "0",
    "max-binlog-size": str(FILE_BYTES),
}
TABLE = (
    "CREATE TABLE bench.t{} (id INT PRIMARY KEY AUTO_INCREMENT, number INT, text VARCHAR(400), KEY (number))"
)
PROCEDURE = """CREATE PROCEDURE bench.fill(transactions INT) BEGIN
    WHILE transactions > 0 DO
        START TRANSACTION;
        INSERT INTO t1 (number, text) VALUES (transactions, REPEAT('x', 270));
        INSERT INTO t2 (number, text) VALUES (transactions, REPEAT('y', 270));
        COMMIT;
        SET transactions = transactions - 1;
    END WHILE;
END"""


class Binlogs(NamedTuple):
    """All that is to be received: the files by name, what is in them, and where the last one ends."""

    names: list[str]
    events: int
    size: int
    end: int


class Case(NamedTuple):
    title: str
    tls: bool
    command: Sequence[str]


class Run(NamedTuple):
    """``cpu_seconds`` is without the start of a Python process."""

    usage: Usage
    cpu_seconds: float


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "receive":
        receive(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive_catch_up", description=__doc__)
    parser.add_argument("--transactions", type=int, default=200_000)
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each runs, in turn; medians are shown"
    )
    parser.add_argument("--dir", type=Path, help="where everything lies meanwhile (default: temporary)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="backstay-catch-up-", dir=arguments.dir))
    console = Console(stderr=True, highlight=False)
    try:
        server = start_scratch_server(folder, find_mysql(), options=OPTIONS)
        try:
            binlogs = fill(server, arguments.transactions)
            console.print(
                f"· {binlogs.events:,} events, {binlogs.size / 1e6:,.0f} MB, {len(binlogs.names)} files"
            )
            show(binlogs, measure(server, folder, binlogs, arguments.rounds, console.print))
        finally:
            server.remove()
    finally:
        shutil.rmtree(folder)


def fill(server: ScratchServer, transactions: int) -> Binlogs:
    """Write the transactions into fresh binlog files, and close the last of them."""
    for statement in ("CREATE DATABASE bench", TABLE.format(1), TABLE.format(2), PROCEDURE):
        server.query(statement)
    server.query("FLUSH BINARY LOGS")
    first = server.query("SHOW BINARY LOG STATUS")[0]["File"]
    call = f"CALL bench.fill({transactions // WRITERS})"
    writers = [threading.Thread(target=server.query, args=(call,)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    server.query("FLUSH BINARY LOGS")
    names = [row["Log_name"] for row in server.query("SHOW BINARY LOGS")]
    # Without the one that is open: its flag says so, and the copies' does not.
    names = names[names.index(first) : -1]
    files = [(server.datadir / name).read_bytes() for name in names]
    events = sum(1 for data in files for _ in walk(data, 4))
    return Binlogs(names, events, sum(map(len, files)), len(files[-1]))


def cases(server: ScratchServer, folder: Path, binlogs: Binlogs) -> list[Case]:
    account = server.archive_account
    server.query(f"ALTER USER '{account.user}'@'%' REQUIRE NONE")
    assert account.password.file is not None
    secret = account.password.file
    options = folder / "mysqlbinlog.cnf"
    write_private(options, f"[client]\npassword={secret.read_text()}\n".encode())
    tool = str(server.distribution.tool("mysqlbinlog"))
    made: list[Case] = []
    for tls in (False, True):
        where = [f"--host={server.host}", f"--port={server.port}", f"--user={account.user}"]
        mode = f"--ssl-mode={'REQUIRED' if tls else 'DISABLED'}"
        peer = [
            tool,
            f"--defaults-file={options}",
            *where,
            mode,
            "--read-from-remote-server",
            "--raw",
            "--get-server-public-key",
        ]
        # It writes to the name that it is given, and the file's own behind it.
        peer += ["--to-last-log", f"--result-file={folder / 'received'}/", binlogs.names[0]]
        made.append(Case(PEER, tls, peer))
        ours = [
            sys.executable,
            "-m",
            "benchmarks.archive_catch_up",
            "receive",
            str(server.port),
            account.user,
        ]
        ours += [str(secret), str(folder / "received"), binlogs.names[0], binlogs.names[-1], str(binlogs.end)]
        for title, index in (("Backstay, dump", "no"), ("Backstay, dump and index", "index")):
            made.append(Case(title, tls, [*ours, "required" if tls else "off", index]))
    return made


def receive(
    port: str, user: str, secret: str, into: str, first: str, last: str, end: str, tls: str, index: str
) -> None:
    """What one of our processes does: receive all files from ``first`` on, write them, and end."""
    server = Server(
        name="source",
        host="127.0.0.1",
        port=int(port),
        region="here",
        role="primary",
        tls=Tls.model_validate({"mode": tls}),
    )
    account = Account(user=user, password=Secret(file=Path(secret)))
    session = open_session(server, account, connect_timeout=10, read_timeout=30)
    options = DumpOptions(server_id=4_000_000_000, replica_uuid="3e11fa47-71ca-11e1-9e33-c80aa9429562")
    reader = TransactionReader(verify=False) if index == "index" else None
    print(time.process_time())
    with BinlogDump.open(session, StartAt(first, 0), options) as dump:
        output = None
        for batch in dump.batches():
            if batch.start == 0 and batch.data:
                output = (Path(into) / batch.file).open("wb")
            if output is not None:
                output.write(batch.data)
            if reader is not None and batch.data:
                reader.feed(batch.data, batch.start)
            if batch.ends_file and output is not None:
                output.close()
            if (batch.file, batch.end) == (last, int(end)):
                break


def measure(
    server: ScratchServer, folder: Path, binlogs: Binlogs, rounds: int, say: Callable[[str], None]
) -> dict[tuple[str, bool], list[Run]]:
    assert server.process is not None
    found: dict[tuple[str, bool], list[Run]] = {}
    received = folder / "received"
    for number in range(rounds):
        for case in cases(server, folder, binlogs):
            received.mkdir()
            usage = run_measured(
                case.command,
                environ=os.environ | {"PYTHONPATH": str(ROOT)},
                servers={"source": server.process.pid},
                durable=received,
                log=folder / "log",
            )
            for name in binlogs.names:
                if (received / name).read_bytes() != (server.datadir / name).read_bytes():
                    raise SystemExit(f"{case.title} did not receive {name} as it is")
            shutil.rmtree(received)
            start = 0.0 if case.title == PEER else float((folder / "log").read_text())
            run = Run(usage, usage.cpu_seconds - start)
            found.setdefault((case.title, case.tls), []).append(run)
            say(f"· round {number + 1}: {case.title}, {run.cpu_seconds:.2f} s CPU, noise {usage.noise:.0%}")
    return found


def show(binlogs: Binlogs, found: dict[tuple[str, bool], list[Run]]) -> None:
    table = Table(title=f"{binlogs.events:,} events, {binlogs.size / 1e6:,.0f} MB")
    table.add_column("receiver")
    for column in (
        "TLS",
        "wall s",
        "events/s",
        "CPU us/event",
        "ratio",
        "events/s a core",
        "source CPU s",
        "peak MB",
    ):
        table.add_column(column, justify="right")
    for (title, tls), runs in found.items():
        cpu = statistics.median(run.cpu_seconds for run in runs)
        peer = statistics.median(run.cpu_seconds for run in found[PEER, tls])
        seconds = statistics.median(run.usage.seconds for run in runs)
        table.add_row(
            title,
            "yes" if tls else "no",
            f"{seconds:.1f}",
            f"{binlogs.events / seconds:,.0f}",
            f"{cpu / binlogs.events * 1e6:.2f}",
            f"{cpu / peer:.2f}",
            f"{binlogs.events / cpu:,.0f}",
            f"{statistics.median(run.usage.servers_cpu_seconds['source'] for run in runs):.1f}",
            f"{max(run.usage.peak_bytes for run in runs) / 1e6:.0f}",
        )
    Console(width=140, highlight=False).print(table)


if __name__ == "__main__":
    main()
