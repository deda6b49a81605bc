"""A lane: one compressing thread's way from blocks to packs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from fleet.blocks import Extent, Stage
from fleet.errors import ProtocolViolation
from repository.codec import FrameEncoder
from repository.index import PackRecords
from repository.manifest import FileEntry
from repository.seal import MAX_PLAINTEXT_BYTES, ObjectSealer


@dataclass(slots=True)
class OpenPack:
    """A pack in work: the memory it is built in, its sealer and the records of its frames."""

    number: int
    buffer: bytearray
    sealer: ObjectSealer
    records: PackRecords


@dataclass(slots=True)
class Spent:
    """What a lane took in and put out, in bytes, and the CPU seconds that took."""

    received_bytes: int = 0
    compressed_bytes: int = 0
    compress_seconds: float = 0.0
    seal_seconds: float = 0.0


@dataclass(slots=True)
class FileTally:
    """What arrived for one file: up to where, how much in each stage, and the runs of redo. Bytes."""

    end: int = 0
    by_stage: dict[Stage, int] = field(default_factory=dict[Stage, int])
    redo: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def add(self, stage: Stage, start: int, end: int) -> None:
        self.end = max(self.end, end)
        self.by_stage[stage] = self.by_stage.get(stage, 0) + end - start
        # Redo is small, so here every overlap can be found; elsewhere only that more came than there is.
        if stage is Stage.REDO:
            self.redo.append((start, end))


@dataclass(slots=True)
class LaneWork:
    """What a lane has done so far."""

    spent: Spent = field(default_factory=Spent)
    tallies: dict[int, FileTally] = field(default_factory=dict[int, FileTally])
    is_closed: bool = False


class Lane:
    """Compresses, seals and packs blocks. Belongs to one thread at a time; see ``BackupWriter.open_lane``.

    One frame is always held back, because the last frame of a pack must say that it is the last.
    """

    def __init__(
        self,
        level: int,
        pack_size: int,
        check: Callable[[], None],
        open_pack: Callable[[], OpenPack],
        hand_over: Callable[[OpenPack], None],
    ) -> None:
        self.work = LaneWork()
        self._pack_size = pack_size
        self._check = check
        self._open_pack = open_pack
        self._hand_over = hand_over
        self._encoder = FrameEncoder(level)
        self._pack: OpenPack | None = None
        self._held: memoryview | None = None
        self._spare = memoryview(bytearray(MAX_PLAINTEXT_BYTES))
        self._other = memoryview(bytearray(MAX_PLAINTEXT_BYTES))

    def add(self, stage: Stage, extents: Sequence[Extent], data: memoryview) -> None:
        """Take in one block of at most 4 MiB: the bytes of ``extents``. ``data`` is free when this returns.

        Waits while ``upload_threads`` packs are on their way. Raises the store's error if one of them failed.
        """
        if self.work.is_closed:
            raise ValueError("the lane is closed")
        self._check()
        started = time.thread_time()
        length = self._encoder.encode(stage, extents, data, self._spare)
        encoded = time.thread_time()
        self._append(stage, extents, data, length)
        self._tally(stage, extents)
        self.work.spent.received_bytes += len(data)
        self.work.spent.compressed_bytes += length
        self.work.spent.compress_seconds += encoded - started
        self.work.spent.seal_seconds += time.thread_time() - encoded

    def close(self) -> None:
        """Hand over the pack in work, if there is one. Raises as ``add`` does."""
        self.work.is_closed = True
        self._check()
        if self._pack is not None:
            self._finish(self._pack)

    def _append(self, stage: Stage, extents: Sequence[Extent], data: memoryview, length: int) -> None:
        pack = self._pack = self._pack or self._open_pack()
        if self._held is not None:
            pack.sealer.append(self._held, last=False)
        span = pack.sealer.next_span(length)
        pack.records.add(stage, extents, data, span)
        self._held = self._spare[:length]
        self._spare, self._other = self._other, self._spare
        if span.offset + span.length >= self._pack_size:
            self._finish(pack)

    def _finish(self, pack: OpenPack) -> None:
        assert self._held is not None
        pack.sealer.append(self._held, last=True)
        self._pack = self._held = None
        self._hand_over(pack)

    def _tally(self, stage: Stage, extents: Sequence[Extent]) -> None:
        for file, offset, length in extents:
            tally = self.work.tallies.get(file)
            if tally is None:
                tally = self.work.tallies[file] = FileTally()
            tally.add(stage, offset, offset + length)


def check_tallies(files: Iterable[FileEntry], tallies: Sequence[Mapping[int, FileTally]]) -> None:
    """Raise ``ProtocolViolation`` if more arrived for a file than it can hold, or something arrived twice."""
    for entry in files:
        found = [lane[entry.number] for lane in tallies if entry.number in lane]
        end = max((tally.end for tally in found), default=0)
        if end > entry.size:
            raise ProtocolViolation(
                f"{entry.name} has {entry.size} bytes, but data for it arrived up to byte {end}"
            )
        for stage in Stage:
            arrived = sum(tally.by_stage.get(stage, 0) for tally in found)
            if arrived > entry.size:
                raise ProtocolViolation(
                    f"{entry.name} has {entry.size} bytes, but {arrived} arrived for it in stage {stage.name}"
                )
        runs = sorted(run for tally in found for run in tally.redo)
        for (_, end), (start, _) in pairwise(runs):
            if start < end:
                raise ProtocolViolation(f"{entry.name}: redo for byte {start} arrived twice")
