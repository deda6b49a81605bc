"""What damaged objects break: which backups, and of each which files and pages can no longer be restored.

A restore takes each page from one record (``overlay``), so a frame that cannot be read costs a backup exactly
the pages that it would take from it: none where a newer link or stage has them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleet.table_name import TableName
from repository import layout
from repository.chain import Chain, space_of
from repository.index import IndexPart, Record
from repository.layout import BackupName
from repository.manifest import FileEntry, Manifest
from repository.overlay import Overlay
from repository.reader import BackupReader
from repository.repository import Repository
from repository.verify_tally import DAMAGE


@dataclass(frozen=True, slots=True)
class LostRange:
    """From ``first`` to ``last``, both lost: pages of a tablespace, bytes of any other file."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A file of which a part cannot be restored. ``table``: whose it is; None if it is no table's own.

    ``unit`` is ``page`` or ``byte``; ``lost`` are so many of them, in ``ranges``.
    """

    name: str
    table: str | None
    unit: str
    lost: int
    ranges: tuple[LostRange, ...]


@dataclass(frozen=True, slots=True)
class BrokenBackup:
    """A backup that cannot be restored whole: nothing of it, and why (``reason``), or parts of ``files``."""

    shard: str
    label: str
    reason: str | None
    files: tuple[BrokenFile, ...]

    @property
    def backup(self) -> BackupName:
        return BackupName(self.shard, self.label)


_Frames = Mapping[str, frozenset[int] | None]


@dataclass(frozen=True)
class Harm:
    """What cannot be used: ``objects`` by name, and of packs those frames that cannot be read; None: all."""

    objects: frozenset[str]
    frames: _Frames


def what_breaks(
    repository: Repository, manifests: Mapping[BackupName, Manifest], harm: Harm
) -> tuple[BrokenBackup, ...]:
    """The backups that ``harm`` breaks, oldest first. ``manifests``: all that can be read.

    Reads index parts of those backups alone that build on a pack that is harmed. Raises what says nothing
    about them.
    """
    found = (_look_at(repository, manifest, manifests, harm) for manifest in manifests.values())
    return tuple(sorted((each for each in found if each), key=lambda each: (each.label, each.shard)))


def _look_at(
    repository: Repository, manifest: Manifest, manifests: Mapping[BackupName, Manifest], harm: Harm
) -> BrokenBackup | None:
    chain, reason = _chain_of(manifest, manifests)
    reason = reason or _unusable(chain, harm)
    if reason:
        return BrokenBackup(manifest.shard, manifest.label, reason, ())
    owners = {name for link in chain.links for name in (link.backup, *link.foundations())}
    harmed = {layout.packs_and_parts(owner) for owner in owners}
    frames = {pack: lost for pack, lost in harm.frames.items() if f"{pack.rpartition('/')[0]}/" in harmed}
    if not any(lost is None or lost for lost in frames.values()):
        return None
    try:
        files = tuple(_broken_files(BackupReader(repository, manifest), chain, frames))
    except DAMAGE as error:
        return BrokenBackup(manifest.shard, manifest.label, error.message, ())
    return BrokenBackup(manifest.shard, manifest.label, None, files) if files else None


def _chain_of(manifest: Manifest, manifests: Mapping[BackupName, Manifest]) -> tuple[Chain, str | None]:
    """The links that are there, and what keeps them from being all."""
    links = [manifest]
    while (base := links[-1].base) is not None:
        below = manifests.get(BackupName(manifest.shard, base.label))
        if below is None or below in links:
            return Chain(tuple(links)), f"{links[-1].label} continues {base.label}, which cannot be read"
        links.append(below)
    for link in links:
        for other in link.foundations():
            if other not in manifests:
                return Chain(tuple(links)), f"{link.label} refers to {other}, which cannot be read"
    return Chain(tuple(links)), None


def _unusable(chain: Chain, harm: Harm) -> str | None:
    """The first object that every restore of the chain needs, and that cannot be used."""
    for link in chain.links:
        names = [layout.manifest(link.backup)]
        names += [layout.index_part(link.backup, part.number) for part in link.index]
        for name in names:
            if name in harm.objects:
                return f"{name} is damaged"
    return None


def _broken_files(reader: BackupReader, chain: Chain, frames: _Frames) -> Iterator[BrokenFile]:
    files = {entry.number: entry for entry in _suspected(reader, chain, frames)}
    if not files:
        return
    overlay = Overlay(chain, files)
    lost: dict[int, list[tuple[int, int]]] = {}
    for pass_ in overlay.passes:
        for part in pass_.parts:
            index = reader.index_part(part.reference, chain.links[part.link].backup)
            bad = _harmed_packs(index, frames)
            for record in overlay.records(pass_, part, index):
                if bad and _is_lost(record, bad):
                    lost.setdefault(record.file, []).append((record.offset, record.offset + record.length))
    for number in sorted(lost, key=lambda each: files[each].name):
        yield _broken_file(files[number], lost[number])


def _suspected(reader: BackupReader, chain: Chain, frames: _Frames) -> Iterator[FileEntry]:
    """The newest link's files of which any link has something in those frames, be it newest or not."""
    spaces: set[tuple[int, int]] = set()
    plain: set[int] = set()
    for part in chain.parts:
        link = chain.links[part.link]
        index = reader.index_part(part.reference, link.backup)
        bad = _harmed_packs(index, frames)
        if not bad:
            continue
        entries = {entry.number: entry for entry in link.files}
        for record in index.records():
            entry = entries.get(record.file)
            if entry is None or not _is_lost(record, bad):
                continue
            if entry.space_id is not None:
                spaces.add(space_of(entry))
            elif part.link == 0:
                plain.add(entry.number)
    for entry in chain.newest.files:
        if entry.number in plain if entry.space_id is None else space_of(entry) in spaces:
            yield entry


def _harmed_packs(index: IndexPart, frames: _Frames) -> dict[int, frozenset[int] | None]:
    """Those frames, by the position of their pack in the part."""
    found = {number: pack.name for number, pack in enumerate(index.packs) if pack.name in frames}
    return {number: frames[name] for number, name in found.items() if frames[name] != frozenset()}


def _is_lost(record: Record, bad: Mapping[int, frozenset[int] | None]) -> bool:
    lost = bad.get(record.pack, frozenset[int]())
    return lost is None or record.frame in lost


def _broken_file(entry: FileEntry, lost: Sequence[tuple[int, int]]) -> BrokenFile:
    size = (entry.space_id is not None and entry.page_size) or 1
    ranges = tuple(_joined((first // size, -(-end // size) - 1) for first, end in lost))
    table = TableName.of_file(entry.name) if entry.space_id is not None else None
    return BrokenFile(
        name=entry.name,
        table=str(table) if table else None,
        unit="byte" if size == 1 else "page",
        lost=sum(each.last - each.first + 1 for each in ranges),
        ranges=ranges,
    )


def _joined(runs: Iterable[tuple[int, int]]) -> Iterator[LostRange]:
    """Runs by their beginning; neighbours are one."""
    first = last = -1
    for start, end in sorted(runs):
        if first >= 0 and start <= last + 1:
            last = max(last, end)
            continue
        if first >= 0:
            yield LostRange(first, last)
        first, last = start, end
    if first >= 0:
        yield LostRange(first, last)
