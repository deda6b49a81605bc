"""Re-reading everything of a shard's archive, without MySQL: is every stored byte as it was written?"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from fleet.errors import Cancelled, ObjectMissing, ToolError
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile, SegmentRef
from repository.archive.segment import MAGIC, Segment, SegmentHeader
from repository.seal import damaged
from repository.verify import Reading
from repository.verify_journal import Noted
from repository.verify_tally import Damage, Tally, VerifyProgress

_AHEAD = 2
_EVENT_HEADER = struct.Struct("<4xB4xI6x")
_GTID_EVENTS = frozenset((33, 42))


@dataclass(frozen=True)
class ArchiveReport:
    """What was read of an archive, and all that was wrong. ``events_bytes`` are plain, the others as stored.

    ``listed``: segments that are there, ``segments`` those of them that were read. ``transactions``: each
    once, in however many segments and epochs it was read. ``stored_bytes`` of a quick look: of those listed.
    ``damages`` name objects; ``holes`` name binlog files of which bytes in the middle are not there.
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
    listed: int
    seconds: float

    @property
    def is_sound(self) -> bool:
        return not self.damages and not self.holes


def verify_archive(
    archive: ShardArchive,
    progress: Callable[[VerifyProgress], None] | None = None,
    *,
    reading: Reading | None = None,
    quick: bool = False,
) -> ArchiveReport:
    """Read epochs, notes and every segment, so many at once; if ``quick``, list the segments instead.

    A segment must unseal, hold the bytes that its header promises, and whole events; its index must name the
    transactions that end in these, and no others. What was composed or let go while it was read is no
    damage. Damage is collected. Raises only what says nothing about the archive: ``StoreUnreachable``,
    ``StoreDenied``, ``KeyServiceUnreachable``.
    """
    reading = reading or Reading()
    run = _Run(archive, progress, reading)
    with ThreadPoolExecutor(reading.threads, thread_name_prefix="verify") as readers:
        epochs = run.epochs()
        listed = {number: archive.files(number) for number in epochs}
        run.expect(() if quick else [file for files in listed.values() for file in files])
        for number, files in listed.items():
            for file in files:
                run.list_file(file)
                if not quick:
                    run.read_file(file, readers, reading.threads + _AHEAD)
            run.noting(partial(archive.notes, number), layout.archive_notes(archive.shard, number))
    return run.report(quick=quick)


@dataclass
class _Count:
    """What was read of one binlog file, or of all."""

    segments: int = 0
    events_bytes: int = 0
    stored_bytes: int = 0
    passed_bytes: int = 0
    gtids: GtidSet = field(default_factory=GtidSet)

    def add(self, other: _Count) -> None:
        self.segments += other.segments
        self.events_bytes += other.events_bytes
        self.stored_bytes += other.stored_bytes
        self.passed_bytes += other.passed_bytes
        self.gtids |= other.gtids

    def noted(self) -> Tally:
        """As a journal keeps it; events are counted as records, so to say."""
        return Tally(
            objects=self.segments,
            stored_bytes=self.stored_bytes,
            records=self.events_bytes,
            passed_bytes=self.passed_bytes,
        )

    @classmethod
    def of(cls, noted: Noted) -> _Count:
        tally = noted.tally
        return cls(
            tally.objects, tally.records, tally.stored_bytes, tally.passed_bytes, GtidSet.parse(noted.gtids)
        )


class _Run:
    """What was read so far."""

    def __init__(
        self,
        archive: ShardArchive,
        progress: Callable[[VerifyProgress], None] | None,
        reading: Reading,
    ) -> None:
        self._archive = archive
        self._progress = progress
        self._reading = reading
        self._started = reading.clock.monotonic()
        self._epochs = self._files = self._listed = self._listed_bytes = 0
        self._expected_bytes = 0
        self._done = _Count()
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
            except ToolError as error:
                if error.retryable:
                    raise
                self._epochs = len(numbers)
                return numbers
            numbers.append(number)

    def expect(self, files: Iterable[ArchivedFile]) -> None:
        """So much will be read."""
        self._expected_bytes = sum(ref.size for file in files for ref in self._wanted(file))

    def noting(self, look: Callable[[], object], name: str) -> bool:
        """Keep the damage that ``look`` meets, instead of raising it; was there none?"""
        try:
            look()
        except Cancelled:
            raise
        except ToolError as error:
            if error.retryable:
                raise
            self._damages.append(Damage(name, error.message))
            return False
        return True

    def list_file(self, file: ArchivedFile) -> None:
        self._files += 1
        self._listed += len(file.segments) + len(file.spare)
        self._listed_bytes += sum(ref.size for ref in (*file.segments, *file.spare))
        self._holes += [
            Damage(str(file.name), f"its bytes from {first} to {last} are missing")
            for first, last in file.holes
        ]

    def read_file(self, file: ArchivedFile, readers: ThreadPoolExecutor, ahead: int) -> None:
        """Read the segments in their order, some of them ahead."""
        journal, group = self._reading.journal, _group(self._archive.shard, file)
        if journal and (noted := journal.group(group)):
            self._count(_Count.of(noted))
            return
        count = _Count()
        waiting: deque[tuple[SegmentRef, Future[Segment]]] = deque()
        before: SegmentHeader | None = None
        is_sound = True
        for ref in self._wanted(file):
            waiting.append((ref, readers.submit(self._archive.read, ref)))
            if len(waiting) >= ahead:
                before = self._segment(*waiting.popleft(), before, count)
                is_sound = is_sound and before is not None
        while waiting:
            before = self._segment(*waiting.popleft(), before, count)
            is_sound = is_sound and before is not None
        if journal and is_sound:
            journal.note_group(group, count.noted(), count.gtids.one_line())

    def report(self, *, quick: bool) -> ArchiveReport:
        return ArchiveReport(
            shard=self._archive.shard,
            epochs=self._epochs,
            files=self._files,
            segments=self._done.segments,
            transactions=self._done.gtids.count(),
            events_bytes=self._done.events_bytes,
            stored_bytes=self._listed_bytes if quick else self._done.stored_bytes,
            damages=tuple(sorted(self._damages, key=lambda damage: damage.name)),
            holes=tuple(self._holes),
            listed=self._listed,
            seconds=round(self._reading.clock.monotonic() - self._started, 3),
        )

    def _wanted(self, file: ArchivedFile) -> list[SegmentRef]:
        sample, shard = self._reading.sample, self._archive.shard
        refs = (*file.segments, *file.spare)
        return [ref for ref in refs if sample is None or sample.takes(layout.segment(shard, ref.name))]

    def _segment(
        self, ref: SegmentRef, future: Future[Segment], before: SegmentHeader | None, count: _Count
    ) -> SegmentHeader | None:
        """Check one that was read; its header is what the next one is compared with. None: it is damaged."""
        name = layout.segment(self._archive.shard, ref.name)
        one = _Count(segments=1, passed_bytes=ref.size)
        header: SegmentHeader | None = None

        def look() -> None:
            nonlocal header
            try:
                segment = future.result()
            except ObjectMissing:
                one.segments = 0
                if self._is_gone(ref):
                    return
                raise
            check_events(name, segment)
            header = segment.header
            if before is not None and before.end == header.start:
                _check_follows(name, before, header)
            one.gtids = header.own_set
            one.events_bytes = len(segment.data)
            one.stored_bytes = ref.size

        is_sound = self.noting(look, name)
        count.add(one)
        self._count(one)
        return header if is_sound else None

    def _is_gone(self, ref: SegmentRef) -> bool:
        """Was it composed, or let go, since it was listed? Then others hold its bytes, or none behind it is
        there.
        """
        now = self._archive.file(ref.name.binlog)
        listed = (*now.segments, *now.spare)
        if ref.name in {each.name for each in listed}:
            return False
        covered = sum(max(0, min(part.last, ref.end) - max(part.first, ref.start)) for part in now.parts)
        return covered == ref.end - ref.start or all(each.start < ref.start for each in listed)

    def _count(self, one: _Count) -> None:
        self._done.add(one)
        if self._progress:
            done = self._done
            total = max(self._expected_bytes, done.passed_bytes)
            self._progress(VerifyProgress(done.passed_bytes, total, done.segments, len(self._damages)))


def _group(shard: str, file: ArchivedFile) -> str:
    """What the journal calls a binlog file as it is now: when more of it is archived, it is read again."""
    sizes = sum(ref.size for ref in (*file.segments, *file.spare))
    return f"{layout.binlog(shard, file.name)}@{len(file.segments)}+{len(file.spare)}:{sizes}"


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
