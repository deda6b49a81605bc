"""From the spool into the store: one thread that cuts segments, seals and puts them, in order.

A segment is put only when everything before it in its file is confirmed, and its room in the spool is given
back only then. What an earlier run or another archiver stored already is left out. A store that does not
answer is asked again, for ever: meanwhile the spool grows to its bound.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from backup.archive.news import NewsKind
from backup.archive.parsing import FileParser, read_front
from backup.archive.place import looked_again
from backup.archive.spool import Cut, Spool
from backup.archive.stall import STALL_SECONDS
from fleet.clock import Clock
from fleet.errors import (
    Cancelled,
    KeyServiceUnreachable,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
)
from fleet.gtid import GtidSet
from fleet.model import ArchiveConfig
from fleet.transaction import Transaction
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Note
from repository.layout import BinlogFile

FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 8.0
PIECES_TO_COMPOSE = 64

_LATER = (StoreUnreachable, StoreFull, StoreDenied, KeyServiceUnreachable)
"""Errors of a store that may pass, be it because somebody makes room or gives back a permission."""

Result = TypeVar("Result")


@dataclass(slots=True)
class Tally:
    """What was stored in this run."""

    transactions: int = 0
    plain_bytes: int = 0
    stored_bytes: int = 0
    segments: int = 0
    last: Transaction | None = None


@dataclass(slots=True)
class _Line:
    """The line that is written: all that is archived of it so far."""

    archived: GtidSet
    is_first: bool


@dataclass(slots=True)
class _FileState:
    """The file at hand: ``stored_to`` is what the store held of it when we came to it, or since."""

    file: BinlogFile
    stored_to: int
    parser: FileParser | None = None
    pieces: int = field(default=0)


class Uploader:
    """The thread that stores. ``stored`` is called with the mark behind everything that is confirmed.

    ``compose`` is called with a file that has many small segments, and whether it is finished. After an error
    that no waiting helps, ``check`` raises it in the threads that ask, and ``failed`` is called once.
    """

    def __init__(
        self,
        archive: ShardArchive,
        spool: Spool,
        policy: ArchiveConfig,
        clock: Clock,
        *,
        tell: Callable[[NewsKind, str], None],
        stored: Callable[[int], None],
        compose: Callable[[BinlogFile, bool], None],
        failed: Callable[[], None],
    ) -> None:
        self.tally = Tally()
        self._archive = archive
        self._spool = spool
        self._policy = policy
        self._clock = clock
        self._tell = tell
        self._stored = stored
        self._compose = compose
        self._failed = failed
        self._line: _Line | None = None
        self._state: _FileState | None = None
        self._held: Cut | None = None
        self._notes: deque[tuple[int, Note]] = deque()
        self._failure: BaseException | None = None
        self._hurry = threading.Event()
        self._ending = threading.Event()
        self._abandoned = threading.Event()
        self._is_busy = False
        self._telling = threading.Lock()
        self._deed_since: float | None = None
        self._is_failure_told = False
        self._thread = threading.Thread(target=self._run, name="archive-upload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def check(self) -> None:
        """Raise what stopped the uploader, if anything did."""
        if self._failure is not None:
            raise self._failure

    def look(self) -> None:
        """Tell it if the store has not answered for long: it may try again by itself, and say nothing."""
        since = self._deed_since
        if since is not None and self._clock.monotonic() - since >= STALL_SECONDS:
            self._tell_failure(f"the store has taken nothing for {STALL_SECONDS:.0f} s")

    def begin_line(self, archived: GtidSet, *, is_first: bool) -> None:
        """From now on a file that begins behind transactions outside of ``archived`` follows a gap.

        ``is_first``: these are then not missing, but older than the archive. Only after ``drain``.
        """
        self._line = _Line(archived, is_first)

    @property
    def archived(self) -> GtidSet:
        """All of the line that is known to be stored."""
        line = self._line
        return line.archived if line else GtidSet()

    def note(self, epoch: int, note: Note) -> None:
        """Have a note stored, as soon as the store takes it."""
        self._notes.append((epoch, note))
        self._spool.wake()

    def drain(self, cancelled: threading.Event) -> None:
        """Wait until all that was received is stored. Raises ``Cancelled``, and as ``check``."""
        self._hurry.set()
        try:
            while self._is_busy or self._notes or self._held or self._spool.waiting_bytes:
                self.check()
                if cancelled.is_set():
                    raise Cancelled("stopped while events waited for the store; they stay in the spool")
                self._spool.wake()
                cancelled.wait(0.02)
        finally:
            self._hurry.clear()

    def end(self, grace_seconds: float) -> None:
        """Store what is there, for at most so long, and stop. The rest stays in the spool."""
        self._ending.set()
        self._spool.wake()
        self._thread.join(grace_seconds)
        self._abandoned.set()
        self._spool.wake()
        self._thread.join(1.0)

    def _run(self) -> None:
        try:
            while not self._abandoned.is_set():
                changes = self._spool.changes
                due = self._due_in()
                if self._notes or due == 0.0:
                    self._is_busy = True
                    self._store_notes()
                    self._store_next()
                    self._is_busy = False
                elif due is None and self._ending.is_set():
                    return
                else:
                    self._spool.wait_for_change(changes, 0.5 if due is None else min(due, 0.5))
        except Cancelled:
            return
        except BaseException as error:  # noqa: BLE001 - raised again in the threads that ask
            self._failure = error
            self._spool.wake()
            self._failed()

    def _due_in(self) -> float | None:
        at_once = self._is_last_chance() or self._policy.mode == "store-sync"
        seconds = 0.0 if at_once else self._policy.segment_seconds
        due = self._spool.due_in(seconds=seconds, size_bytes=self._policy.segment_bytes)
        return 0.0 if due is None and self._held and self._is_last_chance() else due

    def _is_last_chance(self) -> bool:
        """Nothing more is expected now, so what is there is stored as it is."""
        return self._hurry.is_set() or self._ending.is_set()

    def _store_next(self) -> None:
        cut = self._spool.cut(self._policy.segment_bytes)
        if cut is None:
            cut, self._held = self._held, None
            if cut is None or not self._is_last_chance():
                self._held = cut
                return
        elif self._held is not None:
            held, self._held = self._held, None
            if held.file == cut.file:
                cut = held.joined(cut)
            else:
                self._store(held)
        if self._is_half_a_front(cut) and not self._is_last_chance():
            self._held = cut
        else:
            self._store(cut)

    def _is_half_a_front(self, cut: Cut) -> bool:
        """The first bytes of a file, without its Previous_gtids, which follows at once as a rule."""
        return (
            cut.start == 0
            and len(cut.data) < 1024 * 1024
            and cut.closed is None
            and read_front(cut.data).previous is None
        )

    def _store(self, cut: Cut) -> None:
        new = self._patiently(lambda: self._without_the_stored(cut))
        if new is not None:
            self._store_segment(new)
        self._spool.confirm(cut)
        self._stored(cut.mark)

    def _without_the_stored(self, cut: Cut) -> Cut | None:
        """What of ``cut`` is not in the store yet; ``self._state`` is ready for it then."""
        state = self._state
        if state is None or state.file != cut.file:
            if state is not None:
                self._compose(state.file, True)
            state = self._state = _FileState(cut.file, self._archive.file(cut.file).end)
        if cut.end <= state.stored_to:
            return None
        new = cut.from_position(max(cut.start, state.stored_to))
        if state.parser is None:
            state.parser = self._parser_for(new)
        return new

    def _parser_for(self, cut: Cut) -> FileParser:
        if cut.start:
            return FileParser.resumed(self._archive, cut.file, cut.start)
        parser = FileParser.at_beginning(cut, self._line.archived if self._line else GtidSet())
        if self._line is not None:
            self._look_for_a_gap(self._line, parser)
        return parser

    def _look_for_a_gap(self, line: _Line, parser: FileParser) -> None:
        missing = parser.previous - line.archived
        if missing:
            file, count = parser.file, missing.count()
            kind: NewsKind = "purged" if line.is_first else "gap"
            if line.is_first:
                text = f"the archive begins with {file.file}; {count} transactions are older and not in it"
            else:
                text = (
                    f"{count} transactions before {file.file} were never archived, and the source no longer "
                    f"has them: {_some(missing)}"
                )
            note = Note(
                kind=kind,
                at=self._clock.now(),
                server_uuid=file.server_uuid,
                file=file.file,
                position=0,
                gtids=missing.one_line(),
                text=text,
            )
            self._notes.append((file.epoch, note))
            self._tell(kind, text)
            line.archived |= missing
        line.is_first = False

    def _store_segment(self, cut: Cut) -> None:
        state = self._state
        assert state is not None and state.parser is not None
        draft = state.parser.draft(cut)
        sealed = self._patiently(lambda: self._archive.seal(draft))
        self._patiently(lambda: looked_again(lambda: self._archive.put(sealed)))
        state.stored_to = cut.end
        state.pieces += 1
        if state.pieces % PIECES_TO_COMPOSE == 0:
            self._compose(state.file, False)
        if self._line is not None:
            self._line.archived |= state.parser.executed
        tally = self.tally
        tally.transactions += len(draft.transactions)
        tally.plain_bytes += len(cut.data)
        tally.stored_bytes += len(sealed.content)
        tally.segments += 1
        tally.last = draft.transactions[-1] if draft.transactions else tally.last

    def _store_notes(self) -> None:
        while self._notes:
            epoch, note = self._notes[0]
            self._patiently(lambda epoch=epoch, note=note: self._archive.note(epoch, note))
            self._notes.popleft()

    def _patiently(self, deed: Callable[[], Result]) -> Result:
        """Do it again until the store answers. Raises ``Cancelled`` when nobody waits for it any more."""
        delay = FIRST_DELAY_SECONDS
        self._deed_since = self._clock.monotonic()
        while True:
            try:
                result = deed()
            except _LATER as error:
                self._tell_failure(error.message)
            else:
                self._tell_success()
                return result
            if self._abandoned.wait(delay):
                raise Cancelled("stopped while the store did not answer; the spool keeps what waits")
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    def _tell_failure(self, what: str) -> None:
        with self._telling:
            if self._deed_since is not None and not self._is_failure_told:
                self._is_failure_told = True
                self._tell("store", f"{what}; events wait in the spool")

    def _tell_success(self) -> None:
        with self._telling:
            since, self._deed_since = self._deed_since, None
            if self._is_failure_told and since is not None:
                self._is_failure_told = False
                seconds = self._clock.monotonic() - since
                self._tell("recovered", f"the store takes events again, after {seconds:.0f} s")


def _some(gtids: GtidSet, longest: int = 300) -> str:
    text = gtids.one_line()
    return text if len(text) <= longest else f"{text[:longest]}..."
