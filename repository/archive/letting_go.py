"""Which archived binlog files may go, since nothing promised leads through them. Pure (FORMAT.md, 14.9)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from fleet.gtid import GtidSet
from fleet.moments import from_microseconds, microseconds
from repository.archive.line import Line
from repository.archive.reckoning import LinePart, union
from repository.layout import BinlogFile


@dataclass(frozen=True, slots=True)
class FreeFile:
    """A binlog file that may go. Times are its earliest and latest commit, None if it holds none."""

    name: BinlogFile
    first_at: datetime | None
    last_at: datetime | None
    stored_bytes: int
    segments: int


def free_files(
    line: Line, lows: Sequence[GtidSet], before: datetime, edge: datetime | None = None
) -> tuple[FreeFile, ...]:
    """The files that may go, in the order of the line: whole files, up to the first that must stay.

    ``lows``: what each backup that has to lead to points holds for sure, and what each lease has already.
    ``before``: where the recovery window begins; a file goes when its last commit is older. ``edge``: the
    first moment that is promised, where that is earlier: the archive that is left must have begun by then, or
    a moment between two transactions could not be named any more. The last file of the line stays, and the
    last of each server in the newest epoch: an archiver goes on there. Without ``lows`` nothing is free: no
    backup leads anywhere, and the archive may be all that there is.
    """
    if not lows:
        return ()
    by_file = _parts_by_file(line)
    kept = _goes_on_in(line)
    begin: list[FreeFile] = []
    for name, parts in by_file.items():
        wanted = union(part.wanted for part in parts)
        if name in kept or not _is_older(parts, before) or not all(wanted <= low for low in lows):
            break
        begin.append(_free(name, parts))
    # What is left must begin with transactions that each of them holds: a gap may lie at the edge.
    names = list(by_file)
    astray = union(branch.gtids for branch in line.branches) | line.skipped
    while begin:
        before_it = by_file[names[len(begin)]][0].header.previous_set - astray
        is_told = _is_whole(by_file[begin[-1].name]) and not line.found[begin[-1].name].damages
        has_begun = names[len(begin)].created <= min(edge or before, before).timestamp()
        if is_told and has_begun and all(before_it <= low for low in lows):
            break
        begin.pop()
    return tuple(begin)


def line_without(line: Line, gone: Collection[BinlogFile]) -> Line:
    """The line as it would be: read from what is left alone, with what was seen of it."""
    left = [file for name, file in line.found.items() if name not in gone]
    return Line(line.archive, line.epochs, left)


def _parts_by_file(line: Line) -> dict[BinlogFile, list[LinePart]]:
    """In the order of the line."""
    found: dict[BinlogFile, list[LinePart]] = {file.name: [] for file in line.files}
    for part in line.parts:
        found[part.file].append(part)
    return found


def _goes_on_in(line: Line) -> set[BinlogFile]:
    """Where an archiver may go on."""
    names = [file.name for file in line.files]
    newest = {
        name.server_uuid: name
        for name in sorted(names, key=lambda each: (each.created, len(each.file), each.file))
        if name.epoch == line.epoch.epoch
    }
    return {*newest.values(), *names[-1:]}


def _is_older(parts: Iterable[LinePart], before: datetime) -> bool:
    latest = _latest_us(parts)
    return latest is None or latest < microseconds(before)


def _latest_us(parts: Iterable[LinePart]) -> int | None:
    """Of all that the file holds: what lies on a branch can be looked at for as long as the window."""
    times = [part.header.last_at_us for part in parts if part.header.last_at_us is not None]
    return max(times, default=None)


def _is_whole(parts: Sequence[LinePart]) -> bool:
    """Where bytes are missing nobody knows when the last of them was committed: the next file tells."""
    begins_at_0 = parts[0].part.first == 0
    return begins_at_0 and all(one.part.last == other.part.first for one, other in pairwise(parts))


def _free(name: BinlogFile, parts: Sequence[LinePart]) -> FreeFile:
    firsts = [part.header.first_at_us for part in parts if part.header.first_at_us is not None]
    latest = _latest_us(parts)
    segments = {part.part.segment for part in parts}
    return FreeFile(
        name,
        from_microseconds(min(firsts)) if firsts else None,
        from_microseconds(latest) if latest is not None else None,
        sum(segment.size for segment in segments),
        len(segments),
    )
