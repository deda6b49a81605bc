"""The archive of one shard: segments put and read, files listed, pieces composed (FORMAT.md, section 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from fleet.clock import Clock
from fleet.errors import ObjectDamaged, ObjectExists, ObjectMissing, SourceDiverged
from repository import layout
from repository.archive.columns import TransactionColumns
from repository.archive.compose import LockedSegments, compose, drop_spare
from repository.archive.cover import ArchivedFile, Part, SegmentRef, cover
from repository.archive.ledger import Epoch, EpochFacts, Ledger, Life, Note
from repository.archive.segment import (
    FrontReader,
    SealedSegment,
    Segment,
    SegmentDraft,
    SegmentHeader,
    identity_of,
    read_segment,
    seal_segment,
)
from repository.layout import BinlogFile, SegmentName
from repository.repository import Repository
from repository.seal import damaged

Answer = TypeVar("Answer")

FRONT_BYTES = 64 * 1024
"""The first read of a segment: enough for the header, and for the index of some thousand transactions."""


class ShardArchive:
    """One shard's archive. Thread-safe; nothing is cached but keys, and what is locked.

    Errors of every method: ``ObjectDamaged`` and ``ObjectMissing``, naming the object, ``KeyUnusable``,
    ``FormatUnsupported``, and what the store raises.
    """

    def __init__(self, repository: Repository, shard: str, *, level: int = 3) -> None:
        self.repository = repository
        self.shard = layout.check_name("shard", shard)
        self.locked = LockedSegments()
        self._ledger = Ledger(repository, shard)
        self._level = level

    def epochs(self, known: Sequence[Epoch] = ()) -> list[Epoch]:
        """All epochs, oldest first; none before the first ``open_epoch``. ``known``: all, a moment ago."""
        return self._ledger.epochs(known)

    def epoch(self, number: int) -> Epoch:
        return self._ledger.epoch(number)

    def open_epoch(self, facts: EpochFacts, clock: Clock) -> Epoch:
        """The epoch after ``facts.parent``: ours, or the one that another archiver opened meanwhile."""
        return self._ledger.open_epoch(facts, clock)

    def note(self, epoch: int, note: Note) -> str:
        """Add a note to an epoch; returns its object name."""
        return self._ledger.note(epoch, note)

    def notes(self, epoch: int | None = None) -> list[Note]:
        """The notes of an epoch, or of all epochs, oldest first."""
        return self._ledger.notes(epoch)

    def record_life(self, life: Life) -> None:
        """Remember a server that a restore made. Raises ``ObjectExists`` if it is known otherwise."""
        self._ledger.record_life(life)

    def life(self, server_uuid: str) -> Life | None:
        """What is known of a restored server, or None."""
        return self._ledger.life(server_uuid)

    def files(self, epoch: int) -> list[ArchivedFile]:
        """Every binlog file of the epoch that has a segment: by server uuid, creation and name."""
        found: dict[BinlogFile, list[SegmentRef]] = {}
        for info in self.repository.store.list(layout.binlogs(self.shard, epoch)):
            name = layout.parse_segment(info.key)
            if name:
                found.setdefault(name.binlog, []).append(SegmentRef(name, info.size))
        covers = [self._cover(file, segments) for file, segments in found.items()]
        return sorted(covers, key=lambda each: (each.name.server_uuid, each.name.created, each.name.file))

    def file(self, file: BinlogFile) -> ArchivedFile:
        """One binlog file; without parts if nothing of it is archived.

        A list may be behind, so ``end`` may be less than what was put: an archiver that goes on from there
        puts bytes a second time, which does no harm.
        """
        infos = self.repository.store.list(layout.binlog(self.shard, file))
        names = [(layout.parse_segment(info.key), info.size) for info in infos]
        return self._cover(file, [SegmentRef(name, size) for name, size in names if name])

    def seal(self, draft: SegmentDraft) -> SealedSegment:
        """Compress and seal; stores nothing. Raises ``ValueError`` if the draft contradicts itself."""
        name = SegmentName.of(draft.file, draft.start, draft.start + len(draft.data))
        identity = identity_of(self.repository.repository_id, self.shard, name)
        return seal_segment(draft, identity, self._ledger.key(name.epoch), self._level)

    def put(self, sealed: SealedSegment) -> bool:
        """Store a segment; everything before it in its file must be confirmed (section 10, rule 4).

        True: stored and confirmed. False: the very same bytes were there already, confirmed as well. Raises
        ``SourceDiverged`` if others were: the source is not what it was.
        """
        self.repository.check_may("write")
        try:
            self.repository.store.put(
                layout.segment(self.shard, sealed.name), sealed.content, sha256=sealed.sha256
            )
        except ObjectExists:
            there = self.header(SegmentRef(sealed.name, 0))
            if there.sha256 != sealed.header.sha256:
                raise SourceDiverged(
                    f"{sealed.name.binlog}: bytes {sealed.name.start} to {sealed.name.end} are archived with "
                    f"SHA-256 {there.sha256[:16]}..., and the source now has {sealed.header.sha256[:16]}...",
                    hint="The source lost its tail and wrote it anew: a new epoch keeps both apart.",
                ) from None
            return False
        return True

    def header(self, ref: SegmentRef) -> SegmentHeader:
        """What the segment says of itself: one ranged read of its front as a rule."""
        return self._front(ref)[1]

    def index(self, ref: SegmentRef) -> TransactionColumns:
        """The transactions that end in the segment: one ranged read of the front, or two if they are many."""
        reader, header, front, at = self._front(ref)
        front = self._reach(ref, front, at + header.index_bytes)
        return reader.index(header, memoryview(front)[at : at + header.index_bytes])

    def data(self, ref: SegmentRef) -> bytes:
        """All plain bytes of the segment, checked."""
        return self.read(ref).data

    def read(self, ref: SegmentRef) -> Segment:
        """Header, index and plain bytes, all checked: one read of the whole object."""
        identity = identity_of(self.repository.repository_id, self.shard, ref.name)
        content = self.repository.store.get(identity.name)
        return read_segment(identity, ref.name, self._ledger.key(ref.name.epoch), content)

    def compose(
        self,
        file: BinlogFile,
        *,
        target_bytes: int = 64 * 1024 * 1024,
        min_pieces: int = 8,
        finished: bool = False,
    ) -> int:
        """Put neighbouring segments of a file together to objects of up to ``target_bytes`` plain bytes.

        In a file that still grows only ``min_pieces`` or more at a time; in one that is closed, or of which
        the caller knows that it is ``finished``, any two. Each object is put, read back and compared, before
        its pieces are deleted; spare segments are compared and deleted too. Returns the plain bytes that were
        composed. Raises ``SourceDiverged`` if segments that overlap hold different bytes. Pieces that are
        locked stay: ``locked``.
        """
        return compose(self, file, target_bytes=target_bytes, min_pieces=min_pieces, finished=finished)

    def drop_spare(self, file: ArchivedFile) -> None:
        """Delete the spare segments of ``file`` whose bytes were read and compared with those of its parts.

        One that cannot be compared stays. Raises ``SourceDiverged`` if they differ.
        """
        drop_spare(self, file)

    def index_of(self, part: Part) -> list[tuple[TransactionColumns, range]]:
        """Indexes, and which of their rows end in the part; from what holds it now, if it was composed."""
        found = self._through(part, self.index)
        return [(each, each.rows_ending(piece.first, piece.last)) for piece, each in found]

    def read_part(self, part: Part) -> list[tuple[Part, Segment]]:
        """The segments that hold the part now, each with what to take of it, by position."""
        return self._through(part, self.read)

    def _through(self, part: Part, read: Callable[[SegmentRef], Answer]) -> list[tuple[Part, Answer]]:
        try:
            return [(part, read(part.segment))]
        except (ObjectMissing, ObjectDamaged):
            fresh = self._clipped(part)
            if not fresh:
                raise
        return [(piece, read(piece.segment)) for piece in fresh]

    def _clipped(self, part: Part) -> list[Part]:
        """What else covers the part, by a new list; empty if not all of it is covered."""
        listed = self.file(part.segment.name.binlog)
        others = {*listed.segments, *listed.spare} - {part.segment}
        fresh = cover(listed.name, others)
        pieces = [
            Part(each.segment, max(each.first, part.first), min(each.last, part.last))
            for each in fresh.parts
            if each.first < part.last and part.first < each.last
        ]
        whole = sum(piece.last - piece.first for piece in pieces) == part.last - part.first
        return pieces if whole else []

    def _front(self, ref: SegmentRef) -> tuple[FrontReader, SegmentHeader, bytes, int]:
        """A reader, the header, the bytes read so far, and where the header's frame ends."""
        identity = identity_of(self.repository.repository_id, self.shard, ref.name)
        size = ref.size or self.repository.store.stat(identity.name).size
        ref = SegmentRef(ref.name, size)
        front = self.repository.store.get_range(identity.name, 0, min(size, FRONT_BYTES))
        reader = FrontReader(identity, ref.name, self._ledger.key(ref.name.epoch), front)
        at = reader.header_bytes(front)
        front = self._reach(ref, front, at)
        return reader, reader.header(front), front, at

    def _reach(self, ref: SegmentRef, front: bytes, wanted: int) -> bytes:
        """``front`` if it has ``wanted`` bytes, else with the rest of them."""
        name = layout.segment(self.shard, ref.name)
        if wanted > ref.size:
            raise damaged(name, f"it has {ref.size} bytes, and its index ends at {wanted}")
        if wanted <= len(front):
            return front
        return front + self.repository.store.get_range(name, len(front), wanted - len(front))

    def _cover(self, file: BinlogFile, segments: Sequence[SegmentRef]) -> ArchivedFile:
        """The cover of what was listed, and of what a list that was behind left out of its middle."""
        found = cover(file, segments)
        for first, last in found.holes:
            name = SegmentName.of(file, first, last)
            try:
                size = self.repository.store.stat(layout.segment(self.shard, name)).size
            except ObjectMissing:
                continue
            found = cover(file, [*found.segments, *found.spare, SegmentRef(name, size)])
        return found
