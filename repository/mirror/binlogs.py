"""The binlog archive of one shard into the mirror: epochs, then of each binlog file a prefix that grows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial

from fleet.errors import ObjectDamaged, ObjectLocked, ObjectMissing, SourceDiverged, StoreDenied, ToolError
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile, SegmentRef
from repository.archive.ledger import Ledger
from repository.archive.segment import identity_of
from repository.crew import Crew
from repository.layout import BinlogFile, SegmentName
from repository.mirror.backups import is_wrapped_key, unsealed
from repository.mirror.plan import missing_segments
from repository.mirror.porter import Check, Porter
from repository.repository import is_there
from repository.seal import Identity, ObjectKind

_LOOKS = 8

Refuse = Callable[[str, ToolError], None]
"""Told the name of what was not copied, and why; from several threads."""
LeftOut = Callable[[Collection[BinlogFile]], Collection[BinlogFile]]
"""Of binlog files of which the mirror lacks something: those that its retention would not keep."""


class BinlogCopier:
    """Copies one shard's archive. What is damaged is told to ``refuse``, and the rest goes on.

    Errors of every method: ``MirrorParted``, ``Cancelled`` and what the stores raise.
    """

    def __init__(
        self,
        source: ShardArchive,
        mirror: ShardArchive,
        porter: Porter,
        *,
        threads: int,
        refuse: Refuse,
        left_out: LeftOut,
    ) -> None:
        self._source = source
        self._mirror = mirror
        self._porter = porter
        self._threads = threads
        self._refuse = refuse
        self._left_out = left_out
        self._ledger = Ledger(source.repository, source.shard)
        self._compared: set[BinlogFile] = set()
        self._damaged: set[SegmentName] = set()
        self._opened: set[int] = set()
        self._newest: BinlogFile | None = None

    def copy_all(self, *, recheck: bool = False) -> None:
        """Everything that the mirror lacks: lists the whole archive in both places. With ``recheck`` all that
        both have is read in both, and compared.
        """
        # Somebody may have put right what was damaged.
        self._damaged.clear()
        for epoch in self._source.epochs():
            self._open(epoch.epoch)
            self._copy_files(epoch.epoch, recheck=recheck)
            self._copy_documents(epoch.epoch)

    def copy_newest(self) -> None:
        """What was archived since: of the newest binlog file, and those that follow it. A few requests."""
        if self._has_new_epoch(self._newest.epoch if self._newest else 0):
            self.copy_all()
        while self._newest is not None:
            self._copy_file(self._newest)
            following = self._following(self._newest)
            if following is None:
                return
            self._newest = following

    def _has_new_epoch(self, number: int) -> bool:
        return is_there(self._source.repository.store, layout.epoch_opened(self._source.shard, number + 1))

    def _following(self, file: BinlogFile) -> BinlogFile | None:
        """The next file of the server, if something of it is archived: its name counts up."""
        stem, _, number = file.file.rpartition(".")
        if not number.isdigit():
            return None
        name = f"{stem}.{int(number) + 1:0{len(number)}d}"
        prefix = layout.binlogs_called(self._source.shard, file.epoch, file.server_uuid, name)
        listed = (layout.parse_segment(info.key) for info in self._source.repository.store.list(prefix))
        return max((each.binlog for each in listed if each), key=lambda each: each.created, default=None)

    def _open(self, epoch: int) -> None:
        """Wrapped keys, then ``opened``."""
        shard = self._source.shard
        keys = layout.archive_keys(shard, epoch)
        for name in self._absent(keys):
            if layout.parse_archive_key(name):
                with suppress(ObjectMissing):
                    self._porter.carry(name, is_wrapped_key(name))
        if epoch not in self._opened:
            self._carry_document(epoch, layout.epoch_opened(shard, epoch), ObjectKind.EPOCH)
            self._opened.add(epoch)

    def _copy_documents(self, epoch: int) -> None:
        """Lives and notes."""
        shard = self._source.shard
        for prefix, kind in (
            (layout.lives(shard, epoch), ObjectKind.LIFE),
            (layout.archive_notes(shard, epoch), ObjectKind.NOTE),
        ):
            for name in self._absent(prefix):
                try:
                    self._carry_document(epoch, name, kind)
                except ObjectDamaged as error:
                    self._refuse(name, error)

    def _absent(self, prefix: str) -> list[str]:
        """What the repository has under ``prefix`` and the mirror does not, as lists tell."""
        there = {info.key for info in self._mirror.repository.store.list(prefix)}
        here = dict.fromkeys(info.key for info in self._source.repository.store.list(prefix))
        return [name for name in here if name not in there]

    def _carry_document(self, epoch: int, name: str, kind: ObjectKind) -> None:
        identity = Identity(self._source.repository.repository_id, name, kind)
        key = self._ledger.key(epoch)
        self._porter.carry(name, lambda data: unsealed(identity, key, data))

    def _copy_files(self, epoch: int, *, recheck: bool) -> None:
        """Several files at once, by age; of each its segments from the start on."""
        there = {file.name: file for file in self._mirror.files(epoch)}
        files = sorted(self._source.files(epoch), key=lambda each: _age(each.name))
        # Of one that the mirror is letting go a prefix may still be there.
        shorter = [file.name for file in files if file.name not in there or there[file.name].end < file.end]
        left_out = self._left_out(shorter)
        with Crew(self._threads, name="mirror-binlogs") as crew:
            for file in files:
                if recheck and file.name in there:
                    crew.submit(partial(self._recheck_file, file, there[file.name]))
            crew.drain()
            for file in files:
                if file.name not in left_out and not self._is_done(file, there.get(file.name)):
                    crew.submit(partial(self._copy_file, file.name))
            crew.drain()
        if files:
            self._newest = files[-1].name

    def _is_done(self, here: ArchivedFile, there: ArchivedFile | None) -> bool:
        if there is None or there.spare or here.name not in self._compared:
            return False
        return _sizes(here.segments) <= _sizes(there.segments)

    def _copy_file(self, name: BinlogFile) -> None:
        """Copy what is missing of it, and delete in the mirror what was composed since."""
        looks = 0
        while looks < _LOOKS:
            here, there = self._source.file(name), self._mirror.file(name)
            try:
                self._compare(here, there)
                for ref in missing_segments(here, there, self._damaged):
                    self._carry_segment(ref)
            except ObjectMissing:
                # Composed, or let go by retention, since it was listed.
                looks += 1
            except _PassedOver:
                continue
            else:
                break
        there = self._mirror.file(name)
        if there.spare:
            self._drop_spare(there)

    def _check_of(self, name: SegmentName) -> Check:
        identity = identity_of(self._source.repository.repository_id, self._source.shard, name)
        key = self._ledger.key(name.epoch)
        return lambda data: unsealed(identity, key, data)

    def _recheck_file(self, here: ArchivedFile, there: ArchivedFile) -> None:
        ours = {each.name: each for each in (*here.segments, *here.spare)}
        for each in (*there.segments, *there.spare):
            # What was composed since is gone here, and read as it came.
            if each.name in ours:
                with suppress(ObjectMissing, _PassedOver):
                    self._carry_segment(ours[each.name])

    def _carry_segment(self, ref: SegmentRef) -> None:
        """Raises ``_PassedOver`` if it is damaged: then others may hold its bytes."""
        name = layout.segment(self._source.shard, ref.name)
        try:
            self._porter.carry(name, self._check_of(ref.name))
        except ObjectDamaged as error:
            self._refuse(name, error)
            self._damaged.add(ref.name)
            raise _PassedOver from None

    def _compare(self, here: ArchivedFile, there: ArchivedFile) -> None:
        """Are they the same objects in both places? The newest one tells, and those whose sizes differ."""
        ours = {each.name: each.size for each in (*here.segments, *here.spare)}
        both = [each for each in (*there.segments, *there.spare) if each.name in ours]
        doubtful = [each for each in both if each.size != ours[each.name]]
        if here.name not in self._compared:
            doubtful += both[-1:]
        for each in doubtful:
            name = layout.segment(self._source.shard, each.name)
            try:
                if not self._porter.is_there(name, ours[each.name], self._check_of(each.name)):
                    self._carry_segment(SegmentRef(each.name, ours[each.name]))
            except ObjectDamaged as error:
                self._refuse(name, error)
        self._compared.add(here.name)

    def _drop_spare(self, file: ArchivedFile) -> None:
        # Where nothing may be deleted they stay: readers do not look at them.
        with suppress(ObjectLocked, StoreDenied):
            try:
                self._mirror.drop_spare(file)
            except SourceDiverged as error:
                self._refuse(str(file.name), error)


class _PassedOver(Exception):  # noqa: N818 - it is no error
    """A segment was not copied: look what else holds its bytes."""


def _sizes(segments: Iterable[SegmentRef]) -> set[tuple[SegmentName, int]]:
    return {(each.name, each.size) for each in segments}


def _age(file: BinlogFile) -> tuple[int, int, str]:
    # The number of a file has six digits until it needs seven.
    return file.created, len(file.file), file.file
