"""The recipient's side of a clone: copies a donor's data into a sink, and leaves the donor free."""

from __future__ import annotations

from collections.abc import Callable

from fleet.clock import Clock
from fleet.errors import Cancelled, CloneInterrupted, DonorBusy, ServerUnreachable
from wire.clone.attachment import Attachment, Dialling, release
from wire.clone.messages import Response
from wire.clone.outcome import (
    AnnouncedFile,
    ChunkChooser,
    CloneFile,
    CloneOptions,
    CloneOutcome,
    CloneSink,
    ExternalTablespaces,
    RedoFacts,
    SpaceFile,
)
from wire.clone.refusals import ConnectionCut
from wire.clone.snapshot import Snapshot
from wire.session import ServerGone, Session

__all__ = [
    "AnnouncedFile",
    "ChunkChooser",
    "CloneClient",
    "CloneFile",
    "CloneOptions",
    "CloneOutcome",
    "CloneSink",
    "ExternalTablespaces",
    "RedoFacts",
    "SpaceFile",
]

PAUSE_BEFORE_RETRY_SECONDS = 2.0
_POLL_SECONDS = 0.1
_DONOR_MARGIN_SECONDS = 15.0
"""We stop trying to resume before the donor gives the snapshot up."""


class CloneClient:
    """One clone of the donor that ``connect`` logs in to; ``run`` may be called once.

    ``skip`` chooses what the donor need not send in the FILE stage; the donor may refuse, then it sends all.
    """

    def __init__(
        self,
        connect: Callable[[], Session],
        options: CloneOptions,
        clock: Clock,
        *,
        skip: ChunkChooser | None = None,
    ) -> None:
        self._connect = connect
        self._skip = skip
        self._options = options
        self._clock = clock
        self._is_cancelled = False
        self._snapshot: Snapshot | None = None

    def run(self, sink: CloneSink) -> CloneOutcome:
        """Copy everything into ``sink``. Whatever happens, the donor is free when this returns or raises.

        Raises DonorBusy, ServerRefused, ServerUnreachable, ServerUnsupported (an external tablespace),
        ProtocolViolation, CloneInterrupted (retryable), Cancelled, and what the sink raises.
        """
        try:
            return self._clone(sink)
        except CloneInterrupted:
            if self._is_cancelled or (self._snapshot is not None and self._snapshot.has_data()):
                raise
        # Donors were seen to drop the first clone after long idleness before it had any data.
        self._clock.sleep(PAUSE_BEFORE_RETRY_SECONDS)
        return self._clone(sink)

    def file(self, index: int) -> SpaceFile | None:
        """Of the file that blocks call ``index``; ``None`` for what is no tablespace. From any thread."""
        return None if self._snapshot is None else self._snapshot.files.space_file(index)

    def cancel(self) -> None:
        """End ``run`` with Cancelled, soon; from any thread or a signal's handler."""
        # A plain flag: a lock taken in a signal's handler could be held by the very thread it interrupts.
        self._is_cancelled = True

    def _clone(self, sink: CloneSink) -> CloneOutcome:
        self._raise_if_cancelled()
        self._snapshot = None
        dialling = Dialling(self._connect, self._options, self._clock, self._raise_if_cancelled)
        attachment = Attachment.open(dialling, self._greeted)
        assert self._snapshot is not None
        snapshot: Snapshot = self._snapshot
        while True:
            try:
                attachment.follow(sink)
                attachment.leave()
                return snapshot.outcome()
            except ConnectionCut as cut:
                if not snapshot.has_data():
                    attachment.abandon()
                    raise
                attachment = self._resume(dialling, attachment, snapshot, sink, cut)
            except BaseException:
                attachment.abandon()
                raise

    def _greeted(self, greeting: list[Response]) -> Snapshot:
        self._snapshot = Snapshot(greeting, self._options.external_tablespaces, self._clock)
        return self._snapshot

    def _resume(
        self, dialling: Dialling, broken: Attachment, snapshot: Snapshot, sink: CloneSink, cut: ConnectionCut
    ) -> Attachment:
        """Come back to the donor once there is room. Raises CloneInterrupted when that takes too long."""
        donor_waits = snapshot.donor_waits_seconds - _DONOR_MARGIN_SECONDS
        deadline = self._clock.monotonic() + min(self._options.resume_wait_seconds, donor_waits)
        try:
            while broken.has_readers() or not sink.has_room():
                self._wait(deadline, cut)
            if (failure := broken.failure()) is not None:
                raise failure
            while (attachment := _reopened(dialling, snapshot, cut)) is None:
                self._wait(deadline, cut)
        except BaseException:
            release(dialling, snapshot)
            raise
        snapshot.resumes += 1
        return attachment

    def _wait(self, deadline: float, cut: ConnectionCut) -> None:
        self._raise_if_cancelled()
        if self._clock.monotonic() > deadline:
            raise CloneInterrupted(
                f"the clone broke off and could not be resumed in time: {cut.message}",
                hint="It can be started anew; is the store, or the network, too slow?",
            ) from cut
        self._clock.sleep(_POLL_SECONDS)

    def _raise_if_cancelled(self) -> None:
        if self._is_cancelled:
            raise Cancelled("the clone was cancelled", hint="The donor is free again.")


def _reopened(dialling: Dialling, snapshot: Snapshot, cut: ConnectionCut) -> Attachment | None:
    """New connections to the snapshot, or ``None`` if it is worth trying again."""
    try:
        return Attachment.reopen(dialling, snapshot)
    except ServerGone as error:
        gone = error
    except (ServerUnreachable, ConnectionCut, DonorBusy):
        return None
    except CloneInterrupted as error:
        gone = error
    raise CloneInterrupted(f"{cut.message}, and the donor has no more of it: {gone.message}") from cut
