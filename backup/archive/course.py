"""The course of a shard's line: where the archive stands, which epoch is written, and what is noted of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

from backup.archive.news import NewsKind
from backup.archive.place import Place, read_place
from backup.archive.semisync import Fall
from backup.archive.sources import EpochChange, SourceChoice, Standing, decide_epoch
from backup.archive.uploader import Uploader
from fleet.clock import Clock
from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Epoch, EpochFacts, Note
from repository.layout import BinlogFile


class Course:
    """What the archiver of one shard knows of its line, from the store."""

    def __init__(
        self,
        archive: ShardArchive,
        uploader: Uploader,
        clock: Clock,
        cancelled: threading.Event,
        tell: Callable[[NewsKind, str], None],
    ) -> None:
        self.place: Place | None = None
        self._archive = archive
        self._uploader = uploader
        self._clock = clock
        self._cancelled = cancelled
        self._tell = tell
        self._has_looked = False

    @property
    def standing(self) -> Standing | None:
        """As of the last look, and with all that was stored since."""
        if self.place is None:
            return None
        standing = self.place.standing
        return replace(standing, archived=standing.archived | self._uploader.archived)

    def look_once(self) -> bool:
        """At the start: what does the store hold? True if this was the first look."""
        is_first = not self._has_looked
        if is_first:
            self.look()
        return is_first

    def look(self) -> None:
        """Store what waits, then read from the store where the archive stands.

        Raises ``Cancelled`` and what the store raises.
        """
        self._uploader.drain(self._cancelled)
        self.place = read_place(self._archive)
        self._has_looked = True
        if self.place is not None:
            is_first = self.place.epoch.parent is None and not self.place.newest
            self._uploader.begin_line(self.place.archived, is_first=is_first)

    def change_for(self, choice: SourceChoice) -> EpochChange | None:
        """What this source means for the line, as of the last look."""
        life = self._archive.life(choice.line_uuid) if self.place else None
        skipped = life.skipped_set if life else GtidSet()
        return decide_epoch(self.standing, choice, restored=life is not None, skipped=skipped)

    def open_epoch(self, change: EpochChange, choice: SourceChoice) -> None:
        """Begin a new epoch, or find that another archiver did; then look again."""
        opened = self._archive.open_epoch(
            EpochFacts(
                reason=change.reason,
                server_uuid=choice.line_uuid,
                server_name=choice.line_name,
                inherited=change.inherited,
                parent=self.place.epoch.epoch if self.place else None,
                branch=change.branch,
                skipped=change.skipped,
            ),
            self._clock,
        )
        text = f"epoch {opened.epoch} ({opened.reason}) on {opened.server_name or opened.server_uuid}"
        if branch := GtidSet.parse(opened.branch):
            text += f"; {branch.count()} transactions stay behind on a branch: {branch.one_line()}"
        self._tell(_kind_of(opened), text)
        self.look()

    def note_fall(self, fall: Fall, server_uuid: str, mode: str) -> None:
        """The source does not wait for us, or waits again."""
        if fall.ended_at is None:
            text = f"the source no longer waits for the archive: commits are not {mode}"
            self._tell("fell-to-async", text)
        else:
            seconds = (fall.ended_at - fall.began_at).total_seconds()
            text = (
                f"the source did not wait for the archive for {seconds:.1f} s; {fall.commits} commits went on"
            )
            self._tell("recovered", text)
        self._note("fell-to-async", text, server_uuid=server_uuid, fall=fall)

    def note_torn_tail(self, file: BinlogFile, end: int) -> None:
        """A binlog file that ended in a crash of its source."""
        text = f"{file.file} ended at byte {end} in a crash of its source"
        self._tell("torn-tail", text)
        self._note("torn-tail", text, file=file, position=end)

    def open_fall(self) -> Note | None:
        """A fall to async that an earlier archiver saw begin, and nobody saw end."""
        if self.place is None:
            return None
        falls = [note for note in self._archive.notes(self.place.epoch.epoch) if note.kind == "fell-to-async"]
        return next(iter(unended(falls)), None)

    def _note(
        self,
        kind: str,
        text: str,
        *,
        server_uuid: str | None = None,
        file: BinlogFile | None = None,
        position: int | None = None,
        fall: Fall | None = None,
    ) -> None:
        epoch = file.epoch if file else self.place.epoch.epoch if self.place else None
        if epoch is None:
            return
        note = Note(
            kind=kind,
            at=fall.began_at if fall else self._clock.now(),
            ended_at=fall.ended_at if fall else None,
            server_uuid=file.server_uuid if file else server_uuid,
            file=file.file if file else None,
            position=position,
            text=text,
        )
        self._uploader.note(epoch, note)


class Lasting(Protocol):
    """A note of something that has a beginning and an end."""

    @property
    def at(self) -> datetime: ...

    @property
    def ended_at(self) -> datetime | None: ...


LastingT = TypeVar("LastingT", bound=Lasting)


def unended(notes: Sequence[LastingT]) -> list[LastingT]:
    """Notes of one kind that last: begun, and no later note says that they ended. Pure."""
    ended = {note.at for note in notes if note.ended_at is not None}
    return [note for note in notes if note.ended_at is None and note.at not in ended]


def _kind_of(opened: Epoch) -> NewsKind:
    """Only an epoch that follows another one is a turn that somebody should hear of."""
    if opened.reason == "diverged":
        return "diverged"
    if opened.branch:
        return "branch"
    return "began" if opened.reason == "first" else "epoch"
