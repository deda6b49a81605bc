"""What was asked for: it stays the same from one try of a backup to the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from backup.plan import DonorChoice
from backup.preflight import ANSWER_SECONDS, CONNECT_SECONDS
from fleet.clock import Clock
from fleet.model import Fleet, Shard
from fleet.policy import BackupConfig
from fleet.progress import Progress
from repository.repository import Repository
from wire import admin
from wire.clone.outcome import CloneOptions
from wire.session import Session, open_session

BackupKind = Literal["full", "incremental"]
FullKind = Literal["stored", "referring"]
"""What a full backup stores: all pages, or those that no backup it can refer to holds."""


@dataclass(frozen=True, slots=True)
class Order:
    """One backup of ``shard``. ``donor`` names the server to copy from; ``full`` is what a full stores."""

    fleet: Fleet
    shard: Shard
    kind: BackupKind
    full: FullKind
    repository: Repository
    clock: Clock
    progress: Progress
    cancelled: threading.Event
    donor: str | None = None

    @property
    def policy(self) -> BackupConfig:
        return self.fleet.backup

    def connect(self, choice: DonorChoice) -> Session:
        """A session of the backup account. Raises ServerUnreachable, ServerRefused."""
        return open_session(
            choice.server,
            self.fleet.accounts.backup,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
        )

    def log_status_reader(self, choice: DonorChoice) -> Callable[[], admin.LogStatus]:
        """Reads the donor's log status each time that it is called."""

        def read() -> admin.LogStatus:
            # A session of its own each time: between two moments hours may pass, and idle sessions are cut.
            with closing(self.connect(choice)) as session:
                return admin.log_status(session)

        return read

    def clone_options(self) -> CloneOptions:
        policy = self.policy
        return CloneOptions(
            connections=self.fleet.parallelism.clone_connections,
            ddl_timeout_seconds=policy.ddl_timeout_seconds,
            stall_seconds=policy.stall_seconds,
            external_tablespaces=policy.external_tablespaces,
            rate_bytes_per_second=policy.rate_bytes_per_second,
        )
