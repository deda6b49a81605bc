"""``python -m benchmarks.rpo``: what is lost when the source dies, and the archiver with it.

Each round is a new server, eight writers that keep ledgers of what the server acknowledged, and an archiver
in a process of its own. At a random moment both are killed (SIGKILL, the source first). Then the store is
read: which acknowledged rows are not in the archive?

- ``async`` and ``store-sync``: the archiver's machine is lost as well, its spool counts for nothing.
- ``local-sync``: the spool's machine lives, and the next archiver stores what it holds.

The loss in seconds reaches from the oldest missing acknowledgement to the kill. Only processes are killed:
this says nothing of a loss of power.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import pymysql
from rich.console import Console
from rich.table import Table

from backup.archive.news import News
from backup.archive.report import Mode
from backup.archive.run import run_archiver
from backup.archive.status import spool_use
from benchmarks.cases import ROOT
from fleet.clock import SystemClock
from fleet.model import Fleet
from infra.sandbox.distribution import MysqlDistribution, find_mysql
from infra.sandbox.files import write_private
from infra.sandbox.objectstore import REGION, SeaweedServer
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.archive.archive import ShardArchive
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store

MODES = cast(tuple[Mode, ...], get_args(Mode))
WRITERS = 8
BUCKET = "rpo"
WARM_UP_SECONDS = 1.0
PATIENCE_SECONDS = 60.0

_KEY = re.compile(rb"rpo-(\d+)-(\d+);")


class Acknowledged(NamedTuple):
    """A row whose commit the server confirmed at that time (monotonic seconds)."""

    writer: int
    number: int
    at: float


class Round(NamedTuple):
    """``extra``: archived, and never acknowledged: commits in flight, as with any replica."""

    mode: Mode
    acknowledged: int
    missing: int
    extra: int
    lost_seconds: float
    per_second: float
    fell_to_async: int


def main() -> int:
    if len(sys.argv) > 2 and sys.argv[1] == "archive":
        return archive_until_killed(Path(sys.argv[2]))
    arguments = _arguments()
    console = Console(stderr=True, highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="backstay-rpo-", dir=arguments.dir))
    rounds: list[Round] = []
    try:
        distribution = find_mysql()
        with _store(folder, arguments.store) as store:
            for number in range(1, arguments.rounds + 1):
                for mode in arguments.mode or MODES:
                    place = folder / f"{mode}-{number}"
                    place.mkdir()
                    measured = play(place, distribution, mode, store, random.Random(f"{number} {mode}"))
                    rounds.append(measured)
                    console.print(f"· round {number}: {measured}", style="dim", markup=False)
                    shutil.rmtree(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Console().print(table(rounds))
    if arguments.json:
        arguments.json.write_text(json.dumps([one._asdict() for one in rounds], indent=1) + "\n")
    return 0 if kept_their_promise(rounds) else 1


def kept_their_promise(rounds: Sequence[Round]) -> bool:
    """Nothing is lost in the modes that wait; less than two seconds in the one that does not."""
    return all(one.lost_seconds < 2.0 if one.mode == "async" else not one.missing for one in rounds)


def play(
    place: Path,
    distribution: MysqlDistribution,
    mode: Mode,
    store: dict[str, Any] | None,
    dice: random.Random,
) -> Round:
    """One round: write, kill both at a random moment, count."""
    server = start_scratch_server(place, distribution)
    try:
        fleet = fleet_of(server, place, mode, store)
        repository = Repository.create(
            open_store(fleet.repository), Keyring.from_config(fleet.keys), SystemClock()
        )
        server.query("CREATE DATABASE rpo")
        server.query("CREATE TABLE rpo.rows (id VARCHAR(40) PRIMARY KEY, pad VARCHAR(300))")
        if mode != "async":
            server.query("SET GLOBAL rpl_semi_sync_source_timeout = 60000")
            server.query("SET GLOBAL rpl_semi_sync_source_enabled = 1")
        archiver = start_archiver(fleet, place)
        try:
            _wait(lambda: "following" in (place / "archiver.log").read_text(), "the archiver follows")
            writers = [Writer(server, number) for number in range(WRITERS)]
            time.sleep(WARM_UP_SECONDS + dice.uniform(0, 3))
            killed_at = time.monotonic()
            server.kill()
        finally:
            archiver.send_signal(signal.SIGKILL)
            archiver.wait()
        acknowledged = [row for writer in writers for row in writer.end()]
        if mode == "local-sync":
            store_what_the_spool_holds(fleet, repository)
        seconds = killed_at - min(row.at for row in acknowledged)
        return count(mode, acknowledged, archived_rows(repository), killed_at, seconds, place)
    finally:
        server.remove()


def count(
    mode: Mode,
    acknowledged: Sequence[Acknowledged],
    archived: set[tuple[int, int]],
    killed_at: float,
    seconds: float,
    place: Path,
) -> Round:
    missing = [row for row in acknowledged if (row.writer, row.number) not in archived]
    return Round(
        mode=mode,
        acknowledged=len(acknowledged),
        missing=len(missing),
        extra=len(archived) - (len(acknowledged) - len(missing)),
        lost_seconds=round(max(0.0, killed_at - min((row.at for row in missing), default=killed_at)), 3),
        per_second=round(len(acknowledged) / seconds, 1),
        fell_to_async=(place / "archiver.log").read_text().count("fell-to-async"),
    )


class Writer:
    """A client that inserts rows one by one, and writes each acknowledged one into a ledger of its own."""

    def __init__(self, server: ScratchServer, number: int) -> None:
        self._number = number
        self._ledger: list[Acknowledged] = []
        self._connection = server.connect()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def end(self) -> list[Acknowledged]:
        """The ledger, once the server's death has ended the writer."""
        self._thread.join(PATIENCE_SECONDS)
        return self._ledger

    def _write(self) -> None:
        with suppress(pymysql.MySQLError, OSError), self._connection.cursor() as cursor:
            for row in range(1, 10**9):
                key = f"rpo-{self._number}-{row};"
                cursor.execute("INSERT INTO rpo.rows VALUES (%s, REPEAT('x', 250))", (key,))
                self._ledger.append(Acknowledged(self._number, row, time.monotonic()))


def archived_rows(repository: Repository) -> set[tuple[int, int]]:
    """The rows whose events are in the store, without a hole before them."""
    archive = ShardArchive(repository, "s1")
    found: set[tuple[int, int]] = set()
    for file in archive.files(1):
        parts: list[bytes] = []
        for part in file.parts:
            if part.last > file.end:
                break
            parts += [segment.data for _, segment in archive.read_part(part)]
        # A key that two segments share would be found in neither of them.
        found |= {(int(a), int(b)) for a, b in _KEY.findall(b"".join(parts))}
    return found


def store_what_the_spool_holds(fleet: Fleet, repository: Repository) -> None:
    """What the next archiver of this machine does first, though the source is gone."""
    cancelled = threading.Event()

    def hear(news: News) -> None:
        # It asks for its source only when the spool is empty.
        if news.kind in {"waiting", "following"}:
            cancelled.set()

    run_archiver(fleet, [], repository, clock=SystemClock(), cancelled=cancelled, progress=hear)
    left = spool_use(fleet, repository.repository_id, "s1")
    assert not left.files, left


def fleet_of(server: ScratchServer, place: Path, mode: Mode, store: dict[str, Any] | None) -> Fleet:
    """A fleet of this one server; its repository is new."""
    write_private(place / "key", secrets.token_bytes(32))
    if store is None:
        repository: dict[str, Any] = {"url": f"file://{place}/repository"}
    else:
        repository = store | {"url": f"s3://{BUCKET}/{place.name}"}
    return Fleet.model_validate(
        {
            "name": "rpo",
            "regions": [server.server.region],
            "shards": [
                {"name": "s1", "servers": [server.server.model_dump(mode="json", exclude_unset=True)]}
            ],
            "accounts": {"backup": server.backup_account, "archive": server.archive_account},
            "repository": repository,
            "keys": [{"id": "k1", "provider": "file", "file": str(place / "key")}],
            "archive": {"mode": mode, "spool_directory": str(place / "spool")},
        }
    )


def start_archiver(fleet: Fleet, place: Path) -> subprocess.Popen[bytes]:
    config = place / "fleet.json"
    config.write_text(fleet.model_dump_json(exclude_unset=True))
    with (place / "archiver.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rpo", "archive", str(config)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env=dict(os.environ),
        )


def archive_until_killed(config: Path) -> int:
    """What the archiver's process does."""
    fleet = Fleet.model_validate_json(config.read_text())
    repository = Repository.open(open_store(fleet.repository), Keyring.from_config(fleet.keys))

    def say(news: News) -> None:
        print(f"{news.kind}: {news.text}", flush=True)

    run_archiver(fleet, [], repository, clock=SystemClock(), cancelled=threading.Event(), progress=say)
    return 0


def table(rounds: Sequence[Round]) -> Table:
    """One row a mode."""
    shown = Table(title="source and archiver killed under 8 writers")
    for name in ("mode", "rounds", "commits/s", "acknowledged", "missing", "worst loss s", "extra", "falls"):
        shown.add_column(name, justify="left" if name == "mode" else "right")
    for mode in MODES:
        ours = [one for one in rounds if one.mode == mode]
        if ours:
            shown.add_row(
                mode,
                str(len(ours)),
                f"{sum(one.per_second for one in ours) / len(ours):,.0f}",
                f"{sum(one.acknowledged for one in ours):,}",
                f"{sum(one.missing for one in ours):,}",
                f"{max(one.lost_seconds for one in ours):.2f}",
                f"{sum(one.extra for one in ours):,}",
                str(sum(one.fell_to_async for one in ours)),
            )
    return shown


@contextmanager
def _store(folder: Path, kind: str) -> Iterator[dict[str, Any] | None]:
    """The repository section of a store for all rounds; None for a folder of each round's own."""
    if kind == "file":
        yield None
        return
    server = SeaweedServer(folder / "store")
    try:
        server.start()
        server.create_bucket(BUCKET, versioning=False)
        for name, secret in (("access", server.access_key), ("secret", server.secret_key)):
            write_private(folder / name, secret.encode())
        yield {
            "endpoint": server.endpoint,
            "region": REGION,
            "addressing": "path",
            "access_key": {"file": str(folder / "access")},
            "secret_key": {"file": str(folder / "secret")},
        }
    finally:
        server.remove()


def _wait(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS:g} s: {what}"
        time.sleep(0.02)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rpo", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="of each mode")
    parser.add_argument("--mode", action="append", choices=MODES, help="repeatable; default: all")
    parser.add_argument("--store", choices=("s3", "file"), default="s3")
    parser.add_argument("--dir", type=Path, help="where everything lies meanwhile (default: temporary)")
    parser.add_argument("--json", type=Path, help="write every round into this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
