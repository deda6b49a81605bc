"""Whose turn it is to be proven: the shard whose newest proof is oldest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from repository import layout
from repository.repository import Repository


@dataclass(frozen=True, slots=True)
class Standing:
    """A shard, and when a restore was last recorded for it, whatever came of it; None: never."""

    shard: str
    tried_at: datetime | None
    has_backup: bool


def choose_to_prove(standings: Iterable[Standing]) -> tuple[Standing, ...]:
    """Those that have a backup, whose turn it is first: never tried, then the longest ago. Pure.

    What failed counts as tried, or it would take all turns of the others.
    """
    there = [each for each in standings if each.has_backup]
    never = [each for each in there if each.tried_at is None]
    tried = [(each.tried_at, each) for each in there if each.tried_at is not None]
    return (*never, *(each for _, each in sorted(tried, key=lambda pair: pair[0])))


def standings(repository: Repository, shards: Sequence[str]) -> list[Standing]:
    """How each shard stands, in the order given: from names of objects, none is read."""
    newest: dict[str, datetime] = {}
    backed_up: set[str] = set()
    for info in repository.store.list(layout.PROOFS):
        if found := layout.parse_proof(info.key):
            (shard, _), at = found
            newest[shard] = max(newest.get(shard, at), at)
    for info in repository.store.list(layout.manifests()):
        if backup := layout.parse_manifest(info.key):
            backed_up.add(backup.shard)
    return [Standing(shard, newest.get(shard), shard in backed_up) for shard in shards]
