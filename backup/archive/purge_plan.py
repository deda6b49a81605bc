"""Which binlogs a source may drop. Pure: facts in, a plan out; ``purge`` gathers the facts and acts.

A file may go when all of it is in the archive, closed, read back and found right, and when every replica
of the shard has applied all of it. Files go oldest first, so the first that must stay keeps all after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.finding import Finding, Level
from fleet.gtid import GtidSet

KEPT_FILES = 2
"""So many of the newest files always stay: the one that is written, and one for replicas that reconnect."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A binlog file of the source, and what is known of it.

    ``archived_bytes`` reach from its beginning without a hole. ``after``: all that is executed at its end,
    None where that is not known.
    """

    name: str
    size_bytes: int
    is_encrypted: bool
    archived_bytes: int
    after: GtidSet | None


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """A replica of the shard; ``applied`` is None when it could not be asked."""

    name: str
    applied: GtidSet | None


@dataclass(frozen=True, slots=True)
class PurgeFile:
    """A binlog file in a plan: it goes, or stays for a reason."""

    name: str
    size_bytes: int
    goes: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What would be purged from ``server``; ``keep_from``: the oldest file that stays."""

    shard: str
    server: str
    files: tuple[PurgeFile, ...]
    keep_from: str
    findings: tuple[Finding, ...]

    @property
    def going(self) -> tuple[PurgeFile, ...]:
        return tuple(file for file in self.files if file.goes)

    @property
    def bytes(self) -> int:
        """Bytes that become free at the source."""
        return sum(file.size_bytes for file in self.going)


ENCRYPTION_HEADER_BYTES = 512


def plan_files(
    shard: str, server: str, files: Sequence[FileFacts], replicas: Sequence[ReplicaFacts]
) -> PurgePlan:
    """The plan for ``files``, oldest first, as the source lists them."""
    planned: list[PurgeFile] = []
    stopped = ""
    for place, facts in enumerate(files):
        reason = stopped or _why_it_stays(facts, len(files) - place, replicas)
        planned.append(PurgeFile(facts.name, facts.size_bytes, not reason, reason or "archived and applied"))
        if reason and not stopped:
            stopped = f"{facts.name}, which is older, must stay"
    kept = [file for file in planned if not file.goes]
    return PurgePlan(shard, server, tuple(planned), kept[0].name if kept else "", tuple(_findings(replicas)))


def _why_it_stays(facts: FileFacts, from_the_end: int, replicas: Sequence[ReplicaFacts]) -> str:
    if from_the_end <= KEPT_FILES:
        return f"one of the {KEPT_FILES} newest"
    plain_bytes = facts.size_bytes - (ENCRYPTION_HEADER_BYTES if facts.is_encrypted else 0)
    if facts.archived_bytes < plain_bytes:
        return f"{facts.archived_bytes} of its {plain_bytes} bytes are archived"
    if facts.archived_bytes > plain_bytes:
        return f"the archive holds {facts.archived_bytes} bytes of it, and the source has {plain_bytes}"
    if facts.after is None:
        return "the archive does not say which transactions it holds"
    return next(filter(None, (_why_it_needs(facts.after, replica) for replica in replicas)), "")


def _why_it_needs(after: GtidSet, replica: ReplicaFacts) -> str:
    if replica.applied is None:
        return f"replica {replica.name} could not be asked what it has applied"
    missing = after - replica.applied
    if missing:
        return f"replica {replica.name} has not applied {missing.count()} of the transactions up to its end"
    return ""


def _findings(replicas: Sequence[ReplicaFacts]) -> list[Finding]:
    return [
        Finding(
            Level.WARN,
            f"server {replica.name}",
            "could not be asked what it has applied, so nothing is purged",
            "Start it, or take it out of the configuration.",
        )
        for replica in replicas
        if replica.applied is None
    ]
