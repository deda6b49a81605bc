"""From index parts to work: what is to be done with each pack, stage by stage. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from fleet.blocks import Stage
from repository.index import IndexPart, PackRef, Record
from repository.manifest import FileEntry
from repository.seal import FrameSpan
from restore.coverage import Coverage
from restore.journal import PackDone


class Piece(NamedTuple):
    """``length`` bytes of file number ``file``, from byte ``offset`` on; ``skip`` is where a frame has them.

    ``digest`` is their XXH3-128, empty where it is not known.
    """

    file: int
    offset: int
    length: int
    skip: int
    digest: bytes


@dataclass(slots=True)
class PackJob:
    """What one pack holds for one stage, by frame; ``done_bytes`` are in place by the journal."""

    key: PackDone
    pack: PackRef
    spans: dict[int, FrameSpan] = field(default_factory=dict[int, FrameSpan])
    pieces: dict[int, list[Piece]] = field(default_factory=dict[int, list[Piece]])
    done_bytes: int = 0

    def add(self, span: FrameSpan, piece: Piece, *, join: bool) -> None:
        """One more piece; with ``join`` it may merge with the one before, without a digest then."""
        pieces = self.pieces.setdefault(span.number, [])
        self.spans[span.number] = span
        if join and pieces:
            last = pieces[-1]
            follows = last.offset + last.length == piece.offset and last.skip + last.length == piece.skip
            if follows and last.file == piece.file:
                pieces[-1] = Piece(last.file, last.offset, last.length + piece.length, last.skip, b"")
                return
        pieces.append(piece)

    def keep(self, frame: int, pieces: list[Piece]) -> None:
        """Of this frame only ``pieces`` are still wanted; without any it is not fetched."""
        if pieces:
            self.pieces[frame] = pieces
        else:
            del self.pieces[frame], self.spans[frame]

    def touched(self) -> set[int]:
        """Numbers of the files that its pieces lie in."""
        return {piece.file for pieces in self.pieces.values() for piece in pieces}

    def wanted_spans(self) -> list[FrameSpan] | None:
        """The frames to fetch, None for the whole pack."""
        return None if len(self.spans) == self.pack.frames else list(self.spans.values())


class JobFinder:
    """Finds the jobs of each stage; remembers which parts hold nothing of a stage, to read those no more."""

    def __init__(
        self,
        files: Mapping[int, FileEntry],
        *,
        compared: AbstractSet[int],
        trusted: AbstractSet[int],
        done: AbstractSet[PackDone],
    ) -> None:
        self.coverage = Coverage()
        self._files = files
        self._compared = compared
        self._trusted = trusted
        self._done = done
        self._stages: dict[int, set[Stage]] = {}

    def may_hold(self, part: int, stage: Stage) -> bool:
        """Can the part hold data of the stage? True as long as it was not looked at."""
        return part not in self._stages or stage in self._stages[part]

    def jobs(self, number: int, part: IndexPart, stage: Stage) -> Iterator[PackJob]:
        """The work that part ``number`` asks for in ``stage``, pack by pack.

        Records of files that the manifest does not have are of dropped files, and passed over.
        """
        jobs: dict[int, PackJob] = {}
        stages = self._stages.setdefault(number, set())
        for record in part.records():
            stages.add(record.stage)
            if record.stage is not stage or record.file not in self._files:
                continue
            job = jobs.get(record.pack)
            if job is None:
                key = PackDone(number, stage, record.pack)
                job = jobs[record.pack] = PackJob(key, part.packs[record.pack])
            self._add(job, record)
        yield from jobs.values()

    def _add(self, job: PackJob, record: Record) -> None:
        length = min(record.length, self._files[record.file].size - record.offset)
        if length <= 0:
            return
        compared = record.file in self._compared
        if compared:
            self.coverage.add(record.file, record.offset, length)
        if record.file in self._trusted and job.key in self._done:
            job.done_bytes += length
            return
        digest = record.digest if length == record.length else b""
        job.add(
            record.span, Piece(record.file, record.offset, length, record.skip, digest), join=not compared
        )
