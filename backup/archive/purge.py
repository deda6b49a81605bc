"""Lets a source drop the binlogs that are safe: archived, read back, and applied by every replica.

Nothing here happens by itself. The plan is made and shown first; the deed asks again before each file, goes
in small steps, and stops at the first doubt.
"""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from backup.archive.identity import replica_identity
from backup.archive.place import file_end, read_place
from backup.archive.probe import probe_file
from backup.archive.purge_plan import FileFacts, PurgeFile, PurgePlan, ReplicaFacts, plan_files
from backup.archive.sources import SourceChoice, choose_source
from backup.archive.survey import Survey, connector, survey_shard
from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, ToolError
from fleet.gtid import GtidSet
from fleet.model import Fleet, Shard
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile
from repository.layout import BinlogFile
from repository.repository import Repository
from wire.binlog.dump import DumpOptions
from wire.binlog_admin import binlog_files, purge_binary_logs_to
from wire.session import Session

PAUSE_SECONDS = 0.2
"""Between two files: deleting a large one keeps the server's disk busy."""


@dataclass(frozen=True, slots=True)
class PurgeOutcome:
    """What was purged. ``stopped_by``: why the rest of the plan stayed, or empty."""

    shard: str
    server: str
    purged: tuple[PurgeFile, ...]
    stopped_by: str

    @property
    def bytes(self) -> int:
        return sum(file.size_bytes for file in self.purged)


def plan_purge(fleet: Fleet, shard_name: str, repository: Repository) -> PurgePlan:
    """Which binlogs the shard's source could drop now. Reads, and changes nothing.

    Raises ``ServerUnreachable`` when there is no source, ``ServerRefused``, and what the store raises.
    """
    return _Gate(fleet, fleet.shard(shard_name), repository, SystemClock()).plan()


def purge(
    fleet: Fleet,
    plan: PurgePlan,
    repository: Repository,
    *,
    clock: Clock,
    cancelled: threading.Event,
    step: Callable[[PurgeFile], None] = lambda _: None,
) -> PurgeOutcome:
    """Carry out ``plan``, file by file, oldest first; ``step`` is told of each file that is gone.

    Before each the plan is made anew, and all of the file is read back from the store: at the first doubt the
    rest stays, and the outcome says why. Raises ``ServerRefused`` when nothing could be purged at all for
    want of the privilege BINLOG_ADMIN.
    """
    gate = _Gate(fleet, fleet.shard(plan.shard), repository, clock)
    purged: list[PurgeFile] = []
    for file in plan.going:
        if cancelled.is_set():
            return PurgeOutcome(plan.shard, plan.server, tuple(purged), "stopped by the user")
        doubt = gate.doubt_of(file, plan)
        if doubt:
            return PurgeOutcome(plan.shard, plan.server, tuple(purged), doubt)
        try:
            gate.purge(file)
        except Cancelled:
            raise
        except ToolError as error:
            if not purged:
                raise
            return PurgeOutcome(plan.shard, plan.server, tuple(purged), error.message)
        purged.append(file)
        step(file)
        clock.sleep(PAUSE_SECONDS)
    return PurgeOutcome(plan.shard, plan.server, tuple(purged), "")


class _Gate:
    """Looks at one shard's source, replicas and archive, each time anew."""

    def __init__(self, fleet: Fleet, shard: Shard, repository: Repository, clock: Clock) -> None:
        self._account = fleet.accounts.for_archive
        self._policy = fleet.archive
        self._shard = shard
        self._clock = clock
        self._archive = ShardArchive(repository, shard.name)
        identity = replica_identity(repository.repository_id, shard.name, fleet.archive.server_id)
        # Not the archiver's own uuid: a second dump of that one would end the archiver's.
        name = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
        self._options = DumpOptions(identity.server_id, name, report_host="backstay-purge")
        self._choice: SourceChoice | None = None
        self._after: dict[tuple[BinlogFile, int], GtidSet] = {}

    def plan(self) -> PurgePlan:
        survey = survey_shard(self._shard, self._account)
        choice = self._choice = self._choose(survey)
        source = choice.source
        archived = self._archived(source.uuid)
        with closing(self._connect()) as session:
            listed = binlog_files(session)
        facts = [
            self._facts(file.name, file.size_bytes, file.is_encrypted, archived.get(file.name))
            for file in listed
        ]
        replicas = [
            *(ReplicaFacts(one.name, one.executed) for one in survey.seen if one.uuid != source.uuid),
            *(ReplicaFacts(one.server.name, None) for one in survey.unseen),
        ]
        return plan_files(self._shard.name, source.name, facts, replicas)

    def doubt_of(self, file: PurgeFile, shown: PurgePlan) -> str:
        """Why the file must stay after all; empty if it may go."""
        now = self.plan()
        if now.server != shown.server:
            return f"the source is {now.server} now, and was {shown.server}"
        planned = next((one for one in now.files if one.name == file.name), None)
        if planned is None:
            return f"{file.name} is gone already"
        if not planned.goes:
            return f"{file.name}: {planned.reason}"
        assert self._choice is not None
        archived = self._archived(self._choice.source.uuid)[file.name]
        front = probe_file(self._connect, self._options, file.name, self._clock)
        if front.created != archived.name.created:
            return f"{file.name} is another file than the archived one of this name"
        try:
            for part in archived.parts:
                # Unsealed, decompressed, and compared with the digest made when the events arrived.
                self._archive.read_part(part)
        except Cancelled:
            raise
        except ToolError as error:
            return f"{file.name} cannot be read back: {error.message}"
        return ""

    def purge(self, file: PurgeFile) -> None:
        with closing(self._connect()) as session:
            names = [listed.name for listed in binlog_files(session)]
            if file.name in names[:-1]:
                purge_binary_logs_to(session, names[names.index(file.name) + 1])

    def _choose(self, survey: Survey) -> SourceChoice:
        place = read_place(self._archive)
        standing = place.standing if place else None
        return choose_source(
            self._shard.name, survey.seen, survey.unseen, prefer=self._policy.source, standing=standing
        )

    def _archived(self, server_uuid: str) -> dict[str, ArchivedFile]:
        """The archive's files of this server by name; of a name that came again, the newest."""
        found: dict[str, ArchivedFile] = {}
        for epoch in self._archive.epochs():
            for file in self._archive.files(epoch.epoch):
                if file.name.server_uuid == server_uuid:
                    found[file.name.file] = file
        return found

    def _facts(self, name: str, size: int, is_encrypted: bool, archived: ArchivedFile | None) -> FileFacts:
        if archived is None or not archived.end:
            return FileFacts(name, size, is_encrypted, 0, None)
        # Bytes that are archived never change, so what they say is asked once.
        known = (archived.name, archived.end)
        if known not in self._after:
            self._after[known] = file_end(self._archive, archived).executed
        return FileFacts(name, size, is_encrypted, archived.end, self._after[known])

    def _connect(self) -> Session:
        assert self._choice is not None
        return connector(self._choice.source.server, self._account)()
