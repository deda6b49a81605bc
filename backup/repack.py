"""Packs of backups that have expired shrink to what other backups still refer to (FORMAT.md, section 16).

No server is asked. What is needed is read from the index parts of those who refer; index parts of the expired
backup tell how much that is of each pack, and are gone through one by one: in memory are one of them, what is
needed of its packs, and the names and sizes of the backup's objects.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleet.blocks import Extent
from fleet.errors import Cancelled, ObjectDamaged, ObjectExists, ObjectLocked, ObjectMissing
from fleet.progress import Progress, Silent
from repository import layout
from repository.index import PackRef
from repository.layout import BackupName
from repository.manifest import IndexPartRef, Manifest
from repository.pagemap import ByteRuns
from repository.reader import BackupReader, Frame
from repository.reduced import read_remainder
from repository.remainder import Held, Piece, Remainder, RemainderBuilder
from repository.repository import Repository
from repository.seal import FrameSpan, Identity, ObjectKind, damaged, unseal_object

_LEVEL = 3


@dataclass(slots=True)
class NeededFrame:
    """A frame of which some bytes are referred to: where it stands in the pack, and which bytes."""

    span: FrameSpan
    runs: ByteRuns = field(default_factory=ByteRuns)


@dataclass
class NeededPack:
    """What is still referred to of one pack. Bytes before compression.

    ``names``: the objects that hold it or a part of it, the newest last: one, or more where a run died.
    ``remainder``: what the newest is, if it is not the pack itself. ``held_bytes`` are in the newest,
    ``needed_bytes`` are referred to.
    """

    pack: PackRef
    names: tuple[str, ...]
    remainder: Remainder | None
    held_bytes: int
    frames: dict[int, NeededFrame] = field(default_factory=dict[int, NeededFrame])
    needed_bytes: int = 0

    def need(self, frame: FrameSpan, skip: int, length: int) -> None:
        """Bytes of a frame that somebody refers to."""
        needed = self.frames.get(frame.number)
        if needed is None:
            needed = self.frames[frame.number] = NeededFrame(frame)
        self.needed_bytes += sum(many for _, many in needed.runs.claim(skip, length))

    @property
    def is_covered(self) -> bool:
        """Does the newest object hold all that is needed?"""
        if self.remainder is None:
            return True
        held = {number: Held(moved) for number, moved in self.remainder.frames.items()}
        return all(
            number in held and held[number].holds(start, length)
            for number, needed in self.frames.items()
            for start, length in needed.runs
        )


@dataclass
class RepackResult:
    """What a run did to one backup. Bytes in the store; ``locked``: objects that it keeps until then."""

    backup: BackupName
    packs: int = 0
    reduced: int = 0
    freed_bytes: int = 0
    locked: list[tuple[str, datetime | None]] = field(default_factory=list[tuple[str, datetime | None]])


def repack(
    repository: Repository,
    expired: Manifest,
    referring: Iterable[Manifest],
    *,
    below: float,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> RepackResult:
    """Reduce each pack of ``expired`` of which less than the part ``below`` (0 to 1) is referred to.

    The caller has made sure that nothing needs ``expired`` but the ``refers_to`` of ``referring``, which are
    all the backups that have it there (FORMAT.md, section 16, rule 1). Killed at any point, it is run again.
    Raises ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable``, ``Cancelled`` and what the store raises.
    """
    work = _Repack(repository, expired, below, cancelled or threading.Event())
    progress = progress or Silent()
    progress.stage("repacking", sum(part.size for part in expired.index))
    indexes = _references(work.reader, expired.backup, referring)
    for part in expired.index:
        for needed in work.needed(part, indexes):
            work.reduce(needed)
        progress.advance(part.size)
    return work.result


@dataclass(frozen=True)
class _Reference:
    """An index part that names packs of the expired backup, from number ``first`` to ``last``."""

    backup: BackupName
    part: IndexPartRef
    first: int
    last: int


def _references(
    reader: BackupReader, expired: BackupName, referring: Iterable[Manifest]
) -> tuple[_Reference, ...]:
    """Which parts are to be read for which packs: each is opened once to find out."""
    found: list[_Reference] = []
    for manifest in referring:
        for part in manifest.index:
            packs = reader.index_part(part, manifest.backup).packs
            numbers = [pack.number for pack in packs if pack.backup == expired]
            if numbers:
                found.append(_Reference(manifest.backup, part, min(numbers), max(numbers)))
    return tuple(found)


class _Repack:
    """One expired backup."""

    def __init__(
        self, repository: Repository, expired: Manifest, below: float, cancelled: threading.Event
    ) -> None:
        self.reader = BackupReader(repository, expired)
        self.result = RepackResult(expired.backup)
        self._repository = repository
        self._backup = expired.backup
        self._below = below
        self._cancelled = cancelled
        self._there, self._sizes = _objects(repository, expired.backup)

    def needed(self, part: IndexPartRef, references: Sequence[_Reference]) -> list[NeededPack]:
        """The packs that this part of the expired backup's own index names, and what is needed of each."""
        packs = self._packs_of(part)
        if not packs:
            return []
        first, last = min(packs), max(packs)
        for reference in references:
            if reference.first <= last and first <= reference.last:
                index = self.reader.index_part(reference.part, reference.backup)
                ours = [
                    packs.get(pack.number) if pack.backup == self._backup else None for pack in index.packs
                ]
                for record in index.records():
                    needed = ours[record.pack]
                    if needed is not None:
                        needed.need(record.span, record.skip, record.length)
        return list(packs.values())

    def reduce(self, needed: NeededPack) -> None:
        """Replace the pack by its remainder, if that is worth it."""
        if self._cancelled.is_set():
            raise Cancelled("repacking was stopped", hint="Run it again: it goes on where it was.")
        self.result.packs += 1
        names = needed.names
        if not needed.is_covered:
            if needed.pack.name not in names:
                raise damaged(names[-1], "it does not hold all that is referred to")
        elif needed.needed_bytes >= needed.held_bytes * self._below:
            # What is older than the newest was left by a run that died, or by a store that had locked it.
            if names[:-1]:
                self._read_back(names[-1])
                self._delete(names[:-1])
            return
        self._replace(needed)

    def _replace(self, needed: NeededPack) -> None:
        """Put the remainder, read it back, and only then let go of what was there before."""
        reductions = [found[1] for each in needed.names if (found := layout.parse_remainder(each))]
        name = layout.remainder(self._backup, needed.pack.number, max(reductions, default=-1) + 1)
        sealed = self._remainder(name, needed)
        store = self._repository.store
        try:
            store.put(name, sealed)
        except ObjectExists:
            # A list lacked it, or another run is at work: what it holds is looked at in the next one.
            return
        if store.get(name) != bytes(sealed):
            raise ObjectDamaged(
                f"{name} is not what was stored", hint="Nothing was deleted; run verify: is the store sound?"
            )
        self.result.reduced += 1
        self.result.freed_bytes -= len(sealed)
        self._delete(needed.names)

    def _read_back(self, remainder: str) -> None:
        """Every byte of what stays alone from now on: who put it may have died before looking."""
        identity = Identity(self._repository.repository_id, remainder, ObjectKind.REMAINDER)
        data = self._repository.store.get(remainder)
        for _ in unseal_object(identity, self.reader.backup_key(self._backup), data):
            pass

    def _packs_of(self, part: IndexPartRef) -> dict[int, NeededPack]:
        index = self.reader.index_part(part, self._backup)
        held = [0] * len(index.packs)
        for record in index.records():
            held[record.pack] += record.length
        found: dict[int, NeededPack] = {}
        for pack, held_bytes in zip(index.packs, held, strict=True):
            # An incremental and a stored full name their own alone; what a referring full names of others
            # is theirs to reduce.
            if pack.backup == self._backup:
                needed = self._present(pack, held_bytes)
                if needed is not None:
                    found[pack.number] = needed
        return found

    def _present(self, pack: PackRef, held_bytes: int) -> NeededPack | None:
        """None for a pack of which nothing is found: what that breaks is told by verify."""
        names = self._there.get(pack.number, ())
        if not names:
            # A list may lack it.
            try:
                self._sizes[pack.name] = self._repository.store.stat(pack.name).size
            except ObjectMissing:
                return None
            names = (pack.name,)
        if layout.is_pack(names[-1]):
            return NeededPack(pack, names, None, held_bytes)
        remainder = read_remainder(self._repository, names[-1], self.reader.backup_key(self._backup))
        return NeededPack(pack, names, remainder, remainder.held_bytes)

    def _remainder(self, name: str, needed: NeededPack) -> bytearray:
        builder = RemainderBuilder(_LEVEL)
        for frame in self._frames(needed):
            wanted = needed.frames[frame.number].runs
            for skip, extent in frame.places():
                for start, length in wanted.within(skip, extent.length):
                    place = Extent(extent.file, extent.offset + start - skip, length)
                    data = frame.cut(start, length)
                    builder.add(Piece(frame.number, len(frame.data), frame.stage, start, place, data))
        identity = Identity(self._repository.repository_id, name, ObjectKind.REMAINDER)
        key, pack = self.reader.backup_key(self._backup), needed.pack
        return builder.build(identity, key, pack=pack.number, size=pack.size, sha256=pack.sha256)

    def _frames(self, needed: NeededPack) -> Iterator[Frame]:
        spans = [needed.frames[number].span for number in sorted(needed.frames)]
        return self.reader.frames(needed.pack, spans) if spans else iter(())

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            size = self._sizes[name]
            try:
                self._repository.store.delete(name)
            except ObjectLocked as error:
                self.result.locked.append((name, error.until))
            else:
                self.result.freed_bytes += size


def _objects(repository: Repository, backup: BackupName) -> tuple[dict[int, tuple[str, ...]], dict[str, int]]:
    """By number of the pack: the pack and its remainders, the newest last; and their sizes in the store."""
    sizes: dict[str, int] = {}
    found: dict[int, set[tuple[int, str]]] = {}
    for info in repository.store.list(layout.packs_and_parts(backup)):
        number, remainder = layout.parse_pack(info.key), layout.parse_remainder(info.key)
        if number is not None:
            found.setdefault(number, set()).add((-1, info.key))
        elif remainder:
            found.setdefault(remainder[0], set()).add((remainder[1], info.key))
        else:
            continue
        sizes[info.key] = info.size
    return {number: tuple(name for _, name in sorted(names)) for number, names in found.items()}, sizes
