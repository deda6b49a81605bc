"""How a shard's archive stands, from the store and from its source: also while an archiver runs elsewhere."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from backup.archive.course import unended
from backup.archive.identity import replica_identity
from backup.archive.place import Place, read_place
from backup.archive.probe import first_commit
from backup.archive.report import (
    ArchivedTransaction,
    ArchiveStatus,
    BranchSeen,
    EpochSeen,
    GapSeen,
    NoteSeen,
    ShardArchiveStatus,
    SourceLag,
    SpoolUse,
    Window,
)
from backup.archive.run import spool_directory
from backup.archive.semisync import judge_semi_sync
from backup.archive.settings import ARCHIVE_PRIVILEGES, judge_privileges, judge_settings, judge_writers
from backup.archive.sources import SourceChoice, Standing, choose_source
from backup.archive.survey import Survey, connector, survey_shard
from backup.archive.waiting import spool_waiting
from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, NotFound, ToolError
from fleet.figures import plural
from fleet.finding import Finding, Level
from fleet.gtid import GtidSet
from fleet.model import Fleet, Shard
from fleet.moments import from_microseconds
from fleet.skew import Skew
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Epoch, Ledger
from repository.archive.line import Line
from repository.archive.reckoning import Gap
from repository.archive.window import Base, recoverable, uncovered
from repository.catalog import Catalog
from repository.marks import Marks
from repository.repository import Repository
from wire.admin import missing_privileges
from wire.binlog.dump import DumpOptions, StartAt
from wire.binlog_admin import (
    SemiSyncState,
    binlog_files,
    binlog_settings,
    connected_replicas,
    semi_sync_state,
)

LASTING = ("fell-to-async",)
"""Kinds of notes that say when they ended; the others tell of a moment."""


class _Source(NamedTuple):
    """What the source says. ``followers``: uuids of those that receive from it; None if it does not say."""

    choice: SourceChoice
    executed: GtidSet
    semi_sync: SemiSyncState | None
    followers: frozenset[str] | None


class _Asked(NamedTuple):
    """All servers were asked. ``unanswered`` is there instead of a ``source`` that could be chosen."""

    survey: Survey
    source: _Source | None
    settings: tuple[Finding, ...]
    unanswered: Finding | None = None

    @property
    def findings(self) -> list[Finding]:
        return [*self.settings, *([self.unanswered] if self.unanswered else [])]


class ArchiveLook(NamedTuple):
    """One look at a shard's archive: its status, and what that was made of.

    ``line`` saves the next look its reading; None while there is no epoch. ``uncovered``: gaps behind which
    no backup leads on. ``settings``: findings of the servers; ``unanswered``: why none can be the source;
    ``falls``: falls to async that go on. ``is_followed``: an archiver of this repository receives from the
    source now, wherever it runs; None where that could not be asked.
    """

    status: ShardArchiveStatus
    line: Line | None
    survey: Survey
    uncovered: tuple[Gap, ...]
    settings: tuple[Finding, ...]
    unanswered: Finding | None
    falls: tuple[Finding, ...]
    is_followed: bool | None


def archive_status(
    fleet: Fleet, repository: Repository, shards: Sequence[str] = (), *, clock: Clock | None = None
) -> ArchiveStatus:
    """The named shards, or all. Raises what the store raises; a server that does not answer is a finding."""
    clock = clock or SystemClock()
    chosen = [fleet.shard(name) for name in shards] or list(fleet.shards)
    return ArchiveStatus(
        clock.now(), tuple(shard_status(fleet, shard, repository, clock) for shard in chosen)
    )


def shard_status(fleet: Fleet, shard: Shard, repository: Repository, clock: Clock) -> ShardArchiveStatus:
    """One shard. Raises what the store raises."""
    marked = Marks(repository).all(shard.name)
    kept = [each for each in Catalog(repository).manifests(shard.name) if each.backup not in marked]
    return look_at_archive(fleet, shard, repository, clock, [Base.of(manifest) for manifest in kept]).status


def look_at_archive(
    fleet: Fleet,
    shard: Shard,
    repository: Repository,
    clock: Clock,
    bases: Sequence[Base],
    *,
    known: Line | None = None,
) -> ArchiveLook:
    """The archive as ``bases``, the backups that count, lead into it; ``known`` is the line of an older look.

    The source is asked first: what it has and the store then lacks is certainly behind. Raises what the store
    raises.
    """
    archive = ShardArchive(repository, shard.name)
    before = archive.epochs()
    place = read_place(archive, before)
    asked = _ask_source(fleet, shard, place.standing if place else None, clock)
    source = asked.source
    epochs = archive.epochs(before)
    line = _line(archive, epochs, known)
    lag, scope = None, (repository.repository_id, shard.name)
    if source is not None:
        missing = _missing(source, line)
        since = _missing_since(fleet, source.choice, place, missing, scope=scope, clock=clock)
        lag = _lag(source, missing, since, fleet, clock.now())
    windows = tuple(Window(*each) for each in recoverable(line, bases)) if line else ()
    open_notes = _open_notes(archive, epochs)
    settings, unanswered = _as_grave(asked)
    gaps = uncovered(line, bases) if line is not None else ()
    falls = judge_falls(shard.name, fleet.archive.mode, lag, open_notes, epoch=len(epochs))
    files = [file for epoch in epochs for file in archive.files(epoch.epoch)]
    segments = [ref for file in files for ref in (*file.segments, *file.spare)]
    status = ShardArchiveStatus(
        shard=shard.name,
        mode=fleet.archive.mode,
        epoch=_epoch_seen(epochs[-1]) if epochs else None,
        last=_last(line),
        lag=lag,
        spool=_spool(fleet, repository, archive),
        window=windows[-1] if windows else None,
        windows=windows,
        backups=len(bases),
        gaps=_gaps(line) if line else (),
        branches=_branches(line) if line else (),
        open_notes=open_notes,
        files=len(files),
        segments=len(segments),
        stored_bytes=sum(ref.size for ref in segments),
        findings=(
            *settings,
            *([unanswered] if unanswered else []),
            *judge_gaps(shard.name, gaps),
            *falls,
        ),
    )
    followed = _is_followed(source, replica_identity(*scope, fleet.archive.server_id).replica_uuid)
    return ArchiveLook(status, line, asked.survey, gaps, settings, unanswered, tuple(falls), followed)


def _as_grave(asked: _Asked) -> tuple[tuple[Finding, ...], Finding | None]:
    """Findings of the servers, and why none can be the source; if none can, they are what is in the way."""
    if asked.unanswered is None:
        return asked.settings, None
    settings = tuple(replace(finding, level=Level.FAIL) for finding in asked.settings)
    return settings, replace(asked.unanswered, level=Level.FAIL)


def _is_followed(source: _Source | None, archiver: str) -> bool | None:
    return None if source is None or source.followers is None else archiver in source.followers


def judge_gaps(shard: str, gaps: Iterable[Gap]) -> list[Finding]:
    """Gaps that no backup closes: what comes behind them cannot be recovered. Pure."""
    return [
        Finding(
            Level.FAIL,
            f"shard {shard}",
            f"{plural(gap.missing.count(), 'transaction')} before {gap.before.file} missing in the archive, "
            "and in every backup: nothing behind that gap can be recovered",
            f"Take a backup now: backstay backup full {shard}",
        )
        for gap in gaps
    ]


def judge_falls(
    shard: str, mode: str, lag: SourceLag | None, notes: Iterable[NoteSeen], *, epoch: int
) -> list[Finding]:
    """A fall to async that goes on in the newest epoch; those of older ones are history. Pure."""
    if mode == "async" or (lag is not None and lag.mode_holds):
        return []
    return [
        Finding(
            Level.FAIL,
            f"shard {shard}",
            f"commits are not {mode} since {note.at:%Y-%m-%d %H:%M:%S} UTC: {note.text}",
            f"See that its archiver runs, and reaches its source: backstay archive run {shard}",
        )
        for note in notes
        if note.epoch == epoch and note.kind == "fell-to-async"
    ]


def spool_use(fleet: Fleet, repository_id: str, shard: str) -> SpoolUse:
    """What lies in this machine's spool, stored already or not: cheap, for a look now and then."""
    directory: Path = spool_directory(fleet, repository_id, shard)
    sizes: list[int] = []
    for path in directory.glob("*.spool"):
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            # An archiver that runs here has stored it in this moment.
            continue
    return SpoolUse(str(directory), len(sizes), sum(sizes), fleet.archive.spool_max_bytes)


def _spool(fleet: Fleet, repository: Repository, archive: ShardArchive) -> SpoolUse:
    """What waits in this machine's spool; all that lies there, if this account may not read it."""
    shard, scope = archive.shard, repository.repository_id
    use = spool_use(fleet, scope, shard)
    if not use.files:
        return use
    try:
        waiting = spool_waiting(
            Path(use.directory), archive, Ledger(repository, shard).key, f"{scope}/{shard}"
        )
    except Cancelled:
        raise
    except ToolError:
        return use
    return replace(use, files=waiting.files, bytes=waiting.bytes)


def check_archive(fleet: Fleet, shard: Shard) -> list[Finding]:
    """What stands in the way of archiving this shard, asked of its servers alone."""
    return _ask_source(fleet, shard, None, SystemClock()).findings


def _ask_source(fleet: Fleet, shard: Shard, standing: Standing | None, clock: Clock) -> _Asked:
    survey = survey_shard(shard, fleet.accounts.for_archive, clock)
    split = judge_writers(shard.name, survey.seen)
    try:
        choice = choose_source(
            shard.name, survey.seen, survey.unseen, prefer=fleet.archive.source, standing=standing
        )
        with closing(connector(choice.source.server, fleet.accounts.for_archive)()) as session:
            name = choice.source.name
            semi_sync = semi_sync_state(session)
            missing = missing_privileges(session, ARCHIVE_PRIVILEGES)
            settings = [
                *split,
                *judge_privileges(name, missing),
                *judge_settings(name, binlog_settings(session)),
                *judge_semi_sync(name, fleet.archive.mode, semi_sync),
            ]
            if not binlog_files(session):
                settings.append(Finding(Level.FAIL, f"server {name}", "lists no binlog file"))
            # Who may not replicate may not ask who does; that is a finding already.
            followers = None if missing else frozenset(each.uuid for each in connected_replicas(session))
    except Cancelled:
        raise
    except ToolError as error:
        unanswered = Finding(Level.WARN, f"shard {shard.name}", error.message, error.hint)
        return _Asked(survey, None, tuple(split), unanswered)
    source = _Source(choice, choice.source.executed, semi_sync, followers)
    return _Asked(survey, source, tuple(settings))


def _line(archive: ShardArchive, epochs: Sequence[Epoch], known: Line | None) -> Line | None:
    try:
        return Line.of(archive, known=known, epochs=epochs)
    except NotFound:
        return None


def _last(line: Line | None) -> ArchivedTransaction | None:
    entry = line.last() if line else None
    if entry is None:
        return None
    return ArchivedTransaction(entry.transaction.gtid, from_microseconds(entry.transaction.committed_at_us))


def _missing(source: _Source, line: Line | None) -> GtidSet:
    """Executed at the source, and neither archived nor lost for good."""
    have = line.gtids | line.first_gtids | line.skipped if line else GtidSet()
    missing = source.executed - have
    for gap in line.gaps if line else ():
        missing = missing - gap.missing
    return missing


def _missing_since(
    fleet: Fleet,
    choice: SourceChoice,
    place: Place | None,
    missing: GtidSet,
    *,
    scope: tuple[str, str],
    clock: Clock,
) -> datetime | None:
    """When the oldest of them was committed, as the source's binlog says behind what is archived of it."""
    end = place.newest.get(choice.source.uuid) if place else None
    if not missing or end is None:
        return None
    # Not the archiver's own uuid: a second dump of that one would end the archiver's.
    identity = replica_identity(scope[0], f"{scope[1]}/status")
    options = DumpOptions(identity.server_id, str(uuid.uuid4()), report_host="backstay-status")
    start = StartAt(end.file.file, end.end, end.file.created)
    try:
        connect = connector(choice.source.server, fleet.accounts.for_archive)
        at = first_commit(connect, options, start, missing, clock)
    except Cancelled:
        raise
    except ToolError:
        # It lacks the privilege, or the file is gone: then the age is not known, and the number says enough.
        return None
    return from_microseconds(at) if at else None


def _lag(source: _Source, missing: GtidSet, since: datetime | None, fleet: Fleet, now: datetime) -> SourceLag:
    count = missing.count()
    # It was the source's clock that dated the commit: by that one it is as old as it is.
    clock = source.choice.source.clock or Skew(0.0, 0.0)
    seconds = 0.0 if not count else clock.age_seconds(since, now) if since else None
    sync = source.semi_sync
    holds = None if fleet.archive.mode == "async" else sync is not None and sync.is_on and sync.clients > 0
    return SourceLag(source.choice.source.name, count, seconds, holds)


def _epoch_seen(epoch: Epoch) -> EpochSeen:
    return EpochSeen(epoch.epoch, epoch.reason, epoch.server_name or epoch.server_uuid, epoch.opened_at)


def _gaps(line: Line) -> tuple[GapSeen, ...]:
    return tuple(GapSeen(gap.missing.one_line(), gap.missing.count(), gap.before.file) for gap in line.gaps)


def _branches(line: Line) -> tuple[BranchSeen, ...]:
    return tuple(
        BranchSeen(branch.epoch, branch.gtids.one_line(), branch.gtids.count()) for branch in line.branches
    )


def _open_notes(archive: ShardArchive, epochs: Sequence[Epoch]) -> tuple[NoteSeen, ...]:
    """What goes on: notes of lasting things that no later note ended."""
    found: list[NoteSeen] = []
    for epoch in epochs:
        by_kind: dict[str, list[NoteSeen]] = defaultdict(list)
        for note in archive.notes(epoch.epoch):
            if note.kind in LASTING:
                by_kind[note.kind].append(NoteSeen(epoch.epoch, note.kind, note.at, note.ended_at, note.text))
        for notes in by_kind.values():
            found += unended(notes)
    return tuple(found)
