"""How the mirror stands: what of each shard it has, and what would be lost with the repository now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from backup.archive.place import read_place
from backup.mirror.findings import last_error, newer_in_mirror, unasked
from backup.mirror.journal import EVERYTHING, Journal
from backup.mirror.kept import KeptBinlogs
from backup.mirror.report import ArchiveBehind, BackupsBehind, MirrorStatus, ShardMirrorStatus
from fleet.clock import Clock
from fleet.errors import ToolError
from fleet.finding import Finding
from fleet.model import Fleet
from fleet.moments import from_microseconds
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile, Part
from repository.layout import BackupName, BinlogFile
from repository.mirror.places import Places
from repository.mirror.round import Looker, Seen, backups_in
from repository.repository import Repository


def mirror_status(
    fleet: Fleet,
    places: Places,
    shard_names: Sequence[str],
    *,
    clock: Clock,
    journal: Journal | None = None,
) -> MirrorStatus:
    """Of the named shards, or of all. Reads only. Raises ``NotFound`` and what the stores raise."""
    assert fleet.mirror is not None
    policy = fleet.mirror.retention or fleet.retention
    journal = journal or Journal.of(places.source.repository_id)
    seen = Looker(places, policy).look(clock.now())
    shards = _shards(fleet, seen.here | seen.there, shard_names)
    return _status(
        clock,
        (places.source.store.describe(), places.mirror.store.describe()),
        [
            ShardMirrorStatus(
                shard,
                _backups(seen, shard),
                _archive(
                    places,
                    shard,
                    KeptBinlogs(ShardArchive(places.source, shard), policy, lambda: seen, clock),
                    clock,
                ),
                journal.last(shard),
            )
            for shard in shards
        ],
        journal,
        newer_in_mirror(places, seen),
    )


def mirror_alone(
    fleet: Fleet,
    mirror: Repository,
    shard_names: Sequence[str],
    away: ToolError,
    *,
    clock: Clock,
    journal: Journal | None = None,
) -> MirrorStatus:
    """What the mirror has, where ``away`` keeps us from asking the repository. Raises as the other."""
    there = backups_in(mirror)
    journal = journal or Journal.of(mirror.repository_id)

    def archive(shard: str) -> ArchiveBehind | None:
        found = ShardArchive(mirror, shard)
        return ArchiveBehind(None, _last_commit(found), None, None) if found.epochs() else None

    return _status(
        clock,
        (fleet.repository.url, mirror.store.describe()),
        [
            ShardMirrorStatus(
                shard,
                BackupsBehind(None, _newest(there, shard), None, None),
                archive(shard),
                journal.last(shard),
            )
            for shard in _shards(fleet, there, shard_names)
        ],
        journal,
        [unasked(fleet.repository.url, away)],
    )


def _status(
    clock: Clock,
    places: tuple[str, str],
    shards: Sequence[ShardMirrorStatus],
    journal: Journal,
    findings: Iterable[Finding],
) -> MirrorStatus:
    everything = journal.last(EVERYTHING)
    told = [*findings, *last_error(EVERYTHING, everything)]
    told += [finding for each in shards for finding in last_error(each.shard, each.last_error)]
    return MirrorStatus(clock.now(), *places, tuple(shards), everything, tuple(told))


def _shards(fleet: Fleet, stored: Collection[BackupName], names: Sequence[str]) -> list[str]:
    """Those that were asked for, or all; one that left the fleet too. Raises ``NotFound``."""
    known = {name.shard for name in stored}
    asked = [name if name in known else fleet.shard(name).name for name in names]
    return asked or sorted({*known, *(shard.name for shard in fleet.shards)})


def _backups(seen: Seen, shard: str) -> BackupsBehind:
    to_copy = [seen.known[name] for name in seen.copy if name.shard == shard]
    return BackupsBehind(
        _newest(seen.here, shard),
        _newest(seen.there, shard),
        len(to_copy),
        sum(each.summary.stored_bytes for each in to_copy),
        min((each.summary.finished_at for each in to_copy), default=None),
    )


def _newest(names: Iterable[BackupName], shard: str) -> str | None:
    return max((name.label for name in names if name.shard == shard), default=None)


def _archive(places: Places, shard: str, kept: KeptBinlogs, clock: Clock) -> ArchiveBehind | None:
    # The mirror first: what comes to it meanwhile counts as missing, which errs on the safe side.
    mirror, source = ShardArchive(places.mirror, shard), ShardArchive(places.source, shard)
    there = {file.name: file for epoch in mirror.epochs() for file in mirror.files(epoch.epoch)}
    last_there = _last_commit(mirror)
    if not (epochs := source.epochs()):
        return None
    files = [file for epoch in epochs for file in source.files(epoch.epoch)]
    left_out = kept.left_out([file.name for file in files if file.name not in there])
    behind = [file for file in files if file.name not in left_out and file.end > _end(there, file)]
    oldest = min(
        (at for file in behind if (at := _first_commit_behind(source, file, _end(there, file)))),
        default=None,
    )
    return ArchiveBehind(
        _last_commit(source),
        last_there,
        max(0.0, (clock.now() - oldest).total_seconds()) if oldest else 0.0,
        sum(file.end - _end(there, file) for file in behind),
    )


def _end(there: dict[BinlogFile, ArchivedFile], file: ArchivedFile) -> int:
    return there[file.name].end if file.name in there else 0


def _last_commit(archive: ShardArchive) -> datetime | None:
    place = read_place(archive)
    times = [end.header.last_at_us for end in place.newest.values()] if place else []
    newest = max((at for at in times if at is not None), default=None)
    return from_microseconds(newest) if newest is not None else None


def _first_commit_behind(archive: ShardArchive, file: ArchivedFile, end: int) -> datetime | None:
    """The first commit that ends behind byte ``end`` of the file; None if none does."""
    for part in file.parts:
        if part.last > end:
            rest = Part(part.segment, max(part.first, end), part.last)
            for columns, rows in archive.index_of(rest):
                if found := columns.transactions(rows):
                    return from_microseconds(min(each.committed_at_us for each in found))
    return None
