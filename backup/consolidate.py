"""A chain becomes a complete full by reference, from the repository alone (FORMAT.md, section 13).

No server is asked and no pack is read: the index parts of the links are laid one over the other, and what is
newest is written down as the index of a full whose data lies in the packs of the links. Index parts come and
go one by one; what stays in memory is a bit for each page.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from backup.in_turn import ShardTurn, turn_of_shard
from backup.lease import building_on
from backup.referring import refer_to_newest
from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, ObjectDamaged, RetentionRefused, ToolError
from fleet.parallelism import Parallelism
from fleet.progress import Progress, Silent
from repository import layout
from repository.catalog import LATEST, Catalog
from repository.chain import Chain, read_chain
from repository.damage_notes import DamageNotes
from repository.foundations import check_whole
from repository.layout import BackupName
from repository.manifest import BackupFacts, Manifest
from repository.marks import Marks
from repository.overlay import Overlay
from repository.repository import Repository
from repository.suffering import harm_to_chain
from repository.writer import BackupWriter, begin_backup

Found = Literal["chain", "consolidated", "full"]
"""What a label stands for: a chain, one that was consolidated before, or a full."""

_INDEX_LEVEL = 3
_LABEL_SECONDS = 60
_PACK_BYTES = 16 * 1024 * 1024
_CANCELLED = "the consolidation was cancelled"
_CANCELLED_HINT = "Nothing was kept; the chain is as it was."


@dataclass(frozen=True, slots=True)
class ConsolidatePlan:
    """What a consolidation would do. Bytes.

    ``label``: the backup that was asked for. ``full``: the full that is there already, or ``None``, and
    ``consolidates`` the chain's end that it was made of. ``links``: labels, newest first. ``index_bytes``:
    what will be read; ``files_bytes``: what a restore of it gives.
    """

    shard: str
    label: str
    found: Found
    full: str | None
    consolidates: str | None
    links: tuple[str, ...]
    files: int
    files_bytes: int
    index_bytes: int
    repository: str


@dataclass(frozen=True, slots=True)
class ConsolidateResult:
    """A full that exists, made now or, where ``found`` is not ``chain``, before. Bytes.

    ``consolidates``: the end of the chain that it was made of; ``None`` for a full that a server gave.
    ``links``: labels, newest first. ``needs``: labels of the backups that its data lies in.
    ``stored_bytes``: its own objects; ``referred_bytes``: data in packs of others.
    """

    shard: str
    label: str
    found: Found
    consolidates: str | None
    links: tuple[str, ...]
    needs: tuple[str, ...]
    files: int
    files_bytes: int
    referred_bytes: int
    stored_bytes: int
    seconds: float
    gtid_low: str
    gtid_high: str


def plan_consolidate(repository: Repository, shard: str, label: str = LATEST) -> ConsolidatePlan:
    """What ``consolidate`` would do now. Raises what it would raise before anything is written."""
    look = _look(repository, shard, label)
    newest = look.asked
    links = look.chain.links if look.chain else (newest,)
    return ConsolidatePlan(
        shard=newest.shard,
        label=newest.label,
        found=look.found,
        full=look.full.label if look.full else None,
        consolidates=look.full.consolidates if look.full else None,
        links=tuple(link.label for link in links),
        files=len(newest.files),
        files_bytes=newest.sizes.files_bytes,
        index_bytes=_index_bytes(look.chain) if look.chain else 0,
        repository=repository.store.describe(),
    )


def consolidate(
    repository: Repository,
    shard: str,
    label: str = LATEST,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> ConsolidateResult:
    """Make the chain that ends in backup ``label`` a complete full; its data stays in place.

    A full, and a chain that was consolidated before, are left as they are, and told. Killed at any point, it
    leaves no backup behind, and is run again. Raises ``NotFound``, ``ObjectMissing`` (a link is gone),
    ``ObjectDamaged`` (also: verify found what it needs damaged), ``KeyUnusable``, ``RetentionRefused``
    (retention has ended it), ``Cancelled`` and what the store raises.
    """
    clock = clock or SystemClock()
    began = clock.monotonic()
    look = _look(repository, shard, label)
    if look.full is not None:
        return _result(look.full, look, seconds=clock.monotonic() - began)
    assert look.chain is not None
    work = _Work(repository, look.chain, clock, progress or Silent(), cancelled or threading.Event())
    made = work.run_in_turn()
    # Another run was faster: then that one's full is the answer.
    look = _Look(look.asked, "chain" if made else "consolidated", look.chain, made or work.made_by_another)
    assert look.full is not None
    return _result(look.full, look, seconds=clock.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a label stands for: the chain, unless it is a full, and the full, if there is one."""

    asked: Manifest
    found: Found
    chain: Chain | None
    full: Manifest | None


def _look(repository: Repository, shard: str, label: str) -> _Look:
    catalog = Catalog(repository)
    asked = catalog.manifest(shard, label)
    _must_be_kept(repository, asked)
    if asked.kind == "full":
        return _Look(asked, "consolidated" if asked.consolidates else "full", None, asked)
    chain = read_chain(catalog, asked)
    check_whole(repository, chain)
    full = _consolidated(repository, asked)
    harm = harm_to_chain(chain, DamageNotes(repository).all()) if full is None else None
    if harm is not None:
        raise ObjectDamaged(f"nothing is made of {asked.backup}: {harm.short}", hint=_damaged_hint(asked))
    return _Look(asked, "consolidated" if full else "chain", chain, full)


def _damaged_hint(asked: Manifest) -> str:
    return (
        f"`backstay backup full {asked.shard} --stored` needs nothing of what is damaged. Was it put right, "
        f"`backstay verify {asked.shard} {asked.label}` sees that, and then it is made."
    )


def _must_be_kept(repository: Repository, asked: Manifest) -> None:
    """Nothing is built on what retention has ended."""
    mark = Marks(repository).get(asked.backup)
    if mark is not None:
        raise RetentionRefused(
            f"retention has ended backup {asked.backup}: {mark.reason}",
            hint=f"To keep it, run `backstay expire {asked.shard} --take-back {asked.label}` first.",
        )


def _consolidated(repository: Repository, asked: Manifest) -> Manifest | None:
    """The full that was made of the chain that ends in ``asked``, if there is one that can be read."""
    catalog, first = Catalog(repository), _at(asked)
    end = first + timedelta(seconds=_LABEL_SECONDS)
    for info in repository.store.list(layout.manifests(asked.shard)):
        name = layout.parse_manifest(info.key)
        label = layout.parse_label(name.label) if name else None
        if name is None or label is None or label.kind != "full" or not first <= label.at < end:
            continue
        try:
            full = catalog.manifest(*name)
        except ToolError as error:
            if error.retryable or isinstance(error, Cancelled):
                raise
            continue
        if full.consolidates == asked.label and Marks(repository).get(name) is None:
            return full
    return None


def _at(manifest: Manifest) -> datetime:
    label = layout.parse_label(manifest.label)
    assert label is not None, "a manifest is found by its label"
    return label.at


def _index_bytes(chain: Chain) -> int:
    return sum(part.reference.size for part in chain.parts)


class _Work:
    """One consolidation."""

    def __init__(
        self,
        repository: Repository,
        chain: Chain,
        clock: Clock,
        progress: Progress,
        cancelled: threading.Event,
    ) -> None:
        self._repository = repository
        self._chain = chain
        self._clock = clock
        self._progress = progress
        self._cancelled = cancelled
        self.made_by_another: Manifest | None = None

    def run_in_turn(self) -> Manifest | None:
        """The manifest of the new full; None if another run made one meanwhile. Raises ``TurnTaken``."""
        with turn_of_shard(
            self._repository,
            self._chain.newest.shard,
            clock=self._clock,
            progress=self._progress,
            cancelled=self._cancelled,
        ) as turn:
            self._cancelled = turn.cancelled
            return self._run(turn)

    def _run(self, turn: ShardTurn) -> Manifest | None:
        newest = self._chain.newest
        with (
            begin_backup(
                self._repository,
                newest.shard,
                "full",
                parallelism=Parallelism(),
                pack_size=_PACK_BYTES,
                level=_INDEX_LEVEL,
                clock=self._clock,
                at=_at(newest),
            ) as writer,
            building_on(
                self._chain, self._repository, writer, clock=self._clock, progress=self._progress
            ) as lease,
        ):
            self._refer(writer)
            self._check_cancelled()
            self.made_by_another = _consolidated(self._repository, newest)
            if self.made_by_another is not None:
                return None

            def last_check() -> None:
                turn.check()
                lease.check()

            return writer.complete(_facts(newest), last_check=last_check)

    def _refer(self, writer: BackupWriter) -> None:
        overlay = Overlay(self._chain)

        def after_each(count_bytes: int) -> None:
            self._progress.advance(count_bytes)
            self._check_cancelled()

        total_bytes = sum(part.reference.size for pass_ in overlay.passes for part in pass_.parts)
        self._progress.stage("consolidating", total_bytes)
        refer_to_newest(
            writer, self._repository, self._chain, overlay, passes=overlay.passes, after_each=after_each
        )

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled(_CANCELLED, hint=_CANCELLED_HINT)


def _facts(newest: Manifest) -> BackupFacts:
    facts = {name: getattr(newest, name) for name in BackupFacts.model_fields}
    facts |= {"base": None, "built_on": None, "refers_to": (), "consolidates": newest.label}
    return BackupFacts(**facts)


def _result(full: Manifest, look: _Look, *, seconds: float) -> ConsolidateResult:
    links = look.chain.links if look.chain else (look.asked,)
    return ConsolidateResult(
        shard=full.shard,
        label=full.label,
        found=look.found,
        consolidates=full.consolidates,
        links=tuple(link.label for link in links),
        needs=tuple(BackupName(one.shard, one.label).label for one in full.refers_to),
        files=len(full.files),
        files_bytes=full.sizes.files_bytes,
        referred_bytes=full.sizes.referred_bytes,
        stored_bytes=full.sizes.stored_bytes,
        seconds=seconds,
        gtid_low=full.gtid.low,
        gtid_high=full.gtid.high,
    )
