"""Putting many small segments of a binlog file together (FORMAT.md, section 10, rule 4).

At every moment every byte is in a segment that can be read: the whole is put, read back and compared before
the first of its pieces goes. Whatever a crash leaves is a spare segment, which the next run deletes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from fleet.errors import ObjectDamaged, ObjectLocked, ObjectMissing, SourceDiverged
from fleet.gtid import GtidSet
from fleet.transaction import Transaction
from repository import layout
from repository.archive.cover import ArchivedFile, Part, SegmentRef
from repository.archive.segment import SegmentDraft, SegmentHeader
from repository.layout import BinlogFile, SegmentName
from repository.seal import damaged

if TYPE_CHECKING:
    from repository.archive.archive import ShardArchive

_THREADS = 4
_GTID_EVENTS = frozenset((33, 34, 42))
"""Types of the events that begin a transaction: GTID, anonymous, tagged GTID."""


def compose(
    archive: ShardArchive, file: BinlogFile, *, target_bytes: int, min_pieces: int, finished: bool
) -> int:
    """See ``ShardArchive.compose``."""
    archive.repository.check_may("write")
    archive.repository.check_may("delete")
    found = archive.file(file)
    drop_spare(archive, found)
    if not found.parts:
        return 0
    is_over = finished or archive.header(found.parts[-1].segment).closed is not None
    composed = sum(
        _compose_group(archive, group) for group in groups(found.parts, target_bytes, min_pieces, is_over)
    )
    if is_over:
        archive.locked.forget(file)
    return composed


def drop_spare(archive: ShardArchive, found: ArchivedFile) -> None:
    """See ``ShardArchive.drop_spare``."""
    archive.repository.check_may("delete")
    # A crash may have left thousands of pieces of one whole: that is read once.
    read = lru_cache(maxsize=1)(archive.data)
    for spare in found.spare:
        if spare.name not in archive.locked:
            _drop(archive, found, spare, read)


def groups(parts: Sequence[Part], target_bytes: int, min_pieces: int, is_over: bool) -> Iterator[list[Part]]:
    """Which parts to put together, each group up to ``target_bytes``.

    Of a file that still grows only groups that at least double their largest piece: so a byte is written
    anew a few times at most, and not each time some more arrive.
    """
    for group, is_full in _filled(parts, target_bytes):
        chosen = group
        while not is_over and len(chosen) > 1 and 2 * _bytes(chosen[:1]) > _bytes(chosen):
            chosen = chosen[1:]
        if len(chosen) >= (2 if is_over or is_full else min_pieces):
            yield chosen


def _filled(parts: Sequence[Part], target_bytes: int) -> Iterator[tuple[list[Part], bool]]:
    """Runs of neighbours of up to ``target_bytes``, and whether the next one would not have fitted in."""
    group: list[Part] = []
    for part in parts:
        is_beside = not group or group[-1].last == part.first
        fits = not group or part.last - group[0].first <= target_bytes
        if group and not (is_beside and fits):
            yield group, is_beside
            group = []
        group.append(part)
    if group:
        yield group, False


def _bytes(parts: Sequence[Part]) -> int:
    return sum(part.last - part.first for part in parts)


def _compose_group(archive: ShardArchive, group: Sequence[Part]) -> int:
    whole = _joined(archive, group)
    sealed = archive.seal(whole)
    is_ours = archive.put(sealed)
    back = archive.read(SegmentRef(sealed.name, len(sealed.content)))
    name = layout.segment(archive.shard, sealed.name)
    if back.data != whole.data or back.columns.transactions() != whole.transactions:
        if is_ours:
            # Readers would prefer it to its pieces. One that is locked is named by verify.
            _delete(archive, sealed.name)
        raise damaged(name, "what was read back is not what its pieces hold")
    # The first may hold bytes from before the whole: then the next one that composes finds it spare.
    pieces = [part.segment.name for part in group if part.segment.start >= whole.start]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="compose") as threads:
        list(threads.map(partial(_delete, archive), pieces))
    return len(whole.data)


def _delete(archive: ShardArchive, segment: SegmentName) -> None:
    """One that is locked stays: a spare segment, which goes with its file."""
    try:
        archive.repository.store.delete(layout.segment(archive.shard, segment))
    except ObjectLocked as error:
        archive.locked.add(segment, error.until)


class LockedSegments:
    """Segments that could not be deleted because they are locked: nobody tries again in vain, as long as
    their file grows. Thread-safe. ``until``: when the last of those locks ends, UTC, as far as it was told.
    """

    def __init__(self) -> None:
        self.until: datetime | None = None
        self._lock = threading.Lock()
        self._by_file: dict[BinlogFile, set[SegmentName]] = {}

    def add(self, segment: SegmentName, until: datetime | None) -> None:
        with self._lock:
            self._by_file.setdefault(segment.binlog, set()).add(segment)
            self.until = max(filter(None, (self.until, until)), default=None)

    def forget(self, file: BinlogFile) -> None:
        with self._lock:
            self._by_file.pop(file, None)

    def __contains__(self, segment: SegmentName) -> bool:
        with self._lock:
            return segment in self._by_file.get(segment.binlog, ())


def _joined(archive: ShardArchive, group: Sequence[Part]) -> SegmentDraft:
    """The pieces as one draft. Raises ``ObjectDamaged`` if their indexes do not fit their events."""
    data = bytearray()
    transactions: list[Transaction] = []
    headers: list[SegmentHeader] = []
    executed = GtidSet()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="compose") as threads:
        read = list(threads.map(archive.read, (part.segment for part in group)))
    for part, segment in zip(group, read, strict=True):
        base = segment.header.start
        data += memoryview(segment.data)[part.first - base : part.last - base]
        columns = segment.columns
        transactions += columns.transactions(columns.rows_ending(part.first, part.last))
        if not headers:
            executed = segment.header.set_before | columns.gtids(columns.rows_ending(base, part.first))
        headers.append(segment.header)
    start = group[0].first
    for transaction in transactions:
        at = transaction.start - start
        if at >= 0 and data[at + 4] not in _GTID_EVENTS:
            name = layout.segment(archive.shard, group[0].segment.name)
            raise damaged(name, f"no transaction begins at {transaction.start}, where an index has one")
    return SegmentDraft(
        file=group[0].segment.name.binlog,
        start=start,
        data=data,
        closed=headers[-1].closed,
        previous_gtids=headers[0].previous_set,
        gtids_before=executed,
        transactions=transactions,
    )


def _drop(
    archive: ShardArchive, found: ArchivedFile, spare: SegmentRef, read: Callable[[SegmentRef], bytes]
) -> None:
    """Delete a spare segment whose bytes are all in the parts, read and compared.

    Each part is read from its own segment: if that is damaged or gone, the spare may be all there is.
    """
    try:
        data = memoryview(archive.data(spare))
        for part in found.parts:
            first, last = max(part.first, spare.start), min(part.last, spare.end)
            if first >= last:
                continue
            base = part.segment.start
            held = memoryview(read(part.segment))[first - base : last - base]
            if held != data[first - spare.start : last - spare.start]:
                raise SourceDiverged(
                    f"{spare.name.binlog}: two segments hold different bytes between {first} and {last}",
                    hint="Two archivers received different events under one name; verify names the objects.",
                )
    except (ObjectMissing, ObjectDamaged):
        # What cannot be compared stays; verify names what is damaged.
        return
    _delete(archive, spare.name)
