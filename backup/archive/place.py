"""Where the archive of a shard stands, as the store says: nothing else can be trusted after a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from backup.archive.sources import Standing
from fleet.errors import ObjectMissing
from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile
from repository.archive.ledger import Epoch
from repository.archive.segment import SegmentHeader
from repository.layout import BinlogFile

_LOOKS = 3

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The newest archived file of a server: ``end`` is where its bytes end, ``header`` its last segment's."""

    file: BinlogFile
    end: int
    header: SegmentHeader

    @property
    def executed(self) -> GtidSet:
        """All that was executed at the source when the file had come so far."""
        return self.header.set_before | self.header.own_set


@dataclass(frozen=True, slots=True)
class Place:
    """The newest epoch, and how far it goes.

    ``newest``: by server uuid. ``pieces``: of every file of the epoch, how many segments it lies in.
    ``archived``: all transactions of the line, those included that were executed before its first file.
    ``branches``: what failovers and restores left behind.
    """

    epoch: Epoch
    newest: dict[str, FileEnd]
    pieces: dict[BinlogFile, int]
    archived: GtidSet
    branches: GtidSet = field(default_factory=GtidSet)

    @property
    def standing(self) -> Standing:
        return Standing(self.epoch.server_uuid, self.archived, self.branches)


def read_place(archive: ShardArchive, epochs: Sequence[Epoch] | None = None) -> Place | None:
    """None before the first epoch. ``epochs``: all, where they were read. Raises what the store raises."""
    return looked_again(lambda: _read(archive, epochs))


def looked_again(look: Callable[[], Found]) -> Found:
    """``look`` lists segments and reads some: again, if one is gone by then, for it is composed meanwhile.

    This archiver or another one did that. Raises ``ObjectMissing`` for what stays away.
    """
    for _ in range(_LOOKS - 1):
        with suppress(ObjectMissing):
            return look()
    return look()


def _read(archive: ShardArchive, epochs: Sequence[Epoch] | None) -> Place | None:
    epochs = archive.epochs() if epochs is None else epochs
    if not epochs:
        return None
    epoch = epochs[-1]
    files = archive.files(epoch.epoch)
    last = {file.name.server_uuid: file for file in sorted(files, key=_age) if file.end}
    newest = {uuid: file_end(archive, file) for uuid, file in last.items()}
    archived = epoch.inherited_set
    for end in newest.values():
        archived |= end.executed
    branches = GtidSet()
    for one in epochs:
        # After a reset the numbers are given again: to have them says nothing.
        branches |= GtidSet.parse(one.branch) if one.reason in ("promotion", "restore") else GtidSet()
    return Place(epoch, newest, {file.name: len(file.parts) for file in files}, archived, branches)


def file_end(archive: ShardArchive, file: ArchivedFile) -> FileEnd:
    """``file`` must have its beginning."""
    last = next(part for part in reversed(file.parts) if part.last <= file.end)
    return FileEnd(file.name, file.end, archive.header(last.segment))


def _age(file: ArchivedFile) -> tuple[int, int, str]:
    # The number of a file has six digits until it needs seven.
    return file.name.created, len(file.name.file), file.name.file
