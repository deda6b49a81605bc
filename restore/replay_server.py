"""The private server that transactions are replayed on: relaxed while it lasts, durable afterwards.

It writes no binlog, so ``gtid_executed`` lies in InnoDB beside the data: whatever a crash takes, it takes of
both, and the replay goes on from what is left. (With a binlog that is not flushed at each commit, a crash
leaves ``gtid_executed`` ahead of the data, and rows are missing afterwards without any error.)
"""

from __future__ import annotations

from pathlib import Path

from fleet.parallelism import usable_cpus
from restore.files import disk_errors
from wire import replica_admin
from wire.restored import Asked

RELAY_LOG = "backstay-relay"
RELAY_LOG_BYTES = 1 << 30
"""Most bytes that wait on the disk to be applied; one transaction that is bigger still passes."""

_LONGEST_IDLE_SECONDS = 365 * 24 * 3600
_FEWEST_WORKERS = 4


def replay_options(*, workers: int | None = None) -> tuple[str, ...]:
    """What a private server needs on its command line, beside the usual, to be a replica."""
    count = workers or max(usable_cpus(), _FEWEST_WORKERS)
    return (
        f"--relay-log={RELAY_LOG}",
        # What a crash left of a relay log may be torn: it is thrown away, and fetched again by GTID.
        "--relay-log-recovery=ON",
        f"--relay-log-space-limit={RELAY_LOG_BYTES}",
        f"--max-relay-log-size={RELAY_LOG_BYTES // 8}",
        "--sync-relay-log=0",
        "--loose-sync-relay-log-info=0",
        "--innodb-flush-log-at-trx-commit=0",
        f"--replica-parallel-workers={count}",
        "--replica-preserve-commit-order=ON",
        "--replica-exec-mode=STRICT",
        # Statements that a source with partial revokes logged fail without; those of one without do not care.
        "--loose-partial-revokes=ON",
    )


def prepare(server: Asked) -> None:
    """Make a server that was just started fit for a replay, over the one session that it is asked by.

    From here on nobody else can log in: the accounts are those of the data. Who loses the session starts the
    server anew.
    """
    wait_long(server)
    # Without its accounts loaded it refuses CREATE USER and the like, from the applier as well.
    replica_admin.load_accounts(server)


def wait_long(server: Asked) -> None:
    """Keep the session that it is asked by, however long nothing is asked."""
    server.query("SET SESSION wait_timeout = %s", (_LONGEST_IDLE_SECONDS,))


def remove_relay_logs(directory: Path) -> None:
    """RESET REPLICA ALL leaves an empty relay log and its index; for a server that was stopped."""
    with disk_errors(directory):
        for path in directory.glob(f"{RELAY_LOG}.*"):
            path.unlink(missing_ok=True)
