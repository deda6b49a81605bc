"""What a repository holds of all shards, read once for a look; what never changes is kept for the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeAlias

from drills.status.report import BackupSeen, ProofSeen
from fleet.errors import Cancelled, ToolError
from repository import layout
from repository.archive.window import Base
from repository.catalog import Catalog
from repository.damage_notes import DamageNotes
from repository.findings import footing_of
from repository.layout import BackupName
from repository.leases import Leases
from repository.manifest import Proof
from repository.marks import Marks
from repository.outlines import Outline, Outlines, read_outlines
from repository.repository import Repository
from repository.stores.interface import ObjectInfo
from repository.suffering import sufferers

_READERS = 8
_REMEMBERED = timedelta(hours=1)

Stored: TypeAlias = dict[BackupName, frozenset[ObjectInfo]]


@dataclass
class Memory:
    """What was read before: a manifest and a proof are never changed. For one repository.

    ``stored``: what the store listed of each backup's manifest and keys; where that is another now, it is
    read again. Bytes that rot in their place are in no list: all is read anew after ``_REMEMBERED``.
    """

    outlines: dict[BackupName, Outline] = field(default_factory=dict[BackupName, Outline])
    stored: Stored = field(default_factory=dict[BackupName, frozenset[ObjectInfo]])
    since: datetime | None = None
    proofs: dict[str, Proof] = field(default_factory=dict[str, Proof])


class Taken(NamedTuple):
    """A backup that was taken, whatever became of it."""

    label: str
    kind: str
    started_at: datetime
    finished_at: datetime


class ShardShelf(NamedTuple):
    """What there is of one shard, oldest first.

    ``backups``: those that retention has not ended, each with its damage; ``bases`` are the whole ones.
    ``taken``: all. ``unreadable``: labels, and what kept us from reading each. ``at_work``: a backup holds a
    lease now.
    """

    backups: tuple[BackupSeen, ...] = ()
    bases: tuple[Base, ...] = ()
    taken: tuple[Taken, ...] = ()
    proofs: tuple[Proof, ...] = ()
    unreadable: Mapping[str, ToolError] = {}
    at_work: bool = False


def read_shelf(
    repository: Repository, shards: Sequence[str], memory: Memory, *, now: datetime
) -> dict[str, ShardShelf]:
    """What there is of ``shards``. Raises what keeps us from asking the store."""
    _forget_what_is_old(memory, now)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="shelf") as readers:
        stored: Stored = {}
        for found_there in readers.map(partial(_stored, repository), shards):
            stored |= found_there
        listed = list(stored)
        outlines = readers.submit(_outlines, repository, stored, memory)
        proofs = readers.submit(_proofs, repository, shards, memory)
        marks = readers.submit(Marks(repository).all)
        damages = readers.submit(DamageNotes(repository).all)
        leases = readers.submit(Leases(repository).in_force, now)
    found = outlines.result()
    footings = {name: footing_of(outline) for name, outline in found.backups.items()}
    harm = {
        name: finding.short for finding in reversed(damages.result()) for name in sufferers(finding, footings)
    }
    at_work = {lease.shard for lease in leases.result() if lease.kind == "backup"}
    whole = _Whole(found, harm, set(marks.result()))
    return {
        shard: whole.shelf(
            sorted(name for name in listed if name.shard == shard),
            tuple(each for each in proofs.result() if each.shard == shard),
            at_work=shard in at_work,
        )
        for shard in shards
    }


class _Whole(NamedTuple):
    outlines: Outlines
    harm: Mapping[BackupName, str]
    ended: set[BackupName]

    def shelf(self, names: Sequence[BackupName], proofs: tuple[Proof, ...], *, at_work: bool) -> ShardShelf:
        there = [self.outlines.backups[name] for name in names if name in self.outlines.backups]
        proven_at = {proof.label: proof.finished_at for proof in proofs if proof.proven}
        living = [each for each in there if each.name not in self.ended]
        seen = tuple(
            _seen(each, self._damage(each.name), proven_at.get(each.summary.label)) for each in living
        )
        whole = {each.label for each in seen if each.damage is None}
        return ShardShelf(
            backups=tuple(sorted(seen, key=lambda each: (each.started_at, each.label))),
            bases=tuple(
                Base(each.low, each.high, each.summary.label)
                for each in living
                if each.summary.label in whole
            ),
            taken=tuple(
                Taken(each.summary.label, each.summary.kind, each.summary.started_at, each.finished_at)
                for each in there
            ),
            proofs=proofs,
            unreadable={
                name.label: error
                for name in names
                if (error := self.outlines.unreadable.get(name)) and name not in self.ended
            },
            at_work=at_work,
        )

    def _damage(self, name: BackupName) -> str | None:
        return self.outlines.broken(name) or self.harm.get(name)


def proof_seen(proof: Proof) -> ProofSeen:
    """What is shown of a proof."""
    return ProofSeen(
        proof.label,
        proof.finished_at,
        proof.proven,
        proof.reached_at,
        proof.rto_seconds,
        proof.rpo_seconds,
    )


def _seen(outline: Outline, damage: str | None, proven_at: datetime | None) -> BackupSeen:
    summary = outline.summary
    return BackupSeen(
        summary.label,
        "incremental" if summary.kind == "incremental" else "full",
        summary.started_at,
        summary.finished_at,
        summary.files_bytes,
        summary.stored_bytes,
        proven_at=proven_at,
        damage=damage,
    )


def _forget_what_is_old(memory: Memory, now: datetime) -> None:
    if memory.since is None or not timedelta() <= now - memory.since < _REMEMBERED:
        memory.outlines, memory.proofs, memory.stored, memory.since = {}, {}, {}, now


def _stored(repository: Repository, shard: str) -> Stored:
    """The manifest and the keys of every backup of which there is a manifest."""
    keys: dict[BackupName, list[ObjectInfo]] = {}
    for info in repository.store.list(f"{layout.KEYS}{shard}/"):
        if (parsed := layout.parse_wrapped_key(info.key)) is not None:
            keys.setdefault(parsed[0], []).append(info)
    return {
        name: frozenset([info, *keys.get(name, ())])
        for info in repository.store.list(layout.manifests(shard))
        if (name := layout.parse_manifest(info.key))
    }


def _outlines(repository: Repository, stored: Stored, memory: Memory) -> Outlines:
    names = list(stored)
    known = {
        name: each for name, each in memory.outlines.items() if memory.stored.get(name) == stored.get(name)
    }
    # What was needed of other shards may have gone since, and is asked for again.
    own = {name.shard for name in names}
    fresh = [name for name in names if name not in known]
    fresh += [name for name in names if name in known and {need.shard for need in known[name].needs} - own]
    read = read_outlines(repository, fresh)
    backups = {name: known[name] for name in names if name in known and name not in read.unreadable} | {
        name: outline for name, outline in read.backups.items() if name in stored or name.shard not in own
    }
    memory.outlines, memory.stored = dict(backups), stored
    return Outlines(backups, read.unreadable, read.missing)


def _proofs(repository: Repository, shards: Sequence[str], memory: Memory) -> list[Proof]:
    """By time. One that cannot be read proves nothing, and stands in nobody's way."""
    found: dict[str, Proof] = {}
    for shard in shards:
        for info in repository.store.list(f"{layout.PROOFS}{shard}/"):
            parsed = layout.parse_proof(info.key)
            if parsed is None:
                continue
            try:
                proof = memory.proofs.get(info.key) or Catalog(repository).proof(parsed[0], info.key)
            except ToolError as error:
                if error.retryable or isinstance(error, Cancelled):
                    raise
                continue
            found[info.key] = proof
    memory.proofs = found
    return sorted(found.values(), key=lambda each: each.finished_at)
