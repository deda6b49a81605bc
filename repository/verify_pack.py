"""One pack, read and compared with the records that name it; one index part's records with their owner's."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import xxhash

from fleet.blocks import Extent, Stage
from fleet.errors import ObjectMissing
from repository.index import IndexPart, PackRef, Record
from repository.layout import BackupName
from repository.manifest import FileEntry, IndexPartRef, Manifest
from repository.reader import BackupReader, Frame
from repository.seal import damaged
from repository.verify_tally import DAMAGE, PageCheck, Suspect, Tally


class PackCheck(NamedTuple):
    """Who reads packs for a backup: ``files`` is its file table, by number; ``pages`` checks the pages."""

    reader: BackupReader
    files: Mapping[int, FileEntry]
    pages: PageCheck | None = None


def check_pack(check: PackCheck, pack: PackRef, records: Sequence[Record]) -> Tally:
    """Read a pack: a backup's own whole, another's as far as the records name it.

    Damage is noted. Raises what says nothing about the pack.
    """
    reader, files, _ = check
    is_own = pack.backup == reader.manifest.backup
    by_frame: dict[int, list[Record]] = {}
    for record in records:
        by_frame.setdefault(record.frame, []).append(record)
    spans = {record.span for record in records}
    stored_bytes = pack.size if is_own else sum(span.length for span in spans)
    tally = Tally(passed_bytes=stored_bytes)
    compare = _compare if is_own else _compare_named
    with tally.noting(pack.name):
        _check_size(reader, pack)
        for frame in reader.frames(pack, None if is_own else list(spans)):
            tally.frames += 1
            named = by_frame.pop(frame.number, [])
            compare(pack, frame, named, files)
            tally.records += len(named)
            if check.pages is not None and frame.stage is Stage.FILE:
                _check_pages(tally, check, pack, (frame, named))
        if by_frame:
            raise damaged(pack.name, f"the index names frame {min(by_frame)}, which it does not have")
        tally.stored_bytes = stored_bytes
    return tally


def _check_size(reader: BackupReader, pack: PackRef) -> None:
    """Raises ``ObjectDamaged``, and ``ObjectMissing`` for a pack of the backup's own. Of another's there may
    be a remainder, which the reader finds.
    """
    try:
        size = reader.repository.store.stat(pack.name).size
    except ObjectMissing:
        if pack.backup == reader.manifest.backup:
            raise
        return
    if size != pack.size:
        raise damaged(pack.name, f"it has {size} bytes, and the index says {pack.size}")


def unreadable_frames(reader: BackupReader, pack: PackRef, records: Iterable[Record]) -> frozenset[int]:
    """The frames of a damaged pack that a restore cannot read: each is tried by itself, as a restore would.

    Raises what says nothing about the pack.
    """
    tally = Tally()
    lost: set[int] = set()
    for span in sorted({record.span for record in records}):
        before = len(tally.damages)
        with tally.noting(pack.name):
            for _ in reader.frames(pack, [span]):
                pass
        if len(tally.damages) > before:
            lost.add(span.number)
    return frozenset(lost)


class OwnerIndex:
    """What the owner of a pack says of it, so that who refers to the pack need not read it again.

    Not thread-safe. Memory: one index part, and four bytes for each pack of the owners that are known.
    """

    def __init__(self, owners: Mapping[BackupName, Manifest]) -> None:
        self._owners = owners
        self._places: dict[BackupName, array[int]] = {}
        self._part: tuple[BackupName, int] | None = None
        self._packs: dict[int, tuple[PackRef, list[Record]]] = {}
        self._unreadable: set[BackupName] = set()

    def note(self, backup: BackupName, reference: IndexPartRef, part: IndexPart) -> None:
        """The backup's index part was just read."""
        places = self._places.setdefault(backup, array("i"))
        for pack in part.packs:
            if pack.backup == backup:
                places.extend([-1] * (pack.number + 1 - len(places)))
                places[pack.number] = reference.number

    def compare(self, check: PackCheck, pack: PackRef, records: Sequence[Record]) -> Tally | None:
        """Do records that refer to ``pack`` say what its owner says? Damage is noted.

        None if the owner is not read in this run, or its index does not tell: then the pack must be read.
        """
        owned = self._owned(check.reader, pack)
        if owned is None:
            return None
        own, frames = owned
        tally = Tally()
        with tally.noting(pack.name):
            if own != pack:
                raise damaged(pack.name, f"{check.reader.manifest.backup} and its owner name it differently")
            for record in records:
                _compare_with_owner(pack, record, frames.get(record.frame, []), check.files)
                tally.records += 1
        tally.objects = 0  # it was not read
        return tally

    def _owned(self, reader: BackupReader, pack: PackRef) -> tuple[PackRef, dict[int, list[Record]]] | None:
        backup = pack.backup
        if backup not in self._owners or backup in self._unreadable:
            return None
        try:
            number = self._place(reader, pack)
            if number >= 0 and self._part != (backup, number):
                reference = next(each for each in self._owners[backup].index if each.number == number)
                part = reader.index_part(reference, backup)
                self._packs = {
                    ref.number: (ref, rows) for ref, rows in part.by_pack() if ref.backup == backup
                }
                self._part = (backup, number)
        except DAMAGE:
            self._unreadable.add(backup)  # its own report names what is damaged
            return None
        if number < 0:
            return None
        own, records = self._packs[pack.number]
        frames: dict[int, list[Record]] = {}
        for record in records:
            frames.setdefault(record.frame, []).append(record)
        return own, frames

    def _place(self, reader: BackupReader, pack: PackRef) -> int:
        """The owner's index part that has the pack; -1 if none has."""
        places = self._places.get(pack.backup)
        if places is None or pack.number >= len(places) or places[pack.number] < 0:
            for reference in self._owners[pack.backup].index:
                self.note(pack.backup, reference, reader.index_part(reference, pack.backup))
            places = self._places.setdefault(pack.backup, array("i"))
        return places[pack.number] if pack.number < len(places) else -1


def _compare(pack: PackRef, frame: Frame, records: Sequence[Record], files: Mapping[int, FileEntry]) -> None:
    """Do the index's records of this frame say what the frame says? Raises ``ObjectDamaged``."""
    ordered = sorted(records, key=lambda record: record.skip)
    skip = 0
    for extent, record in zip_longest(frame.extents, ordered):
        if extent is None or record is None or record[:4] != (frame.stage, *extent) or record.skip != skip:
            raise damaged(pack.name, f"frame {frame.number} and its index records disagree")
        if record.span != frame.span:
            raise damaged(pack.name, f"frame {frame.number} does not stand where the index says")
        if xxhash.xxh3_128_digest(frame.data[skip : skip + extent.length]) != record.digest:
            raise damaged(pack.name, f"data in frame {frame.number} has not the digest of the index")
        _check_end(pack, record, files)
        skip += extent.length


def _compare_named(
    pack: PackRef, frame: Frame, records: Sequence[Record], files: Mapping[int, FileEntry]
) -> None:
    """Does another backup's frame hold what the records say? They may name some of it, cut, and as another
    file of another stage; but where the bytes lie in their file is the same. Raises ``ObjectDamaged``.
    """
    places = list(frame.places())
    starts = [skip for skip, _ in places]
    for record in records:
        # What is left of a pack may be in pieces, where the extent was one.
        first = max(bisect_right(starts, record.skip) - 1, 0)
        last = bisect_right(starts, record.skip + record.length - 1)
        covering = places[first:last]
        if record.span != frame.span or not covering or not _covers(covering, record):
            raise damaged(pack.name, f"frame {frame.number} does not hold what the index says")
        for skip, extent in covering:
            _check_place(pack, record, extent, skip)
        data = frame.cut(record.skip, record.length)
        if record.digest and xxhash.xxh3_128_digest(data) != record.digest:
            raise damaged(pack.name, f"data in frame {frame.number} has not the digest of the index")
        _check_end(pack, record, files)


def _covers(places: Sequence[tuple[int, Extent]], record: Record) -> bool:
    """Do these extents, one after the other, hold all of the record's bytes, of one file?"""
    at = places[0][0]
    for skip, extent in places:
        if skip != at or extent.file != places[0][1].file:
            return False
        at += extent.length
    return places[0][0] <= record.skip and record.skip + record.length <= at


def _compare_with_owner(
    pack: PackRef, record: Record, owned: Sequence[Record], files: Mapping[int, FileEntry]
) -> None:
    """The same without the frame: the owner's records of it are its extents. Raises ``ObjectDamaged``."""
    for own in owned:
        if own.skip <= record.skip and record.skip + record.length <= own.skip + own.length:
            break
    else:
        raise damaged(pack.name, f"frame {record.frame} does not hold what the index says")
    if own.span != record.span:
        raise damaged(pack.name, f"frame {record.frame} does not stand where the index says")
    _check_place(pack, record, Extent(own.file, own.offset, own.length), own.skip)
    if record.digest and record.length == own.length and record.digest != own.digest:
        raise damaged(pack.name, f"data in frame {record.frame} has not the digest of the index")
    _check_end(pack, record, files)


def _check_place(pack: PackRef, record: Record, extent: Extent, skip: int) -> None:
    """``skip`` is where ``extent`` begins in the frame."""
    if record.offset - extent.offset != record.skip - skip:
        raise damaged(
            pack.name,
            f"frame {record.frame} holds byte {extent.offset} of a file where the index says another",
        )


def _check_end(pack: PackRef, record: Record, files: Mapping[int, FileEntry]) -> None:
    entry = files.get(record.file)
    if entry is not None and record.offset + record.length > entry.size:
        raise damaged(pack.name, f"data in frame {record.frame} lies beyond the end of file {record.file}")


def _check_pages(
    tally: Tally, check: PackCheck, pack: PackRef, named: tuple[Frame, Sequence[Record]]
) -> None:
    """The checksums of the pages of tablespaces. What is no whole page, or of a dropped file, has none."""
    assert check.pages is not None
    logical = check.reader.manifest.settings.innodb_page_size
    frame, records = named
    for record in records:
        entry = check.files.get(record.file)
        if entry is None or entry.space_id is None or not entry.page_size:
            continue
        size = entry.page_size
        if record.offset % size or record.length % size:
            continue
        tally.pages += record.length // size
        for at in check.pages(frame.data[record.skip : record.skip + record.length], logical, size):
            tally.suspects.append(Suspect(entry.number, record.offset // size + at, pack.name))
