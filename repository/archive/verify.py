"""Re-reading everything of a shard's archive, without MySQL: is every stored byte as it was written?"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from fleet.errors import Cancelled, ToolError
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile, SegmentRef
from repository.archive.segment import MAGIC, Segment, SegmentHeader
from repository.seal import damaged
from repository.verify import Damage, VerifyProgress

_AHEAD = 2
_EVENT_HEADER = struct.Struct("<4xB4xI6x")
_GTID_EVENTS = frozenset((33, 42))


@dataclass(frozen=True)
class ArchiveReport:
    """What was read of an archive, and all that was wrong. ``events_bytes`` are plain, the others as stored.

    ``transactions``: each once, in however many segments and epochs it is. ``damages`` name objects;
    ``holes`` name binlog files of which bytes in the middle are not there.
    """

    shard: str
    epochs: int
    files: int
    segments: int
    transactions: int
    events_bytes: int
    stored_bytes: int
    damages: tuple[Damage, ...]
    holes: tuple[Damage, ...]

    @property
    def is_sound(self) -> bool:
        return not self.damages and not self.holes


def verify_archive(
    archive: ShardArchive,
    progress: Callable[[VerifyProgress], None] | None = None,
    *,
    threads: int = 2,
) -> ArchiveReport:
    """Read epochs, notes and every segment, so many at once.

    A segment must unseal, hold the bytes that its header promises, and whole events; its index must name the
    transactions that end in these, and no others. Damage is collected. Raises only what says nothing about
    the archive: ``StoreUnreachable``, ``StoreDenied``, ``KeyServiceUnreachable``.
    """
    tally = _Tally(archive, progress)
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as readers:
        for number in tally.epochs():
            files = archive.files(number)
            tally.expect(files)
            for file in files:
                tally.file(file, readers, threads + _AHEAD)
            tally.noting(partial(archive.notes, number), layout.archive_notes(archive.shard, number))
    return tally.report()


class _Tally:
    """What was read so far."""

    def __init__(self, archive: ShardArchive, progress: Callable[[VerifyProgress], None] | None) -> None:
        self._archive = archive
        self._progress = progress
        self._epochs = self._files = self._segments = 0
        self._transactions = GtidSet()
        self._events_bytes = self._stored_bytes = self._expected_bytes = 0
        self._damages: list[Damage] = []
        self._holes: list[Damage] = []

    def epochs(self) -> list[int]:
        """The epochs that can be opened."""
        self.noting(self._archive.epochs, f"{layout.ARCHIVE}{self._archive.shard}/")
        numbers: list[int] = []
        while True:
            number = len(numbers) + 1
            try:
                self._archive.epoch(number)
            except Cancelled:
                raise
            except ToolError:
                self._epochs = len(numbers)
                return numbers
            numbers.append(number)

    def expect(self, files: list[ArchivedFile]) -> None:
        self._expected_bytes += sum(ref.size for file in files for ref in (*file.segments, *file.spare))

    def noting(self, look: Callable[[], object], name: str) -> None:
        """Keep the damage that ``look`` meets, instead of raising it."""
        try:
            look()
        except Cancelled:
            raise
        except ToolError as error:
            if error.retryable:
                raise
            self._damages.append(Damage(name, error.message))

    def file(self, file: ArchivedFile, readers: ThreadPoolExecutor, ahead: int) -> None:
        self._files += 1
        self._holes += [
            Damage(str(file.name), f"its bytes from {first} to {last} are missing")
            for first, last in file.holes
        ]
        refs = iter((*file.segments, *file.spare))
        waiting: deque[tuple[SegmentRef, Future[Segment]]] = deque()
        before: SegmentHeader | None = None
        for ref in refs:
            waiting.append((ref, readers.submit(self._archive.read, ref)))
            if len(waiting) >= ahead:
                before = self._segment(*waiting.popleft(), before)
        while waiting:
            before = self._segment(*waiting.popleft(), before)

    def _segment(
        self, ref: SegmentRef, future: Future[Segment], before: SegmentHeader | None
    ) -> SegmentHeader | None:
        """Check one that was read; its header is what the next one is compared with."""
        name = layout.segment(self._archive.shard, ref.name)
        header: SegmentHeader | None = None

        def look() -> None:
            nonlocal header
            segment = future.result()
            check_events(name, segment)
            header = segment.header
            if before is not None and before.end == header.start:
                _check_follows(name, before, header)
            self._transactions |= header.own_set
            self._events_bytes += len(segment.data)

        self.noting(look, name)
        self._segments += 1
        self._stored_bytes += ref.size
        if self._progress:
            total = max(self._expected_bytes, self._stored_bytes)
            done = VerifyProgress(self._stored_bytes, total, self._segments, len(self._damages))
            self._progress(done)
        return header

    def report(self) -> ArchiveReport:
        return ArchiveReport(
            shard=self._archive.shard,
            epochs=self._epochs,
            files=self._files,
            segments=self._segments,
            transactions=self._transactions.count(),
            events_bytes=self._events_bytes,
            stored_bytes=self._stored_bytes,
            damages=tuple(sorted(self._damages, key=lambda damage: damage.name)),
            holes=tuple(self._holes),
        )


def check_events(name: str, segment: Segment) -> None:
    """Whole events, and an index that says where their transactions begin. Raises ``ObjectDamaged``."""
    data, base, columns = segment.data, segment.header.start, segment.columns
    at = len(MAGIC) if base == 0 else 0
    begun: list[int] = []
    while at < len(data):
        if at + _EVENT_HEADER.size > len(data):
            raise damaged(name, f"half an event stands at {base + at}")
        kind, length = _EVENT_HEADER.unpack_from(data, at)
        if kind in _GTID_EVENTS:
            begun.append(base + at)
        if not _EVENT_HEADER.size <= length <= len(data) - at:
            raise damaged(name, f"the event at {base + at} does not end where the segment does")
        at += length
    indexed = [start for start in columns.starts if start >= base]
    # The last one may go on in the next segment, whose index then has it.
    if indexed not in (begun, begun[:-1]):
        raise damaged(name, f"{len(begun)} transactions begin in it, and its index has {len(indexed)}")


def _check_follows(name: str, before: SegmentHeader, header: SegmentHeader) -> None:
    executed: GtidSet = before.set_before | before.own_set
    if header.set_before != executed:
        raise damaged(name, "the transactions executed before it are not those of the segment before")
