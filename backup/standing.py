"""Does a replica's GTID set tell what its data holds? Pure but for what it is given to read.

RESET BINARY LOGS AND GTIDS empties the executed set and leaves the data; replication may go on. A backup of
such a server would be restored with transactions replayed on it that it holds already, and no proof by GTID
sets would see it: so no kind of backup is taken of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from backup.plan import Candidate
from fleet.clock import Clock
from fleet.errors import Cancelled, ToolError
from fleet.finding import Finding, Level
from fleet.gtid import GtidSet, Interval, Origin
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.repository import Repository

READS = 3
"""How often a set is read until its holes count: workers that apply side by side close theirs at once."""

PAUSE_SECONDS = 0.7
_READERS = 8
_SHOWN = 200
_NOTHING = GtidSet()
_WAY_OUT = (
    "Was RESET BINARY LOGS AND GTIDS run there? SET GLOBAL gtid_purged to all that it really holds, or "
    "rebuild the replica."
)


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup of the shard says of the server that it was copied from: at ``lsn`` it held ``gtids``."""

    label: str
    server_uuid: str
    redo_log_uuid: int | None
    lsn: int
    gtids: GtidSet

    @classmethod
    def of(cls, manifest: Manifest) -> Copied:
        return cls(
            manifest.label,
            manifest.donor.server_uuid,
            manifest.lsn.log_uuid,
            manifest.lsn.end,
            GtidSet.parse(manifest.gtid.low),
        )


def copied_before(repository: Repository, shard: str) -> tuple[Copied, ...]:
    """Of all backups of the shard that can be read, oldest first. Raises what a retry can cure."""
    if repository.keys.why_nothing_opens():
        return ()
    catalog = Catalog(repository)

    def read(name: BackupName) -> Copied | None:
        try:
            return Copied.of(catalog.read_manifest(name))
        except ToolError as error:
            if error.retryable or isinstance(error, Cancelled):
                raise
            return None

    listed = (layout.parse_manifest(info.key) for info in repository.store.list(layout.manifests(shard)))
    names = sorted(name for name in listed if name is not None)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="manifests") as readers:
        return tuple(found for found in readers.map(read, names) if found is not None)


def believed(
    candidates: Sequence[Candidate], before: Callable[[], Iterable[Copied]]
) -> tuple[Candidate, ...]:
    """The candidates; a replica that lacks what a backup of its data holds is not fit any more.

    Only what the primary still has counts: where that lost it too, the whole shard's history was begun anew.
    ``before`` is asked only if there is a replica to judge.
    """
    if not any(candidate.is_replica and candidate.is_fit for candidate in candidates):
        return tuple(candidates)
    known = tuple(before())
    return tuple(_judged(each, known, _history(each, candidates)) for each in candidates)


def closed_holes(
    candidates: Sequence[Candidate], read: Callable[[Candidate], GtidSet], clock: Clock
) -> tuple[Candidate, ...]:
    """The candidates; a replica whose set has holes against the primary's is not fit any more.

    A hole: the primary has it, and the replica has a later one of the same origin. ``read`` asks a replica
    for its set again, up to ``READS`` times in all.
    """
    open_ = {
        number: missing
        for number, each in enumerate(candidates)
        if each.is_replica and each.is_fit and (missing := holes(each.executed, _history(each, candidates)))
    }
    for _ in range(READS - 1):
        if not open_:
            break
        clock.sleep(PAUSE_SECONDS)
        open_ = {number: left for number, was in open_.items() if (left := was - read(candidates[number]))}
    return tuple(
        _unfit(each, f"its gtid_executed has holes against the primary's: {_told(open_[number])}")
        if number in open_
        else each
        for number, each in enumerate(candidates)
    )


def holes(executed: GtidSet | None, history: GtidSet) -> GtidSet:
    """What ``history`` has and ``executed`` lacks, below the last that it has of the same origin and tag."""
    if executed is None:
        return _NOTHING
    below = GtidSet(
        Origin(uuid, tag, (Interval(1, intervals[-1].last),)) for uuid, tag, intervals in executed
    )
    return (history & below) - executed


def _judged(candidate: Candidate, known: Iterable[Copied], history: GtidSet) -> Candidate:
    executed = candidate.executed
    if not candidate.is_replica or not candidate.is_fit or executed is None:
        return candidate
    for copied in known:
        if _same_data(candidate, copied) and (lost := _still_there(copied.gtids - executed, history)):
            return _unfit(
                candidate,
                f"its gtid_executed lacks {_told(lost)}, which its data holds: "
                f"{copied.label} was copied from it and has it, and so has the primary",
            )
    return candidate


def _same_data(candidate: Candidate, copied: Copied) -> bool:
    logs = {candidate.redo_log_uuid, copied.redo_log_uuid} - {None}
    return (
        candidate.server_uuid == copied.server_uuid
        and len(logs) <= 1
        and candidate.lsn is not None
        and candidate.lsn >= copied.lsn
    )


def _still_there(lost: GtidSet, history: GtidSet) -> GtidSet:
    """Of ``lost`` the origins of which ``history`` has all: with only some, their numbers are given anew."""
    return GtidSet(origin for origin in lost if GtidSet([origin]) <= history)


def _history(candidate: Candidate, candidates: Iterable[Candidate]) -> GtidSet:
    """What the shard's primary has executed; where none answers, what all others have."""
    others = [each for each in candidates if each is not candidate and each.executed is not None]
    primaries = [each for each in others if not each.is_replica]
    found = _NOTHING
    for each in primaries or others:
        found = found | (each.executed or _NOTHING)
    return found


def _unfit(candidate: Candidate, message: str) -> Candidate:
    finding = Finding(Level.FAIL, f"server {candidate.server.name}", message, _WAY_OUT)
    return replace(candidate, findings=(*candidate.findings, finding))


def _told(gtids: GtidSet) -> str:
    text = gtids.one_line()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
