"""``make demo``: a shard is backed up under load, destroyed, restored from the bucket, and compared.

Everything is real: three MySQL servers, an S3 store, clients that write and change definitions meanwhile. One
replica is stopped before the backup, so that afterwards it can be brought to exactly the GTID set that the
restored server says it has; then every table of the two must have the same checksum.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql
from rich.console import Console

from backup.full import BackupResult, take_full_backup
from fleet.clock import Clock, SystemClock
from fleet.config import load
from fleet.errors import ProofFailed, ToolError
from fleet.model import Fleet
from infra.sandbox.dataset import checksums, create_dataset
from infra.sandbox.fleet import SandboxFleet, SandboxShard
from infra.sandbox.load import Load, LoadStatistics, connector
from infra.sandbox.server import MysqlServer
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store
from restore.full import Leave, LeftServer, RestoreResult, restore_backup

MEGABYTES = int(os.environ.get("BACKSTAY_DEMO_MEGABYTES", "200"))
CATCH_UP_SECONDS = 120
GLANCE_SECONDS = 0.1
MB = 1_000_000

console = Console(highlight=False)


class Story:
    """Prints what happens, one line a step, with the seconds it took."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Generator[list[str]]:
        """The facts that are put into the list stand below the step's line."""
        self._number += 1
        began = self.clock.monotonic()
        facts: list[str] = []
        with console.status(f"{title} ..."):
            yield facts
        console.print(
            f"[bold]{self._number:2}.[/] {title:<60} [dim]{self.clock.monotonic() - began:6.1f} s[/]"
        )
        for fact in facts:
            console.print(f"    [dim]{fact}[/]")


def main() -> int:
    """Tell the story; 0 when the restored shard equals the replica, the error's exit code otherwise."""
    folder = Path(tempfile.mkdtemp(prefix="backstay-demo-"))
    story = Story(SystemClock())
    began = story.clock.monotonic()
    sandbox: SandboxFleet | None = None
    try:
        with story.step("start a shard: a primary, two replicas, an S3 store") as facts:
            sandbox = SandboxFleet.up(folder / "sandbox")
            facts.append(f"MySQL {sandbox.state.version}; all of it in {folder}")
        tell(story, sandbox, folder)
        seconds = story.clock.monotonic() - began
        console.print(f"\nThe shard came back, and it is the same. {seconds:.0f} seconds in all.")
        return 0
    except ToolError as error:
        console.print(f"[red]error:[/] {error.message}")
        if error.hint:
            console.print(f"hint: {error.hint}")
        return error.exit_code
    finally:
        if sandbox is not None:
            sandbox.down()
        shutil.rmtree(folder, ignore_errors=True)


def tell(story: Story, sandbox: SandboxFleet, folder: Path) -> None:
    """Everything after the servers are up."""
    shard = sandbox.shards[0]
    witness = shard.replicas[-1]
    with story.step(f"load about {MEGABYTES} MB: partitions, JSON, blobs, full text ...") as facts:
        with closing(shard.primary.connect()) as connection:
            create_dataset(connection, MEGABYTES)
        shard.wait_caught_up()
        facts.append(f"{len(tables(shard.primary))} tables; replica {witness.name} stops applying here")
        witness.query("STOP REPLICA SQL_THREAD")
    fleet = load(sandbox.config_path)
    keyring = Keyring.from_config(fleet.keys)
    repository = Repository.create(open_store(fleet.repository), keyring, story.clock)
    backup = back_up_under_load(story, sandbox, fleet, repository, folder)
    with story.step(f"lose the shard: kill {shard.primary.name}, delete its data directory") as facts:
        shard.primary.kill()
        shutil.rmtree(shard.primary.datadir)
        facts.append("kill -9, and every file of it is gone")
    restored = bring_back(story, fleet, repository, backup, folder)
    assert restored.left is not None
    try:
        compare(story, witness, restored)
    finally:
        stop(restored.left, story.clock)


def back_up_under_load(
    story: Story, sandbox: SandboxFleet, fleet: Fleet, repository: Repository, folder: Path
) -> BackupResult:
    """A full backup while four clients write and definitions change every half second."""
    shard: SandboxShard = sandbox.shards[0]
    clients = Load(
        connector(shard.primary, sandbox.accounts.application), folder / "ledger", ddl_every_seconds=0.5
    )
    with story.step("take a full backup while clients write and change tables") as facts:
        clients.prepare()
        clients.start()
        try:
            backup = take_full_backup(fleet, shard.name, repository=repository)
        finally:
            work: LoadStatistics = clients.stop()
        facts += [
            f"{backup.label}, copied from {backup.donor}, which nobody stopped",
            f"{backup.received_bytes / MB:.0f} MB at {backup.received_bytes / MB / backup.seconds:.0f} MB/s, "
            f"stored {backup.stored_bytes / MB:.0f} MB, sealed, in {repository.store.describe()}",
            f"meanwhile {work.transactions} transactions and {len(work.ddl)} changes of definition",
        ]
    return backup


def bring_back(
    story: Story, fleet: Fleet, repository: Repository, backup: BackupResult, folder: Path
) -> RestoreResult:
    """Restore into an empty directory, and leave the private server running."""
    with story.step("restore it from the bucket into an empty directory") as facts:
        restored = restore_backup(
            fleet, backup.shard, folder / "restored", repository=repository, leave=Leave.RUNNING, check="all"
        )
        facts.append(
            f"{restored.read_bytes / MB:.0f} MB fetched; InnoDB recovered; CHECK TABLE on every table"
        )
        facts.append(f"its GTID set: {shortened(restored.gtid_executed)}")
    return restored


def compare(story: Story, witness: MysqlServer, restored: RestoreResult) -> None:
    """Bring ``witness`` to the restored set of GTIDs, compare every table. Raises ``ProofFailed``."""
    assert restored.left is not None
    with story.step(f"bring {witness.name} to the same GTID set and compare every table") as facts:
        witness.query("START REPLICA SQL_THREAD UNTIL SQL_AFTER_GTIDS = %s", (restored.gtid_executed,))
        reached = witness.query(
            "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s) AS late", (restored.gtid_executed, CATCH_UP_SECONDS)
        )
        if reached[0]["late"]:
            raise ProofFailed(f"{witness.name} did not reach the restored GTID set in {CATCH_UP_SECONDS} s")
        wait_stopped(witness, story.clock)
        theirs = checksums_of(witness.connect())
        ours = checksums_of(pymysql.connect(unix_socket=str(restored.left.socket), user="root"))
        differing = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
        if differing:
            raise ProofFailed(f"{len(differing)} tables differ: {', '.join(differing[:5])}")
        facts.append(f"CHECKSUM TABLE of {len(ours)} tables: all equal")


def wait_stopped(witness: MysqlServer, clock: Clock) -> None:
    """Until the applier has stopped where it was told to, with exactly the set that was asked for."""
    deadline = clock.monotonic() + CATCH_UP_SECONDS
    while witness.query("SHOW REPLICA STATUS")[0]["Replica_SQL_Running"] != "No":
        if clock.monotonic() > deadline:
            raise ProofFailed(
                f"the applier of {witness.name} did not stop at the GTID set that was asked for"
            )
        clock.sleep(GLANCE_SECONDS)


def checksums_of(connection: Any) -> dict[str, int | None]:
    with closing(connection):
        return checksums(connection)


def tables(server: MysqlServer) -> list[dict[str, Any]]:
    return server.query(
        "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        " AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')"
    )


def stop(left: LeftServer, clock: Clock) -> None:
    """An orderly end of the restored server."""
    with closing(pymysql.connect(unix_socket=str(left.socket), user="root")) as connection:
        connection.cursor().execute("SHUTDOWN")
    deadline = clock.monotonic() + CATCH_UP_SECONDS
    while Path(f"/proc/{left.pid}").exists() and clock.monotonic() < deadline:
        clock.sleep(GLANCE_SECONDS)


def shortened(gtids: str, width: int = 60) -> str:
    line = gtids.replace("\n", "")
    return line if len(line) <= width else line[: width - 3] + "..."


if __name__ == "__main__":
    sys.exit(main())
