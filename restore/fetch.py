"""From packs to the files of the target: parallel ranged reads, straight into place.

The overlay of the chain says which record holds the newest version of each page, through all links and
stages. What it yields is disjoint, so packs may come in any order, and every page is fetched and written
once. Memory: one index part, a bit for each page, and one read and one frame for each thread.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import attrgetter

from fleet.blocks import Stage
from fleet.clock import Clock
from fleet.errors import Cancelled, ObjectDamaged
from fleet.progress import Progress
from repository.chain import Chain, ChainPart
from repository.crew import Crew
from repository.index import IndexPart
from repository.met_damage import WatchedReader
from repository.overlay import Overlay
from repository.reader import BackupReader, Frame
from repository.repository import Repository
from restore.datadir import lay_out, make_startable
from restore.files import OpenFile, TargetFiles
from restore.journal import Journal
from restore.ledger import BATCH_BYTES, Ledger
from restore.pieces import JobFinder, PackJob, Piece
from restore.plan import Mode, RestorePlan, parked_name
from restore.wording import GOES_ON_HINT
from restore.writing import clear, is_in_place, rewrite, write_sparse

# Longer reads are fewer requests; beyond a pack's usual size there is nothing to gain.
_READING_BYTES = 64 << 20
_SHORTEST_READ_BYTES = 2 << 20
_LONGEST_READ_BYTES = 16 << 20
# Who watches is not told of every page.
_TOLD_BYTES = 1 << 20


@dataclass
class FetchResult:
    """What was done, in bytes of the files' data unless said otherwise.

    ``data_bytes`` all that the backup holds; of it ``journaled_bytes`` were in place by an earlier run,
    ``equal_bytes`` were found equal on the disk. ``read_bytes`` were asked of the store (compressed and
    sealed). ``written_bytes`` went to the disk; zeros and pages that are the same do not.
    """

    data_bytes: int = 0
    journaled_bytes: int = 0
    equal_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    packs: int = 0
    seconds: dict[str, float] = field(default_factory=dict[str, float])


def open_reader(repository: Repository, chain: Chain, *, threads: int) -> WatchedReader:
    """A reader whose ``threads`` together hold a bounded amount of memory, however many they are."""
    read_bytes = min(max(_READING_BYTES // threads, _SHORTEST_READ_BYTES), _LONGEST_READ_BYTES)
    return WatchedReader(repository, chain.newest, read_bytes=read_bytes)


def fetch(
    plan: RestorePlan,
    reader: BackupReader,
    journal: Journal,
    *,
    threads: int,
    progress: Progress,
    clock: Clock,
    cancelled: threading.Event | None = None,
    batch_bytes: int = BATCH_BYTES,
) -> FetchResult:
    """Carry out ``plan`` up to the point where a mysqld can be started on the target.

    ``cancelled`` ends it between two frames. Raises what the reader raises (``ObjectMissing``,
    ``ObjectDamaged``, ``StoreUnreachable``...), ``DiskFull``, ``TargetRefused`` and ``Cancelled``. Whatever
    happens, the journal tells the next run what need not be done again.
    """
    result = FetchResult()
    if plan.mode is not Mode.PROVE:
        progress.stage("fetch", plan.most_bytes)
        files = TargetFiles(plan.directory, lambda number: parked_name(plan.file(number)))
        try:
            _Fetch(
                plan,
                reader,
                journal,
                files,
                progress=progress,
                clock=clock,
                cancelled=cancelled or threading.Event(),
                result=result,
                batch_bytes=batch_bytes,
            ).run(threads)
        finally:
            files.close()
    make_startable(plan)
    return result


class _Fetch:
    """One run: what its steps share."""

    def __init__(
        self,
        plan: RestorePlan,
        reader: BackupReader,
        journal: Journal,
        files: TargetFiles,
        *,
        progress: Progress,
        clock: Clock,
        cancelled: threading.Event,
        result: FetchResult,
        batch_bytes: int,
    ) -> None:
        self._plan = plan
        self._reader = reader
        self._journal = journal
        self._files = files
        self._progress = progress
        self._clock = clock
        self._cancelled = cancelled
        self._result = result
        self._ledger = Ledger(journal, files, batch_bytes=batch_bytes)
        self._counting = threading.Lock()
        self._untold = 0
        self._overlay = Overlay(plan.chain, plan.files)
        self._read: tuple[int, IndexPart] | None = None
        self._stages: dict[int, Container[Stage]] = {}
        self._finder = JobFinder(
            self._overlay,
            compared=plan.compared,
            trusted=plan.trusted,
            done=plan.target.journal.done if plan.goes_on and plan.target.journal else frozenset(),
        )

    def run(self, threads: int) -> None:
        started = self._clock.monotonic()
        lay_out(self._plan, self._journal)
        started = self._took("lay out", started)
        with Crew(threads, name="restore", backlog=threads) as crew:
            for job in self._jobs():
                crew.submit(partial(self._fetch_pack, job))
            crew.drain()
            self._ledger.flush()
        # What no record covers is zeros, and in place: the work that was announced is done.
        left = self._plan.most_bytes - self._result.data_bytes
        self._progress.advance(self._untold + max(left, 0))
        started = self._took("fetch", started)
        for number in self._plan.compared:
            for offset, length in self._overlay.gaps(number):
                self._result.written_bytes += clear(self._files, number, offset, offset + length)
        self._files.sync_all()
        self._journal.fetched()
        self._took("sync", started)

    def _jobs(self) -> Iterator[PackJob]:
        for pass_ in self._overlay.passes:
            for part in pass_.parts:
                if pass_.stage not in self._stages.get(part.number, Stage):
                    continue
                for job in self._finder.jobs(pass_, part, self._index_of(part)):
                    self._count(job.done_bytes, journaled_bytes=job.done_bytes)
                    if job.pieces:
                        yield job

    def _index_of(self, part: ChainPart) -> IndexPart:
        """The content of ``part``. The last one is kept: most links have only one, and three passes."""
        if self._read is None or self._read[0] != part.number:
            # Let go of first: two of them at a time would be twice the memory.
            self._read = None
            backup = self._plan.chain.links[part.link].backup
            self._read = part.number, self._reader.index_part(part.reference, backup)
            # A part is read again for the stages that it has, and for no others.
            self._stages[part.number] = self._read[1].stages
        return self._read[1]

    def _fetch_pack(self, job: PackJob) -> None:
        self._leave_out_what_is_there(job)
        written = 0
        if job.pieces:
            for frame in self._reader.frames(job.pack, job.wanted_spans()):
                self._check_cancelled()
                pieces = job.pieces.get(frame.number, [])
                done = self._write_frame(job, frame, pieces)
                written += done
                self._count(sum(piece.length for piece in pieces), written_bytes=done)
            read_bytes = sum(span.length for span in job.spans.values())
            self._count(0, read_bytes=read_bytes, packs=1)
        self._ledger.finished(job.key, job.touched(), written)

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the restore was stopped", hint=GOES_ON_HINT)

    def _leave_out_what_is_there(self, job: PackJob) -> None:
        self._check_cancelled()
        for number, pieces in list(job.pieces.items()):
            missing = [piece for piece in pieces if not self._is_in_place(piece)]
            equal_bytes = sum(piece.length for piece in pieces) - sum(piece.length for piece in missing)
            self._count(equal_bytes, equal_bytes=equal_bytes)
            job.keep(number, missing)

    def _is_in_place(self, piece: Piece) -> bool:
        if not piece.digest or piece.file not in self._plan.compared:
            return False
        with self._files.open(piece.file) as file:
            return is_in_place(file, piece)

    def _write_frame(self, job: PackJob, frame: Frame, pieces: list[Piece]) -> int:
        """Returns the bytes written. A frame is mostly of one file, which is opened once then."""
        # What another backup stored in one stage may be referred to in another.
        is_own = job.pack.backup == self._plan.chain.links[job.link].backup
        if is_own and frame.stage is not job.key.stage:
            raise _not_as_indexed(job, frame)
        written = 0
        for number, of_file in groupby(pieces, key=attrgetter("file")):
            with self._files.open(number) as file:
                for piece in of_file:
                    data = frame.cut(piece.skip, piece.length)
                    if len(data) != piece.length:
                        raise _not_as_indexed(job, frame)
                    written += self._write(job.key.stage, file, piece, data)
        return written

    def _write(self, stage: Stage, file: OpenFile, piece: Piece, data: memoryview) -> int:
        if piece.file in self._plan.compared:
            return rewrite(file, piece, data)
        if stage is Stage.FILE:
            return write_sparse(file, piece, data, self._plan.files[piece.file].page_size)
        # A later stage writes its zeros too: versions that applied the stages one after the other may have
        # begun this restore, and have left there what an earlier stage brought.
        file.write(piece.offset, data)
        return piece.length

    def _count(
        self,
        data_bytes: int,
        *,
        journaled_bytes: int = 0,
        equal_bytes: int = 0,
        read_bytes: int = 0,
        written_bytes: int = 0,
        packs: int = 0,
    ) -> None:
        with self._counting:
            self._result.data_bytes += data_bytes
            self._result.journaled_bytes += journaled_bytes
            self._result.equal_bytes += equal_bytes
            self._result.read_bytes += read_bytes
            self._result.written_bytes += written_bytes
            self._result.packs += packs
            self._untold += data_bytes
            if self._untold < _TOLD_BYTES:
                return
            told, self._untold = self._untold, 0
        self._progress.advance(told)

    def _took(self, stage: str, started: float) -> float:
        now = self._clock.monotonic()
        self._result.seconds[stage] = now - started
        return now


def _not_as_indexed(job: PackJob, frame: Frame) -> ObjectDamaged:
    return ObjectDamaged(
        f"{job.pack.name}: frame {frame.number} is not what the index says: stage {frame.stage}, "
        f"{len(frame.data)} bytes",
        hint="Run verify to see all that is damaged; restore an older backup.",
    )
