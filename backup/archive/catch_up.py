"""Archive up to the present, and end: for whoever starts the archiver by the clock, and for a last look."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

from backup.archive.news import Tell, tell_nobody
from backup.archive.place import Place, read_place
from backup.archive.purge_plan import ENCRYPTION_HEADER_BYTES
from backup.archive.report import ArchiverOutcome, ShardOutcome
from backup.archive.run import results, run_archiver
from backup.archive.sources import choose_source
from backup.archive.survey import connector, survey_shard
from fleet.clock import Clock
from fleet.errors import ServerUnreachable, ToolError
from fleet.gtid import GtidSet
from fleet.model import Fleet, Shard
from repository.archive.archive import ShardArchive
from repository.repository import Repository
from wire.binlog_admin import binlog_files

POLL_SECONDS = 0.5


def archive_until_now(
    fleet: Fleet,
    shard_names: Sequence[str],
    repository: Repository,
    *,
    clock: Clock,
    cancelled: threading.Event,
    progress: Tell = tell_nobody,
) -> ArchiverOutcome:
    """Archive what the sources of the named shards, or of all, have written by now; then end.

    Raises as ``run_archiver``, when all shards have ended, and ``ServerUnreachable`` for one whose source
    cannot be asked. A source that goes away on the way is waited for, until ``cancelled`` is set.
    """
    repository.keys.require_opener("the archiver")
    shards = [fleet.shard(name) for name in shard_names] or list(fleet.shards)

    def archive(shard: Shard) -> ShardOutcome | ToolError:
        watch = _Watch(ShardArchive(repository, shard.name), clock, cancelled)
        try:
            watch.start(_present(fleet, shard, watch.archive))
            outcome = run_archiver(
                fleet, [shard.name], repository, clock=clock, cancelled=watch.ended, progress=progress
            )
        except ToolError as error:
            return error
        finally:
            watch.end()
        return watch.error or outcome.shards[0]

    with ThreadPoolExecutor(len(shards), thread_name_prefix="archive-until-now") as pool:
        found = results([pool.submit(archive, shard) for shard in shards])
    for each in found:
        if isinstance(each, ToolError):
            raise each
    return ArchiverOutcome(tuple(each for each in found if isinstance(each, ShardOutcome)))


class Present(NamedTuple):
    """Where a source stood when it was asked: what it had executed, and the end of its binlog."""

    executed: GtidSet
    line_uuid: str
    source_uuid: str
    file: str
    end: int

    def is_in(self, place: Place) -> bool:
        """Is all of it archived? The end of the binlog counts as long as the line is the source's."""
        if not self.executed <= place.archived:
            return False
        if place.epoch.server_uuid != self.line_uuid:
            return True
        newest = place.newest.get(self.source_uuid)
        if newest is None:
            return False
        here, there = newest.file.file, self.file
        # The number of a file has six digits until it needs seven.
        return (len(here), here) > (len(there), there) or (here == there and newest.end >= self.end)


def _present(fleet: Fleet, shard: Shard, archive: ShardArchive) -> Present:
    survey = survey_shard(shard, fleet.accounts.for_archive)
    place = read_place(archive)
    standing = place.standing if place else None
    choice = choose_source(
        shard.name, survey.seen, survey.unseen, prefer=fleet.archive.source, standing=standing
    )
    with closing(connector(choice.source.server, fleet.accounts.for_archive)()) as session:
        files = binlog_files(session)
    if not files:
        raise ServerUnreachable(f"server {choice.source.name} lists no binlog file")
    last = files[-1]
    end = last.size_bytes - (ENCRYPTION_HEADER_BYTES if last.is_encrypted else 0)
    return Present(choice.source.executed, choice.line_uuid, choice.source.uuid, last.name, end)


class _Watch:
    """Looks into the store until all that was wanted is there; then, or when that fails, ``ended`` is set."""

    def __init__(self, archive: ShardArchive, clock: Clock, cancelled: threading.Event) -> None:
        self.archive = archive
        self.ended = threading.Event()
        self.error: ToolError | None = None
        self._clock = clock
        self._cancelled = cancelled
        self._thread: threading.Thread | None = None

    def start(self, wanted: Present) -> None:
        self._thread = threading.Thread(target=self._run, args=(wanted,), name="archive-watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, wanted: Present) -> None:
        try:
            while not (self.ended.is_set() or self._cancelled.is_set() or self._holds(wanted)):
                self._clock.sleep(POLL_SECONDS)
        except ToolError as error:
            self.error = error
        self.ended.set()

    def _holds(self, wanted: Present) -> bool:
        try:
            place = read_place(self.archive)
        except ToolError as error:
            # A store that is away for a while is the archiver's to wait for, and this look's too.
            if error.retryable:
                return False
            raise
        return place is not None and wanted.is_in(place)
