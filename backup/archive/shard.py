"""The life of one shard's archiver, as a story: whom to follow, from where, until what, and what then.

A truth that must survive is in the store or in the spool; what this object remembers is only what it would
find out again. So every error leads back to the same beginning: ask the servers, choose, go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from backup.archive.composer import Composer
from backup.archive.course import Course
from backup.archive.identity import replica_identity
from backup.archive.lookout import Lookout
from backup.archive.news import News, NewsKind, Tell
from backup.archive.receiver import Acknowledgements, Origin, Receiver
from backup.archive.report import ShardOutcome
from backup.archive.semisync import Fall, SemiSyncGuard, SemiSyncWatch
from backup.archive.sources import SourceChoice, SourceFacts, all_take_writes, choose_source, writers
from backup.archive.spool import Spool
from backup.archive.stall import Stall, watching
from backup.archive.start import Start, divergence, start_by_file, start_by_gtids
from backup.archive.survey import Survey, connector, survey_shard
from backup.archive.uploader import Uploader
from fleet.clock import Clock
from fleet.errors import (
    ArchiverReplaced,
    BinlogUnreadable,
    Cancelled,
    DiskFull,
    KeyServiceUnreachable,
    ProtocolViolation,
    ServerRefused,
    ServerUnreachable,
    ServerUnsupported,
    SourceDiverged,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
    ToolError,
)
from fleet.gtid import GtidSet
from fleet.model import Fleet, Shard
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Ledger
from repository.layout import BinlogFile
from repository.repository import Repository
from wire.binlog.dump import BinlogDump, BinlogGone, DumpOptions
from wire.session import Session

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 4.0
TURN_SECONDS = 1.0
GRACE_SECONDS = 15.0
"""So long an orderly end tries to store what waits; the rest stays in the spool for the next run."""

_ASK_AGAIN = (ServerUnreachable, ProtocolViolation, BinlogUnreadable, StoreUnreachable, KeyServiceUnreachable)
_ASK_AGAIN_ONCE_FOLLOWED = (ServerRefused, ServerUnsupported, StoreDenied, StoreFull)
"""At the start these are mistakes of a configuration; later they may pass."""


class ShardArchiver:
    """Archives one shard until ``cancelled`` is set, or until an error that no waiting helps.

    ``composing`` is held by the one shard of the process that composes at the moment.
    """

    def __init__(
        self,
        fleet: Fleet,
        shard: Shard,
        repository: Repository,
        spool_directory: Path,
        *,
        clock: Clock,
        cancelled: threading.Event,
        tell: Tell,
        composing: threading.Lock,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._grace_seconds = grace_seconds
        self._shard = shard
        self._policy = fleet.archive
        self._account = fleet.accounts.for_archive
        self._clock = clock
        self._cancelled = cancelled
        self._listener = tell
        archive = ShardArchive(repository, shard.name)
        self._ledger = Ledger(repository, shard.name)
        self._options = _dump_options(fleet, shard, repository)
        self._spool = Spool(
            spool_directory,
            max_bytes=self._policy.spool_max_bytes,
            key_of=self._ledger.key,
            scope=f"{repository.repository_id}/{shard.name}",
            clock=clock,
        )
        acknowledgements = Acknowledgements()
        self._composer = Composer(archive, self._policy.compose_bytes, composing, self._tell)
        self._uploader = Uploader(
            archive,
            self._spool,
            self._policy,
            clock,
            tell=self._tell,
            stored=acknowledgements.stored,
            compose=self._composer.add,
            failed=self._hang_up,
        )
        self._course = Course(archive, self._uploader, clock, cancelled, self._tell)
        self._receiver = Receiver(
            self._spool,
            self._policy,
            acknowledgements,
            cancelled,
            check=self._uploader.check,
            tell=self._tell,
            torn=self._course.note_torn_tail,
        )
        self._stall = Stall(clock, lambda: self._receiver.received_bytes, self._tell)
        self._watch: SemiSyncWatch | None = None
        self._choice: SourceChoice | None = None
        self._dump: BinlogDump | None = None
        self._settled = GtidSet()
        self._is_recovered = self._is_over = False
        self._last_told = ""
        self._writers_told = ""

    def run(self) -> ShardOutcome:
        """The whole life. What ended it is in the outcome, so that other shards go on."""
        error: ToolError | None = None
        self._uploader.start()
        self._composer.start()
        threading.Thread(target=self._hang_up_when_cancelled, name="archive-close", daemon=True).start()
        try:
            with watching(self._stall.look, self._uploader.look):
                self._follow_until_cancelled()
        except Cancelled:
            pass
        except ToolError as failure:
            error = failure
            self._tell("replaced" if isinstance(failure, ArchiverReplaced) else "failed", failure.message)
        finally:
            self._is_over = True
            # Who was replaced leaves at once: the other archiver goes on from what is stored.
            self._uploader.end(0.0 if isinstance(error, ArchiverReplaced) else self._grace_seconds)
            self._composer.end()
            waiting = self._spool.waiting_bytes
            self._spool.close()
        if error is None:
            rest = f"; {waiting} bytes wait in the spool for the next run" if waiting else ""
            self._tell("stopped", f"stopped{rest or ', and everything received is stored'}")
        tally = self._uploader.tally
        return ShardOutcome(
            shard=self._shard.name,
            transactions=tally.transactions,
            received_bytes=self._receiver.received_bytes,
            stored_bytes=tally.stored_bytes,
            segments=tally.segments,
            error=error,
        )

    def _follow_until_cancelled(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self._cancelled.is_set():
            received = self._receiver.received_bytes
            self._follow_or_say_why_not()
            self._uploader.check()
            if self._receiver.received_bytes > received:
                delay = FIRST_DELAY_SECONDS
            self._cancelled.wait(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    def _follow_or_say_why_not(self) -> None:
        """Returns when it is worth to try again; raises what no waiting helps."""
        try:
            self._take_up_the_spool()
            self._follow()
        except SourceDiverged as error:
            self._uploader.check()
            self._open_after_divergence(error)
        except DiskFull as error:
            if self._policy.when_full == "stop":
                raise
            self._tell_once("spool-full", f"{error.message}; tried again until there is room")
        except _ASK_AGAIN as error:
            self._tell_once("waiting", error.message)
        except _ASK_AGAIN_ONCE_FOLLOWED as error:
            if self._choice is None:
                raise
            self._tell_once("waiting", error.message)

    def _take_up_the_spool(self) -> None:
        """What an earlier run received and did not store goes first, whatever became of the source."""
        if self._is_recovered:
            return
        if count := self._spool.recover():
            self._tell("recovered", f"{count} bytes of an earlier run were still in the spool")
        self._is_recovered = True

    def _follow(self) -> None:
        """Choose a source and receive from it until that ends; open an epoch first where one begins."""
        if self._course.look_once():
            self._compose_what_an_earlier_run_left()
        choice = self._choose(self._survey())
        standing = self._course.standing
        if standing is None or standing.line_uuid != choice.line_uuid:
            # Everything received from the old source is stored before anything is decided.
            self._course.look()
            choice = self._choose(self._survey())
            change = self._course.change_for(choice)
            if change is not None:
                self._course.open_epoch(change, choice)
        self._choice = choice
        try:
            self._receive(choice, self._start(choice))
        except BinlogGone:
            # The file is gone, be it after all of it was archived, or before.
            self._course.look()
            self._receive(choice, self._start_by_gtids(choice))

    def _compose_what_an_earlier_run_left(self) -> None:
        place = self._course.place
        newest = {end.file for end in place.newest.values()} if place else set[BinlogFile]()
        for file, pieces in place.pieces.items() if place else ():
            if pieces > 1:
                self._composer.add(file, file not in newest)

    def _survey(self) -> Survey:
        return survey_shard(self._shard, self._account)

    def _choose(self, survey: Survey) -> SourceChoice:
        self._tell_writers(writers(survey.seen))
        return choose_source(
            self._shard.name, *survey, prefer=self._policy.source, standing=self._course.standing
        )

    def _tell_writers(self, seen: list[SourceFacts]) -> None:
        """More than one: an alarm, whoever is chosen. Once, and when it is over."""
        text = all_take_writes(seen) if len(seen) > 1 else ""
        before, self._writers_told = self._writers_told, text
        if text and text != before:
            self._tell("writers", f"{text}; one of them only can be archived: make the others read-only")
        elif before and not text:
            self._tell("recovered", f"it is no longer seen that {before}")

    def _start(self, choice: SourceChoice) -> Start:
        place = self._course.place
        assert place is not None
        start = start_by_file(
            place,
            choice.source.uuid,
            self._spool,
            self._uploader,
            mode=self._policy.mode,
            cancelled=self._cancelled,
        )
        return start or self._start_by_gtids(choice)

    def _start_by_gtids(self, choice: SourceChoice) -> Start:
        place = self._course.place
        assert place is not None
        connect = connector(choice.source.server, self._account)
        return start_by_gtids(place, choice.source, connect, self._options, self._clock)

    def _receive(self, choice: SourceChoice, start: Start) -> None:
        place = self._course.place
        assert place is not None
        # Known from now on, so the spool needs the store no more.
        self._ledger.key(place.epoch.epoch)
        connect = connector(choice.source.server, self._account)
        with BinlogDump.open(connect(), start.at, self._options, clock=self._clock) as dump:
            self._dump = dump
            if self._cancelled.is_set():
                return
            self._tell_following(choice, start, dump)
            self._stall.following()
            origin = Origin(place.epoch.epoch, choice.source.uuid)
            try:
                with self._guard(choice, connect), self._lookout(choice, connect):
                    self._receiver.receive(dump, origin, is_at_end=start.is_at_end)
            finally:
                self._dump = None
                self._stall.left()

    def _guard(self, choice: SourceChoice, connect: Callable[[], Session]) -> AbstractContextManager[object]:
        if self._policy.mode == "async":
            return nullcontext()
        if self._watch is None:
            known = self._course.open_fall()
            self._watch = SemiSyncWatch(known.at if known else None)

        def fell(fall: Fall) -> None:
            self._course.note_fall(fall, choice.source.uuid, self._policy.mode)

        return SemiSyncGuard(connect, self._watch, self._clock, fell)

    def _lookout(self, choice: SourceChoice, connect: Callable[[], Session]) -> Lookout:
        def leave(reason: str) -> None:
            self._tell("warning", f"{reason}; the servers are asked anew")
            # What is resumed by file after this is settled: a commit can wait long for another replica.
            self._settled = self._uploader.archived
            self._hang_up()

        return Lookout(
            choice,
            survey=self._survey,
            choose=self._choose,
            connect=connect,
            received=lambda: (self._spool.tail, self._uploader.archived - self._settled),
            leave=leave,
        )

    def _open_after_divergence(self, error: SourceDiverged) -> None:
        choice, place = self._choice, self._course.place
        if choice is None or place is None:
            raise error
        self._tell("diverged", error.message)
        try:
            self._course.look()
            place = self._course.place
            assert place is not None
            connect = connector(choice.source.server, self._account)
            change = divergence(place, choice.source, connect, self._options, self._clock)
            self._course.open_epoch(change, choice)
        except _ASK_AGAIN as failure:
            self._tell_once("waiting", failure.message)

    def _tell_following(self, choice: SourceChoice, start: Start, dump: BinlogDump) -> None:
        text = f"{choice.reason}; from {start.at.file} at byte {start.at.position}"
        self._last_told = ""
        self._tell("following", text)
        if self._policy.mode != "async" and not dump.has_semi_sync:
            self._tell(
                "fell-to-async",
                f"mode is {self._policy.mode}, and {choice.source.name} has no semi-synchronous replication",
            )

    def _hang_up_when_cancelled(self) -> None:
        while not self._cancelled.wait(TURN_SECONDS):
            # The shard may be begun again, and that one has a thread of its own.
            if self._is_over:
                return
        self._hang_up()

    def _hang_up(self) -> None:
        """Let the receiver's thread come back from a source that says nothing."""
        dump = self._dump
        if dump is not None:
            dump.close()

    def _tell(self, kind: NewsKind, text: str) -> None:
        self._listener(News(self._shard.name, kind, text, self._clock.now()))

    def _tell_once(self, kind: NewsKind, text: str) -> None:
        """The same thing is told again only after something else has happened."""
        self._stall.waits_for(text)
        if text != self._last_told:
            self._tell(kind, text)
        self._last_told = text


def _dump_options(fleet: Fleet, shard: Shard, repository: Repository) -> DumpOptions:
    """Who we are to the source: the same in every run, so that a second archiver takes over."""
    identity = replica_identity(repository.repository_id, shard.name, fleet.archive.server_id)
    return DumpOptions(
        server_id=identity.server_id,
        replica_uuid=identity.replica_uuid,
        heartbeat_seconds=fleet.archive.heartbeat_seconds,
        semi_sync=fleet.archive.mode != "async",
    )
