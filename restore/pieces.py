"""From index parts to work: what is to be done with each pack, pass by pass. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from repository.chain import ChainPart
from repository.index import IndexPart, PackRef, Record
from repository.overlay import Overlay, Pass
from repository.seal import FrameSpan
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
    """What one pack holds for one pass, by frame.

    ``link`` is the position in the chain of the backup whose index names the pack. ``is_done``: the journal
    says that it is in place; ``done_bytes`` of it are, for they lie in files that can be trusted.
    """

    key: PackDone
    link: int
    pack: PackRef
    is_done: bool
    spans: dict[int, FrameSpan] = field(default_factory=dict[int, FrameSpan])
    pieces: dict[int, list[Piece]] = field(default_factory=dict[int, list[Piece]])
    done_bytes: int = 0

    def add(self, record: Record, *, join: bool) -> None:
        """One more piece; with ``join`` it may merge with the one before, without a digest then."""
        _, number, offset, length, _, frame, _, _, skip, digest = record
        pieces = self.pieces.get(frame)
        if pieces is None:
            pieces = self.pieces[frame] = []
            self.spans[frame] = record.span
        elif join:
            last = pieces[-1]
            if last[1] + last[2] == offset and last[3] + last[2] == skip and last[0] == number:
                pieces[-1] = Piece(number, last[1], last[2] + length, last[3], b"")
                return
        pieces.append(Piece(number, offset, length, skip, digest))

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
    """Finds the jobs of each pass. Its passes and their parts must be asked for in their order.

    ``compared``, ``trusted``: numbers of files, see ``RestorePlan``; ``done``: what the journal says.
    """

    def __init__(
        self,
        overlay: Overlay,
        *,
        compared: AbstractSet[int],
        trusted: AbstractSet[int],
        done: AbstractSet[PackDone],
    ) -> None:
        self._overlay = overlay
        self._compared = compared
        self._trusted = trusted
        self._done = done

    def jobs(self, pass_: Pass, part: ChainPart, index: IndexPart) -> Iterator[PackJob]:
        """The work that ``part``, whose content is ``index``, asks for in this pass, pack by pack."""
        jobs: dict[int, PackJob] = {}
        for record in self._overlay.records(pass_, part, index):
            job = jobs.get(record.pack)
            if job is None:
                key = PackDone(part.number, pass_.stage, record.pack)
                pack = index.packs[record.pack]
                job = jobs[record.pack] = PackJob(key, part.link, pack, key in self._done)
            self._add(job, record)
        yield from jobs.values()

    def _add(self, job: PackJob, record: Record) -> None:
        if job.is_done and record.file in self._trusted:
            job.done_bytes += record.length
            return
        job.add(record, join=record.file not in self._compared)
