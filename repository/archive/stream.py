"""A line's events as a stream for replay: read ahead in parallel, given out in order, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from functools import partial
from typing import NamedTuple

from fleet.errors import SourceDiverged
from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.columns import TransactionColumns
from repository.archive.line import Entry, Line
from repository.archive.reckoning import LinePart, union
from repository.archive.segment import MAGIC, Segment
from repository.archive.stretches import Stretch, head_end, stretches
from repository.layout import BinlogFile

_CANCEL_SECONDS = 0.2


class Chunk(NamedTuple):
    """Whole events of one file from position ``start`` on, which belong to whole transactions.

    The first chunk of a file begins at 4, with format description and Previous_gtids. Between two chunks of
    a file bytes may be left out: transactions that are not wanted.
    """

    file: BinlogFile
    start: int
    data: memoryview


class _Job(NamedTuple):
    """Chunks to fetch. ``cost``: bytes of memory that takes; None: too intricate to be read ahead."""

    cost: int | None
    fetch: Callable[[], Iterable[Chunk]]


def stream(
    line: Line,
    have: GtidSet,
    *,
    threads: int = 4,
    memory_bytes: int = 256 * 1024 * 1024,
    until: Entry | None = None,
    look: Callable[[Line], Line] | None = None,
    cancelled: threading.Event | None = None,
) -> Iterator[Chunk | None]:
    """The transactions of ``line`` outside of ``have``, in order.

    Never more than ``memory_bytes`` are held, or one segment if that is larger. ``until``: parts behind that
    of this entry are not read. With ``look`` the stream has no end: None is given out whenever there is
    nothing new, and then ``look`` is asked for the line as it is by now, in its own time; the very same
    object means that nothing was added. ``cancelled`` ends it.

    Raises ``SourceDiverged`` if ``have``, or what was given out, holds a transaction that is on a branch of
    the line; and what the archive raises.
    """
    reader = _Reader(line.archive, threads, memory_bytes, cancelled or threading.Event())
    try:
        while not reader.cancelled.is_set():
            _check_not_on_branch(line, have)
            parts = line.parts[: until.part + 1] if until else line.parts
            yield from reader.chunks(stretches(parts, have))
            if look is None:
                return
            have |= line.gtids
            grown = line
            while grown is line and not reader.cancelled.is_set():
                yield None
                grown = look(line)
            line = grown
    finally:
        reader.close()


def _check_not_on_branch(line: Line, have: GtidSet) -> None:
    off = union(branch.gtids for branch in line.branches) & have
    if off:
        raise SourceDiverged(
            f"{off.count()} transactions that are applied already, {off.one_line()[:200]}, do not belong to "
            f"the line of epoch {line.epoch.epoch}",
            hint="The shard's line went another way: restore anew from a backup.",
        )


class _Reader:
    """Fetches stretches: the jobs of several at once, the chunks in order."""

    def __init__(
        self, archive: ShardArchive, threads: int, memory_bytes: int, cancelled: threading.Event
    ) -> None:
        self.cancelled = cancelled
        self._archive = archive
        self._memory_bytes = memory_bytes
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
        self._file: BinlogFile | None = None

    def close(self) -> None:
        # A get that hangs must not keep back who is cancelled.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def chunks(self, wanted: Iterable[Stretch]) -> Iterator[Chunk]:
        jobs = (job for stretch in wanted for job in self._jobs(stretch))
        waiting: deque[tuple[_Job, Future[list[Chunk]] | None]] = deque()
        held = 0
        following = next(jobs, None)
        while following is not None or waiting:
            while following is not None and (
                not waiting or held + (following.cost or 0) <= self._memory_bytes
            ):
                waiting.append((following, self._begin(following)))
                held += following.cost or 0
                following = next(jobs, None)
            job, future = waiting.popleft()
            for chunk in self._wait(future) if future else job.fetch():
                if self.cancelled.is_set():
                    return
                yield chunk
            held -= job.cost or 0
            del future

    def _begin(self, job: _Job) -> Future[list[Chunk]] | None:
        return None if job.cost is None else self._pool.submit(_fetched, job)

    def _wait(self, future: Future[list[Chunk]]) -> list[Chunk]:
        while not self.cancelled.is_set():
            try:
                return future.result(_CANCEL_SECONDS)
            except NotYet:
                # An answer of the store may raise the same: then the future is done, and not late.
                if future.done():
                    raise
        return []

    def _jobs(self, stretch: Stretch) -> Iterator[_Job]:
        begins_with_head = stretch.is_plain and stretch.parts[0].part.first == 0
        if stretch.file != self._file and not begins_with_head:
            first = stretch.file_parts[0]
            yield _Job(_cost(first), partial(_head, self._archive, stretch.file_parts))
        self._file = stretch.file
        if not stretch.is_plain:
            yield _Job(None, partial(_sifted, self._archive, stretch))
            return
        for part, first, last in stretch.ranges():
            yield _Job(_cost(part), partial(_range, self._archive, part, first, last))


def _fetched(job: _Job) -> list[Chunk]:
    return list(job.fetch())


def _cost(part: LinePart) -> int:
    """The object and its plain bytes."""
    ref = part.part.segment
    return ref.size + ref.end - ref.start


def _head(archive: ShardArchive, parts: Sequence[LinePart]) -> list[Chunk]:
    """Format description and Previous_gtids, which as a rule are in the first part together."""
    data = b""
    for part in parts:
        if head_end(data) < len(data) or part.part.first != len(data):
            break
        for piece, segment in archive.read_part(part.part):
            data += _cut(segment, piece.first, piece.last)
    return [Chunk(parts[0].file, len(MAGIC), memoryview(data)[len(MAGIC) : head_end(data)])]


def _range(archive: ShardArchive, part: LinePart, first: int, last: int) -> list[Chunk]:
    return [
        Chunk(
            part.file, max(first, piece.first), _cut(segment, max(first, piece.first), min(last, piece.last))
        )
        for piece, segment in archive.read_part(part.part)
        if max(first, piece.first) < min(last, piece.last)
    ]


def _sifted(archive: ShardArchive, stretch: Stretch) -> Iterator[Chunk]:
    """The wanted transactions of a stretch alone, one part after the other."""
    # What was read of a transaction whose end has not been seen yet: bytes from position ``behind`` on.
    rest, behind = b"", 0
    for part, wanted in zip(stretch.parts, stretch.wanted, strict=True):
        for piece, segment in archive.read_part(part.part):
            columns = segment.columns
            rows = columns.rows_ending(piece.first, piece.last)
            for start, end in _runs(columns, columns.rows_in(wanted, rows) if wanted else []):
                if start < piece.first:
                    yield Chunk(part.file, start, memoryview(rest)[start - behind :])
                yield Chunk(part.file, max(start, piece.first), _cut(segment, max(start, piece.first), end))
            if rows:
                rest, behind = b"", columns.ends[rows[-1]]
            elif not rest:
                behind = piece.first
            rest += bytes(_cut(segment, max(behind, piece.first), piece.last))


def _runs(columns: TransactionColumns, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """From where to where the transactions in ``rows`` reach, those that touch as one."""
    start = end = 0
    for row in rows:
        if columns.starts[row] != end:
            if start < end:
                yield start, end
            start = columns.starts[row]
        end = columns.ends[row]
    if start < end:
        yield start, end


def _cut(segment: Segment, first: int, last: int) -> memoryview:
    base = segment.header.start
    return memoryview(segment.data)[first - base : last - base]
