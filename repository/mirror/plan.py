"""What is to be copied to a mirror, and in which order (FORMAT.md, section 15). Pure: no store, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from fleet.policy import Retention
from repository.archive.cover import ArchivedFile, SegmentRef, cover
from repository.layout import BackupName, SegmentName
from repository.outlines import Outline
from repository.retention import apply_policy


def wanted(
    known: Mapping[BackupName, Outline],
    policy: Retention,
    now: datetime,
    held: Collection[BackupName] = (),
) -> tuple[BackupName, ...]:
    """What the mirror is to hold of all backups that either place has: what its own policy keeps or a hold
    names, and all that these need. The needed before those that need them, else from the oldest on.

    A backup that needs one which neither place has is left out: the mirror never holds half a chain.
    """
    whole = {name for name in known if _is_whole(name, known, set())}
    summaries = [
        each.summary if name in whole else replace(each.summary, broken="what it needs is not there")
        for name, each in known.items()
    ]
    keep = [name for name in apply_policy(summaries, policy, now, held).keep if name in whole]
    needed: set[BackupName] = set()
    for name in keep:
        _is_whole(name, known, needed)
    ordered: dict[BackupName, None] = {}
    for name in sorted(needed, key=lambda name: (name.label, name.shard)):
        _add_with_needs(name, known, ordered)
    return tuple(ordered)


def to_copy(
    known: Mapping[BackupName, Outline],
    *,
    here: Collection[BackupName],
    there: Collection[BackupName],
    going: Collection[BackupName],
    policy: Retention,
    now: datetime,
    held: Collection[BackupName] = (),
) -> tuple[BackupName, ...]:
    """The backups to copy, in order. ``here`` and ``there``: whose manifests the repository and the mirror
    have; ``going``: those that the mirror's own prune is deleting, which come again when that is done;
    ``held``: those that a hold of the repository names.
    """
    return tuple(
        name
        for name in wanted(known, policy, now, held)
        if name in here and name not in there and name not in going
    )


def missing_segments(
    here: ArchivedFile, there: ArchivedFile, damaged: Collection[SegmentName] = ()
) -> Iterator[SegmentRef]:
    """The segments to copy of a binlog file, in the order in which they must come to the mirror.

    They are those that a reader takes now: where segments were composed, the large one and not its pieces.
    None begins behind what the mirror has by then, so that is always a prefix. ``damaged`` ones are passed
    over as readers do; where no other holds their bytes, it ends.
    """
    held = {each.name for each in (*there.segments, *there.spare)}
    readable = [each for each in (*here.segments, *here.spare) if each.name not in damaged]
    end = there.end
    for part in cover(here.name, readable).parts:
        if part.first > end:
            return
        if part.segment.name not in held:
            yield part.segment
        end = max(end, part.last)


def _is_whole(name: BackupName, known: Mapping[BackupName, Outline], met: set[BackupName]) -> bool:
    """Is all that it needs known, down to the end? Adds what was ``met``; what was met before is known."""
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in known:
            return False
        if each not in met:
            met.add(each)
            waiting += known[each].needs
    return True


def _add_with_needs(
    name: BackupName, known: Mapping[BackupName, Outline], ordered: dict[BackupName, None]
) -> None:
    """``name`` behind everything that it needs. Without recursion: a chain may have a thousand links."""
    waiting = [(name, False)]
    met: set[BackupName] = set()
    while waiting:
        each, is_ready = waiting.pop()
        if is_ready:
            ordered.setdefault(each)
        elif each not in ordered and each not in met:
            met.add(each)
            waiting.append((each, True))
            waiting += [(need, False) for need in known[each].needs]
