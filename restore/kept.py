"""What a restore reads stays in the repository for as long as it reads it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from fleet.clock import Clock
from fleet.gtid import GtidSet
from fleet.progress import Progress
from repository.held_lease import TTL_SECONDS
from repository.leases import HeldLease, LeaseKind, LeaseTerms, held
from repository.repository import Repository
from restore.plan import RestorePlan


def kept(
    repository: Repository,
    plan: RestorePlan,
    clock: Clock,
    progress: Progress,
    *,
    kind: LeaseKind = "restore",
    replays: bool = False,
    ttl_seconds: int = TTL_SECONDS,
) -> AbstractContextManager[HeldLease]:
    """A lease on the chain of ``plan``, and, if it ``replays``, on all that was archived since that backup.

    Who may not write does without, and is told so.
    """
    manifest = plan.manifest
    terms = LeaseTerms(
        manifest.shard,
        kind,
        tuple(link.label for link in plan.chain.links),
        GtidSet.parse(manifest.gtid.low) if replays else None,
    )
    return held(repository, terms, clock, note=progress.note, ttl_seconds=ttl_seconds)
