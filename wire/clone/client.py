"""The recipient's side of a clone: copies a donor's data into a sink, and leaves the donor free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fleet.clock import Clock
from fleet.errors import Cancelled, CloneInterrupted, DonorBusy, ProtocolViolation, ServerUnreachable
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
from wire.clone.snapshot import DONOR_WAITS_SETTING, Snapshot
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
        self._is_asked = False
        self._why_not_skipped: str | None = None
        self._snapshot: Snapshot | None = None

    def run(self, sink: CloneSink) -> CloneOutcome:
        """Copy everything into ``sink``. Whatever happens, the donor is free when this returns or raises.

        Raises DonorBusy, ServerRefused, ServerUnreachable, ServerUnsupported (an external tablespace),
        ProtocolViolation, CloneInterrupted (retryable), Cancelled, and what the sink raises.
        """
        try:
            outcome = self._clone(sink)
        except CloneInterrupted as error:
            if self._is_cancelled or (self._snapshot is not None and self._snapshot.has_data()):
                raise
            if self._is_asked:
                if self._skip is not None:
                    raise  # it was the chooser's error
                self._why_not_skipped = f"the donor did not go on without them: {error.message}"
            # Donors were seen to drop the first clone after long idleness before it had any data.
            self._clock.sleep(PAUSE_BEFORE_RETRY_SECONDS)
            outcome = self._clone(sink)
        return replace(outcome, why_not_skipped=self._why_not_skipped)

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
        if self._skip is not None and not snapshot.donor_waits_seconds:
            self._skip, self._why_not_skipped = None, f"the donor has {DONOR_WAITS_SETTING} = 0"
        if self._skip is not None:
            self._choose(self._skip, attachment, snapshot, sink)
            listed = ConnectionCut("the files were listed")
            attachment = self._resume(dialling, attachment, snapshot, sink, listed)
        while True:
            try:
                attachment.follow(sink)
                attachment.leave()
                return snapshot.outcome()
            except ConnectionCut as cut:
                if not snapshot.may_be_resumed():
                    attachment.abandon()
                    raise
                attachment = self._resume(dialling, attachment, snapshot, sink, cut)
                snapshot.resumes += 1
            except BaseException:
                attachment.abandon()
                raise

    def _greeted(self, greeting: list[Response]) -> Snapshot:
        self._snapshot = Snapshot(greeting, self._options.external_tablespaces, self._clock)
        return self._snapshot

    def _choose(
        self, skip: ChunkChooser, attachment: Attachment, snapshot: Snapshot, sink: CloneSink
    ) -> None:
        """Let the donor announce its files, let go of it, and ask ``skip`` about them.

        Only COM_REINIT, the return after a break, has a list of the chunks that need not be sent.
        """
        try:
            attachment.list_files(sink)
            try:
                files = snapshot.files.announced_files(snapshot.chunk_bytes)
            except ProtocolViolation as error:
                self._skip, self._why_not_skipped = None, error.message
                raise CloneInterrupted(error.message) from error
            self._is_asked = True
            snapshot.skip(skip(files))
            self._skip = None
        except BaseException:
            attachment.abandon()
            raise

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
