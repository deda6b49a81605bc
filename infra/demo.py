"""``make demo``: a table is dropped, a shard is destroyed; both come back from the bucket, and are compared.

Everything is real: three MySQL servers, an S3 store, clients that write and change definitions meanwhile.
One replica stops applying before the backup. So afterwards it can be brought to exactly the GTID set that a
restored server says it has, be it in the middle, or at the end without one transaction; then every table of
the two must have the same checksum.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from rich.console import Console

from backup.archive.catch_up import archive_until_now
from backup.full import take_full_backup
from backup.incremental import take_incremental_backup
from drills.status.look import Looker
from drills.status.report import FleetStatus
from drills.status.service_state import read_service
from fleet.clock import Clock, SystemClock
from fleet.config import load
from fleet.errors import ProofFailed, SandboxFailed, ToolError
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.moments import from_microseconds
from fleet.state_place import state_directory
from fleet.transaction import Gtid, Kind
from infra.sandbox.dataset import checksums, create_dataset
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.load import Load, connector
from infra.sandbox.server import MysqlServer
from repository.archive.archive import ShardArchive
from repository.archive.find import Query, find
from repository.archive.line import Line
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store
from restore.full import Leave, LeftServer
from restore.point import RecoveryTarget
from restore.point_restore import PointResult, restore_to_point

MEGABYTES = int(os.environ.get("BACKSTAY_DEMO_MEGABYTES", "200"))
CATCH_UP_SECONDS = 120
GLANCE_SECONDS = 0.1
UNSEEN_SECONDS = 2
SERVICE_SECONDS = 150
MB = 1_000_000
VICTIM = "shop.order_items"

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
    connect = connector(shard.primary, sandbox.accounts.application)
    clients = Load(connect, folder / "ledger", ddl_every_seconds=0.5)
    with clients:
        back_up(story, fleet, repository)
        back_up_what_changed(story, fleet, repository)
        with serving(story, fleet, sandbox.config_path):
            drop_a_table(story, shard.primary, clients)
    with story.step("archive the last binlogs, then lose the shard") as facts:
        archive_until_now(fleet, [shard.name], repository, clock=story.clock, cancelled=threading.Event())
        wait_received(witness, shard.primary, story.clock)
        shard.primary.kill()
        shutil.rmtree(shard.primary.datadir)
        facts.append(f"{shard.primary.name}: kill -9, and every file of it is gone")
    drop = find_the_drop(story, shard.name, repository)
    replica = Witness(story, fleet, repository, witness)
    before, without = RecoveryTarget.before(drop), RecoveryTarget.latest(skip=drop.as_set())
    restore_and_compare(replica, before, folder / "before", "restore to just before it")
    restore_and_compare(replica, without, folder / "without", "restore everything up to now, without it")


@contextmanager
def serving(story: Story, fleet: Fleet, config: Path) -> Generator[None]:
    """The service at work, as an operator starts it: from here on every commit is archived."""
    command = [sys.executable, "-m", "cli.app", "serve"]
    environ = {**os.environ, "BACKSTAY_CONFIG": str(config)}
    with (config.parent / "serve.log").open("w") as log:
        service = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        with story.step("start the service: schedule, archiver, status page") as facts:
            status = wait_well(service, fleet, story.clock)
            (shard,) = status.shards
            facts.append(f"http://{fleet.service.host}:{fleet.service.port}/ shows {shard.shard}, archived")
            facts += [f"{finding.message}, and that is what it tells" for finding in shard.findings]
        yield
    finally:
        service.terminate()
        service.wait(SERVICE_SECONDS)


def wait_well(service: subprocess.Popen[bytes], fleet: Fleet, clock: Clock) -> FleetStatus:
    """Until all its parts run, and nothing but the replica that waits is wrong. Raises SandboxFailed."""
    deadline = clock.monotonic() + SERVICE_SECONDS
    looker, way_out = Looker(fleet), "Try it by itself: backstay serve"
    while service.poll() is None and clock.monotonic() < deadline:
        clock.sleep(GLANCE_SECONDS)
        seen = read_service(state_directory(fleet))
        if seen is not None and seen.is_well:
            status = looker.look()
            if {finding.code for shard in status.shards for finding in shard.findings} <= {"replication-lag"}:
                return status
    raise SandboxFailed("the service does not get well", hint=way_out)


def back_up(story: Story, fleet: Fleet, repository: Repository) -> None:
    """A full backup, while all that goes on."""
    with story.step("take a full backup while clients write") as facts:
        backup = take_full_backup(fleet, fleet.shards[0].name, repository=repository)
        facts += [
            f"{backup.label}, copied from {backup.donor}, which nobody stopped",
            f"{backup.received_bytes / MB:.0f} MB at {backup.received_bytes / MB / backup.seconds:.0f} MB/s, "
            f"stored {backup.stored_bytes / MB:.0f} MB, sealed, in {repository.store.describe()}",
        ]


def back_up_what_changed(story: Story, fleet: Fleet, repository: Repository) -> None:
    """An incremental on it: what is restored below comes from this chain."""
    with story.step("take an incremental on it, while they go on") as facts:
        backup = take_incremental_backup(fleet, fleet.shards[0].name, repository=repository)
        if backup.base is None:
            raise ProofFailed(f"{backup.label} is no incremental: {backup.became_full_because}")
        unchanged = backup.unchanged_bytes + backup.skipped_bytes
        facts.append(
            f"{unchanged / MB:.0f} of {backup.files_bytes / MB:.0f} MB did not change, "
            f"stored {backup.stored_bytes / MB:.0f} MB"
        )


def drop_a_table(story: Story, primary: MysqlServer, clients: Load) -> None:
    """The accident. Nobody sees it, and everybody goes on."""
    with story.step(f"drop a table by mistake: {VICTIM}") as facts:
        (row,) = primary.query(f"SELECT COUNT(*) AS count FROM {VICTIM}")  # noqa: S608 - ours
        before = clients.take_statistics()
        primary.query(f"DROP TABLE {VICTIM}")
        story.clock.sleep(UNSEEN_SECONDS)
        after = clients.stop()
        facts += [
            f"{row['count']} rows are gone; {after.transactions} more transactions come before it is seen",
            f"in all {before.transactions + after.transactions} transactions, and "
            f"{len(before.ddl) + len(after.ddl)} changes of definition",
        ]


def find_the_drop(story: Story, shard: str, repository: Repository) -> Gtid:
    """The transaction that did it, from the archive alone."""
    with story.step("find what did it, in the archive alone: backstay find") as facts:
        line = Line.of(ShardArchive(repository, shard))
        (found,) = find(line, Query(tables=(VICTIM,), kinds=Kind.DDL, newest_first=True, limit=1))
        transaction = found.transaction
        at = f"{from_microseconds(transaction.committed_at_us):%H:%M:%S.%f}"
        facts.append(
            f"of {line.gtids.count()} transactions: {transaction.statement.partition(' /*')[0]}, {at} UTC"
        )
    return transaction.gtid


@dataclass(frozen=True)
class Witness:
    """What a restore is compared with: a replica that has received everything, and applied little of it."""

    story: Story
    fleet: Fleet
    repository: Repository
    server: MysqlServer


def restore_and_compare(witness: Witness, target: RecoveryTarget, into: Path, title: str) -> None:
    """Restore to ``target``, bring the replica to the same set, compare every table. Raises ProofFailed."""
    story, fleet, server = witness.story, witness.fleet, witness.server
    with story.step(title) as facts:
        restored = restore_to_point(
            fleet, fleet.shards[0].name, into, target, repository=witness.repository, leave=Leave.RUNNING
        )
        replay = max(restored.stage_seconds.get("replay", 0), 0.001)
        facts.append(
            f"{restored.transactions} transactions replayed, {restored.transactions / replay:.0f} a second"
        )
        facts.append(f"from {restored.label}, the newest link of the chain")
        facts.append(f"its GTID set, exactly as planned: {shortened(restored.gtid_executed)}")
    assert restored.left is not None
    try:
        with story.step(f"bring {server.name} to the same GTID set and compare every table") as facts:
            bring(server, target, restored, story.clock)
            count = compare(server, restored.left)
            facts.append(f"CHECKSUM TABLE of {count} tables, {VICTIM} among them: all equal")
    finally:
        stop(restored.left, story.clock)


def bring(witness: MysqlServer, target: RecoveryTarget, restored: PointResult, clock: Clock) -> None:
    """Let the replica apply what the restored server has, by its own means."""
    if target.gtid is not None:
        witness.query("START REPLICA SQL_THREAD UNTIL SQL_BEFORE_GTIDS = %s", (str(target.gtid),))
        wait_stopped(witness, clock)
    else:
        with closing(witness.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET GTID_NEXT = %s", (target.skip.one_line(),))
            for statement in ("BEGIN", "COMMIT", "SET GTID_NEXT = AUTOMATIC"):
                cursor.execute(statement)
        witness.query("START REPLICA SQL_THREAD")
        witness.query("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (restored.gtid_executed, CATCH_UP_SECONDS))
    (row,) = witness.query("SELECT @@gtid_executed AS executed")
    if GtidSet.parse(row["executed"]) != GtidSet.parse(restored.gtid_executed):
        raise ProofFailed(f"{witness.name} has executed {row['executed']}, not {restored.gtid_executed}")


def compare(witness: MysqlServer, left: LeftServer) -> int:
    """The number of tables, all of them equal. Raises ProofFailed."""
    theirs = checksums_of(witness.connect())
    ours = checksums_of(pymysql.connect(unix_socket=str(left.socket), user="root"))
    differing = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if differing:
        raise ProofFailed(f"{len(differing)} tables differ: {', '.join(differing[:5])}")
    if VICTIM not in ours:
        raise ProofFailed(f"{VICTIM} is not there")
    return len(ours)


def wait_received(witness: MysqlServer, primary: MysqlServer, clock: Clock) -> None:
    """Until the replica has received, not applied, all that the primary has executed."""
    (row,) = primary.query("SELECT @@gtid_executed AS executed")
    deadline = clock.monotonic() + CATCH_UP_SECONDS
    while not witness.query(
        "SELECT GTID_SUBSET(%s, CONCAT(@@gtid_executed, ',', received_transaction_set)) AS has"
        " FROM performance_schema.replication_connection_status",
        (row["executed"],),
    )[0]["has"]:
        if clock.monotonic() > deadline:
            raise ProofFailed(f"{witness.name} did not receive what {primary.name} has")
        clock.sleep(GLANCE_SECONDS)


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
