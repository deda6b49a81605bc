"""The mirror, kept up to date: backups one after another, the binlogs of every shard beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from backup.archive.news import Tell, tell_nobody
from backup.archive.run import results
from backup.mirror.findings import newer_in_mirror
from backup.mirror.journal import EVERYTHING, Journal
from backup.mirror.kept import KeptBinlogs
from backup.mirror.refusals import BACKUPS, Refusals, archive_of
from backup.mirror.report import BackupMirrored, MirrorOutcome
from fleet import figures
from fleet.clock import Clock
from fleet.errors import (
    Cancelled,
    KeyServiceUnreachable,
    RepositoryMissing,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
    ToolError,
)
from fleet.model import Fleet
from fleet.policy import Retention
from repository.archive.archive import ShardArchive
from repository.layout import BackupName
from repository.mirror.binlogs import BinlogCopier
from repository.mirror.places import Places, StillThere
from repository.mirror.porter import Carried, Porter
from repository.mirror.round import BackupRound, backups_in

POLLS_TO_BACKUPS = 12
POLLS_TO_ALL = 60
"""Backups are looked for every so many polls, and whole archives listed; between, only what is newest."""

_LONGEST_WAIT_SECONDS = 60.0
_LATER = (StoreUnreachable, StoreFull, StoreDenied, KeyServiceUnreachable, RepositoryMissing)
"""What may pass, be it because somebody makes room or gives back a permission."""


@dataclass(frozen=True)
class Mirroring:
    """How to mirror. ``open_places`` is asked until both answer; with ``once`` only the first time."""

    fleet: Fleet
    open_places: Callable[[], Places]
    clock: Clock
    cancelled: threading.Event
    once: bool = False
    recheck: bool = False
    progress: Tell = tell_nobody
    journal: Journal | None = None


def run_mirror(mirroring: Mirroring) -> MirrorOutcome:
    """Copy what the mirror lacks, until ``cancelled`` is set; with ``once``, what there is by now.

    A place that does not answer is waited for, for ever; with ``once`` that is an error. What is damaged or
    has parted is told and in the outcome, and the rest goes on. Raises ``ConfigError``, ``KeyUnusable``,
    ``FormatUnsupported``, ``MirrorParted`` if the mirror is another repository, ``RepositoryMissing`` if it
    is gone meanwhile, and ``Cancelled`` when it was stopped before both places were open.
    """
    return MirrorRun(mirroring).run()


class MirrorRun:
    """``run_mirror``, for who wants to know meanwhile how it goes."""

    def __init__(self, wish: Mirroring) -> None:
        assert wish.fleet.mirror is not None
        self._wish = wish
        self._poll_seconds = wish.fleet.mirror.poll_seconds
        self._policy: Retention = wish.fleet.mirror.retention or wish.fleet.retention
        self._threads = wish.fleet.parallelism.upload_threads
        self._porters: list[Porter] = []
        self._backups: BackupRound | None = None

    def in_short(self) -> str:
        """``2 backups to copy, 3.0 GB compared, 1.5 GB copied``, for one line."""
        seen = self._backups.seen if self._backups else None
        left = len([name for name in seen.copy if name not in self._copied()]) if seen else 0
        to_copy = f"{figures.plural(left, 'backup')} to copy, " if left else ""
        compared = sum(porter.compared for porter in self._porters)
        read = f"{figures.size(compared)} compared, " if compared else ""
        return f"{to_copy}{read}{figures.size(self._carried().bytes)} copied"

    def run(self) -> MirrorOutcome:
        """See ``run_mirror``. Once."""
        wish = self._wish
        began = wish.clock.monotonic()
        places = self._open()
        self._mirror = StillThere(places)
        journal = wish.journal or Journal.of(places.source.repository_id)
        self._refusals = Refusals(wish.progress, journal, wish.clock)
        backups = self._backups = BackupRound(
            places,
            self._policy,
            self._porter(places),
            threads=self._threads,
            clock=wish.clock,
            refuse=partial(self._refusals.refuse, BACKUPS),
            has_parted=self._refusals.has_parted,
        )
        if wish.once:
            # Which binlogs are too old to be copied is told by the backups that are kept.
            backups.look()
        shards = sorted({*(shard.name for shard in wish.fleet.shards), *self._stored_shards(places)})
        with ThreadPoolExecutor(1 + len(shards), thread_name_prefix="mirror") as pool:
            jobs = [pool.submit(self._keep, BACKUPS, partial(self._copy_backups, backups), POLLS_TO_BACKUPS)]
            jobs += [
                pool.submit(self._keep, shard, self._binlogs_of(places, backups, shard), 1)
                for shard in shards
            ]
            try:
                results(jobs)
            except BaseException:
                wish.cancelled.set()
                raise
        return self._outcome(places, wish.clock.monotonic() - began)

    def _open(self) -> Places:
        """Both places; told only when they are away, since nobody knows yet where the journal is."""
        refusals: Refusals | None = None
        turn = 0
        while True:
            try:
                places = self._wish.open_places()
            except _LATER as error:
                # A mistake of the configuration looks like that, too: so the first failure of all is told.
                if self._wish.once or not error.retryable:
                    raise
                refusals = refusals or Refusals(self._wish.progress, Journal(None), self._wish.clock)
                refusals.away(BACKUPS, error)
            else:
                if refusals:
                    refusals.back(BACKUPS)
                return places
            turn += 1
            if self._wait(turn):
                raise Cancelled("stopped before repository and mirror answered")

    def _stored_shards(self, places: Places) -> set[str]:
        """Shards that have backups: one that left the fleet is mirrored as well."""
        return {name.shard for name in backups_in(places.source)}

    def _porter(self, places: Places) -> Porter:
        porter = Porter(
            places.source.store,
            places.mirror.store,
            hands=self._threads,
            repair=self._wish.recheck,
            cancelled=self._wish.cancelled,
            before_put=self._mirror.check,
        )
        self._porters.append(porter)
        return porter

    def _keep(self, scope: str, work: Callable[[int], None], polls: int) -> None:
        """Do it once, or again and again; what may pass is waited for. ``work`` is told how often it was."""
        done = failures = 0
        while not self._wish.cancelled.is_set():
            try:
                work(done)
            except Cancelled:
                return
            except _LATER as error:
                # A mount point that lost its disk would be filled; the next run finds the mirror gone, too.
                is_gone = error is self._mirror.gone
                if self._wish.once or is_gone:
                    self._refusals.gave_up(error)
                    if is_gone:
                        self._wish.cancelled.set()
                    raise
                failures += 1
                self._refusals.away(scope, error)
                self._wait(failures)
                continue
            except BaseException:
                # Nobody would hear of it while the others go on.
                self._wish.cancelled.set()
                raise
            self._refusals.back(scope)
            failures = 0
            done += 1
            if self._wish.once or self._wish.cancelled.wait(polls * self._poll_seconds):
                return

    def _wait(self, failures: int) -> bool:
        """Longer each time; True if it was stopped meanwhile."""
        seconds = min(_LONGEST_WAIT_SECONDS, self._poll_seconds * 2 ** min(failures - 1, 16))
        return self._wish.cancelled.wait(seconds)

    def _copy_backups(self, backups: BackupRound, done: int) -> None:
        try:
            with self._refusals.looking(BACKUPS):
                backups.run(recheck=self._wish.recheck and not done)
        except (*_LATER, Cancelled):
            raise
        except ToolError as error:
            if self._wish.once:
                raise
            # The archives must not wait for it.
            self._refusals.refuse(BACKUPS, EVERYTHING, BACKUPS, error)

    def _binlogs_of(self, places: Places, backups: BackupRound, shard: str) -> Callable[[int], None]:
        archive = archive_of(shard)
        source = ShardArchive(places.source, shard)
        kept = KeptBinlogs(source, self._policy, lambda: backups.seen, self._wish.clock)
        copier = BinlogCopier(
            source,
            ShardArchive(places.mirror, shard),
            self._porter(places),
            threads=self._threads,
            refuse=partial(self._refusals.refuse, archive, shard),
            left_out=kept.left_out,
        )

        def copy(done: int) -> None:
            if self._refusals.has_parted(shard):
                return
            try:
                if done % POLLS_TO_ALL == 0:
                    with self._refusals.looking(archive):
                        copier.copy_all(recheck=self._wish.recheck and not done)
                else:
                    copier.copy_newest()
            except (*_LATER, Cancelled):
                raise
            except ToolError as error:
                # The archive of one shard must not stop the others'.
                self._refusals.refuse(archive, shard, archive, error)

        return copy

    def _carried(self) -> Carried:
        carried = [porter.carried for porter in self._porters]
        return Carried(sum(each.objects for each in carried), sum(each.bytes for each in carried))

    def _copied(self) -> Sequence[BackupName]:
        return tuple(self._backups.copied) if self._backups else ()

    def _outcome(self, places: Places, seconds: float) -> MirrorOutcome:
        return MirrorOutcome(
            places.mirror.store.describe(),
            tuple(BackupMirrored(*name) for name in self._copied()),
            *self._carried(),
            seconds,
            self._refusals.all(),
            tuple(newer_in_mirror(places, self._backups.seen))
            if self._backups and self._backups.seen
            else (),
        )
