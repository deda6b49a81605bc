"""From the donor's sockets to the repository: readers fill the spool, lanes empty it.

One thread a lane compresses, seals and packs; the clone client has its own reader threads; the caller's
thread drives the clone. The first error, wherever it happens, ends all of them and is the one that is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from backup.damage import SuspectPages
from backup.intake import Intake
from backup.reporter import Reporter
from backup.segments import SealedSegments
from backup.sifting import HeldPages
from backup.spool import Spool
from backup.stored_pages import StoredPages
from fleet.blocks import Stage
from fleet.errors import Cancelled
from fleet.progress import Progress
from repository.writer import BackupWriter, Lane
from wire.admin import LogStatus
from wire.clone.client import CloneClient
from wire.clone.outcome import CloneOutcome

CANCELLED_HINT = "Nothing was kept, and the donor is free again."


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The donor's log just before, and just after, the moment that the copy shows."""

    before: LogStatus
    after: LogStatus


@dataclass(frozen=True, slots=True)
class Copied:
    """What a finished copy leaves. ``unstored_bytes`` came and were left out: no news, or they came again."""

    outcome: CloneOutcome
    snapshot: Snapshot
    spilled_bytes: int
    unstored_bytes: int
    stored: StoredPages
    suspects: SuspectPages


def copy_shard(
    client: CloneClient,
    writer: BackupWriter,
    spool: Spool,
    *,
    held: HeldPages | None,
    pen: SealedSegments,
    lanes: int,
    read_log_status: Callable[[], LogStatus],
    progress: Progress,
    cancelled: threading.Event,
) -> Copied:
    """Receive one clone into ``writer``'s packs. All lanes are closed when it returns.

    ``held`` is what a base holds, so it is left out; ``pen`` is room for changed pages that may come again.
    Raises what the donor, the spool or the store raised first; ``Cancelled`` when ``cancelled`` was set.
    """
    bracket = _Bracket(read_log_status)
    reporter = Reporter(progress)

    def stage_started(stage: Stage, estimate_bytes: int) -> None:
        bracket.stage_started(stage)
        reporter.stage(stage.name.lower(), estimate_bytes)

    intake = Intake(
        spool,
        pen,
        held,
        client.file,
        on_stage_start=stage_started,
        on_stage_end=bracket.stage_ended,
        on_bytes=reporter.advance,
    )
    workers = [_LaneThread(writer.open_lane(), spool, number) for number in range(lanes)]
    for worker in workers:
        worker.start()
    try:
        with _watching(cancelled, client, spool):
            outcome = client.run(intake)
            intake.finish()
            spool.close()
            for worker in workers:
                worker.finish()
    except BaseException as error:  # noqa: BLE001 - raised again, or what caused it
        spool.fail(error)
        for worker in workers:
            worker.join()
        raise spool.error or error from None
    finally:
        intake.discard()
        spool.discard()
    return Copied(
        outcome,
        bracket.complete(),
        spilled_bytes=spool.spilled_bytes,
        unstored_bytes=intake.unstored_bytes,
        stored=intake.stored,
        suspects=intake.suspects,
    )


class _LaneThread(threading.Thread):
    """Empties the spool into one lane until the spool is closed; an error of the lane fails the spool."""

    def __init__(self, lane: Lane, spool: Spool, number: int) -> None:
        super().__init__(name=f"lane-{number}", daemon=True)
        self._lane = lane
        self._spool = spool
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            while (block := self._spool.take()) is not None:
                try:
                    self._lane.add(block.stage, block.extents, block.data)
                finally:
                    block.release()
            self._lane.close()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for us
            self._error = error
            self._spool.fail(error)
        finally:
            # An error holds the thread that it passed, for as long as it is told of; it need not hold this.
            del self._lane, self._spool

    def finish(self) -> None:
        self.join()
        if self._error is not None:
            raise self._error


class _Bracket:
    """Reads the donor's log status at the two moments that enclose the snapshot.

    The snapshot is taken by the donor between our acknowledgement of the page stage and the start of the redo
    stage, so a reading just before the one and just after the other encloses it.
    """

    def __init__(self, read: Callable[[], LogStatus]) -> None:
        self._read = read
        self._before: LogStatus | None = None
        self._after: LogStatus | None = None

    def stage_ended(self, stage: Stage) -> None:
        # A resumed clone may end the stage twice; the first reading is before the snapshot in any case.
        if stage is Stage.PAGE and self._before is None:
            self._before = self._read()

    def stage_started(self, stage: Stage) -> None:
        if stage is Stage.REDO:
            self._after = self._read()

    def complete(self) -> Snapshot:
        assert self._before is not None, "a clone that ended has passed the page stage"
        assert self._after is not None, "a clone that ended has passed the redo stage"
        return Snapshot(self._before, self._after)


@contextmanager
def _watching(cancelled: threading.Event, client: CloneClient, spool: Spool) -> Generator[None]:
    """While inside, setting ``cancelled`` ends the clone at once: the donor is free, everybody wakes up."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if cancelled.wait(timeout=0.2):
                spool.fail(Cancelled("the backup was cancelled", hint=CANCELLED_HINT))
                client.cancel()
                return

    watcher = threading.Thread(target=watch, name="cancel-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
