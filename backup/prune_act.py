"""The deleting itself: by exact names, in an order that leaves a readable repository at every step."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice

from backup.prune_archive import ShardArchivePlan, check_archive
from backup.prune_plan import BackupGoing, BackupReducing, LeftoverGoing, LockedSeen, Reduced, Spared, Tally
from backup.prune_survey import attempt, keepers, objects_of
from backup.repack import repack
from fleet.errors import Cancelled, ObjectLocked, ObjectMissing, RetentionRefused
from fleet.progress import Progress
from repository import layout
from repository.archive.archive import ShardArchive
from repository.catalog import Catalog
from repository.holds import Holds
from repository.layout import BackupName
from repository.leases import Leases
from repository.marks import Marks
from repository.repository import Repository, is_there
from repository.store_clock import ask_store_time
from repository.stores.interface import ObjectInfo

_WORKERS = 8
_AT_ONCE = 1000
_LOOKS = 3


class Deleting:
    """What is at work; every method tells ``tally`` what it did, and stops between objects if cancelled."""

    def __init__(
        self, repository: Repository, tally: Tally, progress: Progress, cancelled: threading.Event
    ) -> None:
        self._repository = repository
        self._store = repository.store
        self._tally = tally
        self._progress = progress
        self._cancelled = cancelled
        self._lock = threading.Lock()

    def backup(self, going: BackupGoing, *, given_up: bool) -> bool:
        """Delete a backup whose hour is over: the manifest first. False: it stays, as ``tally`` says."""
        name = going.name
        if reason := self._is_kept(name, given_up=given_up):
            self._tally.spared.append(Spared(going.shard, going.label, reason))
            return False
        self._progress.stage(f"delete {name}", going.left_bytes)
        manifest = layout.manifest(name)
        try:
            manifests = [self._store.stat(manifest)]
        except ObjectMissing:
            manifests = []
        if not self._all(manifests):
            return False
        if self._label(name):
            self._tally.backups.append(str(name))
        return True

    def reduce(self, going: BackupReducing, referring: Sequence[BackupName], *, below: float) -> None:
        """Let go of what nobody refers to any more, of a backup whose hour is over."""
        name, marks = going.name, Marks(self._repository)
        # Said before the first part goes, and looked for the mark after: who takes it back does both in turn.
        is_first = marks.set_reduced(name)
        if reason := self._is_kept(name, given_up=False):
            if is_first:
                marks.unset_reduced(name)
            self._tally.spared.append(Spared(going.shard, going.label, reason))
            return
        catalog = Catalog(self._repository)
        # Who refers to it and has gone meanwhile needs nothing any more.
        there = [each for each in referring if is_there(self._store, layout.manifest(each))]
        done = repack(
            self._repository,
            catalog.read_manifest(name),
            map(catalog.read_manifest, there),
            below=below,
            progress=self._progress,
            cancelled=self._cancelled,
        )
        marks.begin_reducing(name)
        self._tally.freed_bytes += done.freed_bytes
        self._tally.locked += [LockedSeen(key, until) for key, until in done.locked]
        self._tally.reduced.append(Reduced(*name, done.packs, done.reduced, done.freed_bytes))

    def leftover(self, going: LeftoverGoing) -> None:
        """Delete what an attempt left, unless somebody is at work on it after all."""
        name = going.name
        now = attempt(self._store, name)
        reason = self._in_use(name)
        if is_there(self._store, layout.manifest(name)) or (now and now.newest_at > going.newest_at):
            reason = "it is being written"
        if reason:
            self._tally.spared.append(Spared(going.shard, going.label, reason))
            return
        self._progress.stage(f"delete {name}", going.stored_bytes)
        if self._label(name):
            self._tally.leftovers.append(str(name))

    def archive(self, plan: ShardArchivePlan) -> None:
        """Delete binlog files in the order of the line, each from its end to its start: one at a time, so
        that what is left of a file is always a prefix.
        """
        if not plan.files:
            return
        now = ask_store_time(self._store).now
        try:
            check_archive(plan, Leases(self._repository).in_force(now, plan.shard))
        except RetentionRefused as error:
            self._tally.spared.append(Spared(plan.shard, "binlogs", error.message))
            return
        archive = ShardArchive(self._repository, plan.shard)
        self._progress.stage(f"delete binlogs of {plan.shard}", sum(each.stored_bytes for each in plan.files))
        for file in plan.files:
            # What was composed meanwhile is found by the next look.
            for _ in range(_LOOKS):
                listed = archive.file(file.name)
                segments = {*listed.segments, *listed.spare}
                if not segments:
                    break
                for segment in sorted(segments, key=lambda each: (each.end, each.start), reverse=True):
                    info_name = layout.segment(plan.shard, segment.name)
                    if not self._delete(info_name, segment.size):
                        return
            self._tally.binlog_files += 1

    def names(self, names: Iterable[str]) -> None:
        """Small objects that nobody needs."""
        for name in names:
            self._delete(name, 0)

    def _label(self, name: BackupName) -> bool:
        """All that there is of a label but the manifest. False if a lock keeps something of it."""
        for _ in range(_LOOKS):
            found = False
            for _, group in groupby(objects_of(self._store, name), key=_group):
                found = True
                if not self._all(group):
                    return False
            if not found:
                return True
        return True

    def _all(self, infos: Iterable[ObjectInfo]) -> bool:
        """Delete in parallel, holding a bounded number of names. False if any is locked."""
        stream = iter(infos)
        whole = True
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="prune") as workers:
            while chunk := list(islice(stream, _AT_ONCE)):
                whole = all(list(workers.map(self._delete_listed, chunk))) and whole
        return whole

    def _delete_listed(self, info: ObjectInfo) -> bool:
        return self._delete(info.key, info.size)

    def _delete(self, key: str, size: int) -> bool:
        if self._cancelled.is_set():
            raise Cancelled(
                "pruning was stopped", hint="What is left can be read as before; run it again for the rest."
            )
        try:
            self._store.delete(key)
        except ObjectLocked as error:
            with self._lock:
                self._tally.locked.append(LockedSeen(key, error.until))
            return False
        with self._lock:
            self._tally.objects += 1
            self._tally.freed_bytes += size
        self._progress.advance(size)
        return True

    def _is_kept(self, name: BackupName, *, given_up: bool) -> str | None:
        marked = given_up or Marks(self._repository).get(name) is not None
        # Without a manifest no mark can be read: another run was faster.
        if not marked and is_there(self._store, layout.manifest(name)):
            return "its mark was taken back"
        return self._in_use(name)

    def _in_use(self, name: BackupName) -> str | None:
        now = ask_store_time(self._store).now
        holds = Holds(self._repository).in_force(now, name.shard)
        leases = Leases(self._repository).in_force(now, name.shard)
        reasons = keepers(holds, leases, [name]).get(name)
        return reasons[0] if reasons else None


def resting_on(
    names: Iterable[BackupName], needs: Mapping[BackupName, Sequence[BackupName]]
) -> set[BackupName]:
    """All that these rest on, themselves included."""
    found: set[BackupName] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs.get(name, ())
    return found


def _group(info: ObjectInfo) -> str:
    """What may be deleted side by side: the room, and index parts apart from packs."""
    room, *_, last = info.key.split("/")
    return f"{room}/{last[0] == 'i'}" if f"{room}/" == layout.DATA else room
