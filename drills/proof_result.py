"""What a proof came to, and its record in the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fleet.errors import Cancelled, ProofFailed, ToolError
from repository.catalog import Catalog
from repository.manifest import Proof, ProofCheck
from repository.repository import Repository, tool_version

PURPOSE = "proof"
"""What a proof's record says that it was made for."""


@dataclass(frozen=True, slots=True)
class PassedShard:
    """A shard whose turn it was, and which could not be tried."""

    shard: str
    problem: str


@dataclass(frozen=True, slots=True)
class ProofResult:
    """How a proof ended. Wall seconds; ``stage_seconds`` are parts of ``seconds``.

    ``problem`` and ``way_out``: what kept it from being proven; None if it was. ``alone``: why nothing was
    replayed, None if it was. ``reached_at``: commit time of the last transaction in it; None if the archive
    does not hold that. ``rto_seconds``: from the start to proven, None if it was not. ``rpo_transactions``:
    what the source had executed at the start, and the restored server lacks; ``rpo_seconds``: how old the
    oldest of these can be, 0 if there is none; None, with the reason in ``rpo_unknown``, if no server could
    be asked. ``proof``: its object's name; None, with the reason in ``unrecorded``, if it could not be
    stored. ``kept``: where the restored data is, None if it was deleted.
    """

    shard: str
    label: str
    proven: bool
    problem: str | None
    way_out: str | None
    started_at: datetime
    finished_at: datetime
    alone: str | None
    reached_at: datetime | None
    transactions: int
    gtid_executed: str
    server_version: str
    checks: tuple[ProofCheck, ...]
    seconds: float
    stage_seconds: Mapping[str, float]
    rto_seconds: float | None
    rto_target_seconds: float
    rpo_seconds: float | None
    rpo_transactions: int | None
    rpo_unknown: str | None
    rpo_target_seconds: float
    proof: str | None = None
    unrecorded: str | None = None
    kept: Path | None = None
    passed_over: tuple[PassedShard, ...] = ()

    def failure(self) -> ProofFailed | None:
        """The error that it is, None if the shard is proven."""
        if self.proven:
            return None
        return ProofFailed(f"{self.shard}/{self.label} is not proven: {self.problem}", hint=self.way_out)


def record(repository: Repository, result: ProofResult) -> ProofResult:
    """``result`` with the name of its record, or with why it could not be stored."""
    try:
        return replace(result, proof=Catalog(repository).put_proof(_document(repository, result)))
    except Cancelled:
        raise
    except ToolError as error:
        # What was found out is worth telling, also by who may not write it down.
        return replace(result, unrecorded=error.message)


def _document(repository: Repository, result: ProofResult) -> Proof:
    failed = (ProofCheck(name="restore", passed=False, detail=result.problem),) if result.problem else ()
    return Proof(
        repository_id=repository.repository_id,
        shard=result.shard,
        label=result.label,
        purpose=PURPOSE,
        proven=result.proven,
        gtid_executed=result.gtid_executed,
        server_version=result.server_version,
        checks=(*result.checks, *failed),
        seconds=dict(result.stage_seconds),
        reached_at=result.reached_at,
        rto_seconds=result.rto_seconds,
        rpo_seconds=result.rpo_seconds,
        rpo_transactions=result.rpo_transactions,
        finished_at=result.finished_at,
        created_by=tool_version(),
    )
