"""Which transactions of which part belong to a line, and what is missing. Pure (FORMAT.md, section 10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fleet.errors import ObjectDamaged
from fleet.gtid import GtidSet
from repository.archive.cover import Part, SegmentRef
from repository.archive.ledger import Epoch
from repository.archive.segment import SegmentHeader
from repository.layout import BinlogFile

_NONE = GtidSet()


class FoundPart(NamedTuple):
    """A part as the archive has it.

    ``gtids``: transactions whose last byte it holds and whose bytes are all there. ``lost``: those of which
    bytes are missing in a hole. ``begin``: what lies before this position is of no use, since a hole cut it.
    """

    part: Part
    header: SegmentHeader
    gtids: GtidSet
    begin: int
    lost: GtidSet


class Damaged(NamedTuple):
    """A segment that cannot even say what it holds."""

    segment: SegmentRef
    error: ObjectDamaged


class FoundFile(NamedTuple):
    """A file as the archive has it; without parts only if all of its segments are damaged."""

    name: BinlogFile
    parts: tuple[FoundPart, ...]
    damages: tuple[Damaged, ...] = ()

    @property
    def previous_gtids(self) -> GtidSet:
        return self.parts[0].header.previous_set

    @property
    def listed(self) -> tuple[Part, ...]:
        return tuple(each.part for each in self.parts)

    @property
    def has_head(self) -> bool:
        """Is its first byte there? Without the format description no event of it can be read."""
        return self.parts[0].part.first == 0


class Gap(NamedTuple):
    """Transactions of the line that are not in the archive, and the files between which they are missing.

    Both are the same file where bytes inside of it are missing.
    """

    missing: GtidSet
    after: BinlogFile | None
    before: BinlogFile

    def opens_at(self, part: LinePart) -> bool:
        """Is it right before ``part``?"""
        if self.before != part.file:
            return False
        # Inside of a file, the first part that tells of the missing ones stands behind them.
        return self.after != part.file or self.missing <= part.header.set_before or part.begin > 0


class Branch(NamedTuple):
    """Transactions archived in an epoch that do not go on in the line; never replayed in it."""

    epoch: int
    gtids: GtidSet


@dataclass(frozen=True, slots=True)
class LinePart:
    """A part of the line. ``wanted``: the transactions of ``gtids`` that it gives to the line, maybe none.

    ``begin``: see ``FoundPart``. ``first_at_us`` and ``last_at_us`` bound the commit times of ``wanted``.
    """

    file: BinlogFile
    part: Part
    header: SegmentHeader
    gtids: GtidSet
    begin: int
    wanted: GtidSet

    @property
    def is_whole(self) -> bool:
        """Does it give all of its transactions?"""
        return self.wanted == self.gtids == self.header.own_set

    @property
    def first_at_us(self) -> int | None:
        return self.header.first_at_us if self.wanted else None

    @property
    def last_at_us(self) -> int | None:
        return self.header.last_at_us if self.wanted else None


class Reckoning(NamedTuple):
    """What ``reckon`` found; see ``Line``."""

    files: tuple[FoundFile, ...]
    parts: tuple[LinePart, ...]
    gtids: GtidSet
    first_gtids: GtidSet
    skipped: GtidSet
    gaps: tuple[Gap, ...]
    branches: tuple[Branch, ...]


class _Allowed(NamedTuple):
    """What later epochs of the chain let through: ``inherited`` None stands for everything."""

    inherited: GtidSet | None
    skipped: GtidSet

    def of(self, gtids: GtidSet) -> GtidSet:
        kept = gtids if self.inherited is None else gtids & self.inherited
        return kept - self.skipped if self.skipped else kept


def reckon(epochs: Sequence[Epoch], found: Iterable[FoundFile]) -> Reckoning:
    """The line of the last of ``epochs``, a chain that begins with the first."""
    allowed = _allowed(epochs)
    files = sorted(found, key=_place)
    parts: list[LinePart] = []
    archived: dict[int, GtidSet] = {epoch.epoch: _NONE for epoch in epochs}
    served = _NONE
    for file in files:
        for each in file.parts:
            wanted = _NONE
            if file.has_head and each.gtids:
                wanted = allowed[file.name.epoch].of(each.gtids) - served
                served |= wanted
            archived[file.name.epoch] |= each.gtids
            parts.append(LinePart(file.name, each.part, each.header, each.gtids, each.begin, wanted))
    first = _first_gtids(files, parts)
    skipped = union(epoch.skipped_set for epoch in epochs) - served
    known = served | first | skipped
    branches = [
        Branch(number, off)
        for number, gtids in archived.items()
        if (off := gtids - allowed[number].of(gtids) - known)
    ]
    return Reckoning(
        files=tuple(files),
        parts=tuple(parts),
        gtids=served,
        first_gtids=first,
        skipped=skipped,
        gaps=tuple(_gaps(files, allowed, known)),
        branches=tuple(branches),
    )


def union(sets: Iterable[GtidSet]) -> GtidSet:
    """All of them together, in one step."""
    return GtidSet(origin for each in sets for origin in each)


def _place(file: FoundFile) -> tuple[int, int, int, int, str]:
    """Previous_gtids grow along a chain; names may collide or run backwards after a failover."""
    name = file.name
    return name.epoch, file.previous_gtids.count(), name.created, len(name.file), name.file


def _allowed(epochs: Sequence[Epoch]) -> dict[int, _Allowed]:
    allowed: dict[int, _Allowed] = {}
    inherited: GtidSet | None = None
    skipped = _NONE
    for epoch in reversed(epochs):
        allowed[epoch.epoch] = _Allowed(inherited, skipped)
        inherited = epoch.inherited_set if inherited is None else inherited & epoch.inherited_set
        skipped |= epoch.skipped_set
    return allowed


def _first_gtids(files: Sequence[FoundFile], parts: Iterable[LinePart]) -> GtidSet:
    """Previous_gtids of the first file of the first epoch that gives the line anything."""
    giving = next((part.file.epoch for part in parts if part.wanted), files[-1].name.epoch if files else 0)
    return next((file.previous_gtids for file in files if file.name.epoch == giving), _NONE)


def _gaps(files: Sequence[FoundFile], allowed: dict[int, _Allowed], known: GtidSet) -> Iterable[Gap]:
    """Each missing transaction in the first gap that shows it, and in no later one."""
    before: BinlogFile | None = None
    for file in files:
        seen = [(before, file.previous_gtids)]
        at = 0
        for each in file.parts:
            if each.part.first != at:
                seen.append((file.name, each.header.set_before))
            if each.lost:
                seen.append((file.name, each.lost))
            at = each.part.last
        if not file.has_head:
            seen.append((before, union(each.gtids for each in file.parts)))
        for after, should_be in seen:
            if missing := allowed[file.name.epoch].of(should_be) - known:
                yield Gap(missing, after, file.name)
                known |= missing
        before = file.name
