"""The proofs that a repository holds, newest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from fleet.errors import Cancelled, ToolError
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.repository import Repository

_READERS = 8


@dataclass(frozen=True, slots=True)
class ProofRecord:
    """One proof. ``purpose``: ``proof``, or ``restore``: somebody restored that backup. Wall seconds.

    The fields after it are None where they were not measured; ``problem``: which check did not pass, or why
    the record cannot be read (``proven`` is None then).
    """

    shard: str
    label: str
    at: datetime
    purpose: str | None
    proven: bool | None
    reached_at: datetime | None = None
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    rpo_transactions: int | None = None
    server_version: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ProofList:
    """Proofs of each shard in the order of their names, of each the newest first. ``more`` are older."""

    proofs: tuple[ProofRecord, ...]
    more: int
    unproven: tuple[str, ...]


def list_proofs(repository: Repository, shards: Sequence[str] = (), *, newest: int = 10) -> ProofList:
    """The ``newest`` so many proofs of each shard named, or of all. ``unproven`` are those without any.

    Raises what the store raises; a proof that cannot be read is told as that.
    """
    named: dict[str, list[tuple[datetime, BackupName, str]]] = defaultdict(list)
    for info in repository.store.list(layout.PROOFS):
        if found := layout.parse_proof(info.key):
            backup, at = found
            named[backup.shard].append((at, backup, info.key))
    wanted = sorted(shards or named.keys() | set(Catalog(repository).shards()))
    chosen = [each for shard in wanted for each in sorted(named[shard], reverse=True)[:newest]]
    with ThreadPoolExecutor(_READERS) as readers:
        proofs = tuple(readers.map(partial(_read, repository), *zip(*chosen, strict=True))) if chosen else ()
    more = sum(len(named[shard]) for shard in wanted) - len(chosen)
    return ProofList(proofs, more, tuple(shard for shard in wanted if not named[shard]))


def _read(repository: Repository, at: datetime, backup: BackupName, name: str) -> ProofRecord:
    try:
        proof = Catalog(repository).proof(backup, name)
    except Cancelled:
        raise
    except ToolError as error:
        if error.retryable:
            raise
        return ProofRecord(backup.shard, backup.label, at, None, None, problem=error.message)
    failed = [f"{check.name}: {check.detail}" for check in proof.checks if not check.passed]
    return ProofRecord(
        shard=backup.shard,
        label=backup.label,
        at=at,
        purpose=proof.purpose,
        proven=proof.proven,
        reached_at=proof.reached_at,
        rto_seconds=proof.rto_seconds,
        rpo_seconds=proof.rpo_seconds,
        rpo_transactions=proof.rpo_transactions,
        server_version=proof.server_version or None,
        problem=failed[0] if failed else None,
    )
