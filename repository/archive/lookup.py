"""What the archive holds of binlog files: headers read, damaged segments put aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fleet.errors import ObjectDamaged, ObjectMissing
from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile, Part, cover
from repository.archive.reckoning import Damaged, FoundFile, FoundPart
from repository.archive.segment import SegmentHeader
from repository.askers import Askers
from repository.layout import BinlogFile

_LISTINGS = 3


def look_up(
    archive: ShardArchive, files: Sequence[ArchivedFile], known: Mapping[BinlogFile, FoundFile]
) -> list[FoundFile]:
    """The files with what their segments say of themselves. ``known``: what was read before."""
    with Askers("headers") as askers:
        return [_look_up_file(archive, file, known.get(file.name), askers) for file in files if file.parts]


def check_ends(found: Iterable[FoundFile]) -> None:
    """Raise ``ObjectDamaged`` for a damaged segment that nothing follows.

    Elsewhere what comes later tells which transactions are missing: a gap. At the end of a line nobody could
    tell, and the line would only seem to end earlier.
    """
    files = list(found)
    for file in files:
        for segment, error in file.damages:
            is_held = any(each.part.last >= segment.end for each in file.parts)
            if not is_held and not any(_is_later(other, file) for other in files):
                raise error


def _is_later(other: FoundFile, file: FoundFile) -> bool:
    if not other.parts or other.name.epoch != file.name.epoch:
        return bool(other.parts) and other.name.epoch > file.name.epoch
    if other.name.server_uuid != file.name.server_uuid:
        return False
    return _age(other.name) > _age(file.name)


def _age(name: BinlogFile) -> tuple[int, int, str]:
    return name.created, len(name.file), name.file


def _look_up_file(
    archive: ShardArchive, file: ArchivedFile, known: FoundFile | None, askers: Askers
) -> FoundFile:
    """All parts of a file. Pieces that were composed since the file was listed: list it again."""
    if known is not None and known.listed == file.parts:
        return known
    headers = {each.part.segment.name: each.header for each in known.parts} if known else {}

    def look(part: Part) -> SegmentHeader | Damaged:
        try:
            return headers.get(part.segment.name) or archive.header(part.segment)
        except ObjectDamaged as error:
            return Damaged(part.segment, error)

    damages: list[Damaged] = []
    attempt = 0
    while True:
        try:
            looked = list(askers.answers(look, file.parts))
            if damaged := [each for each in looked if isinstance(each, Damaged)]:
                damages += damaged
                file = _without(file, damages)
                continue
            sound = [each for each in looked if isinstance(each, SegmentHeader)]
            return FoundFile(file.name, tuple(_found_parts(archive, file, sound)), tuple(damages))
        except ObjectMissing:
            file = _without(archive.file(file.name), damages)
            attempt += 1
            if attempt == _LISTINGS or not file.parts:
                raise


def _without(file: ArchivedFile, damages: Iterable[Damaged]) -> ArchivedFile:
    """The file as its other segments cover it, those included that were spare."""
    return cover(file.name, {*file.segments, *file.spare} - {each.segment for each in damages})


def _found_parts(
    archive: ShardArchive, file: ArchivedFile, headers: Sequence[SegmentHeader]
) -> Iterator[FoundPart]:
    """Headers alone as a rule; an index where some of a segment's transactions do not count.

    Those do not whose last byte another part holds, and those that begin before the end of a hole.
    """
    edges = {last for _, last in file.holes}
    edge, is_behind_hole = 0, False
    for part, header in zip(file.parts, headers, strict=True):
        if part.first in edges:
            edge, is_behind_hole = part.first, True
        if part.first == part.segment.start and not is_behind_hole:
            yield FoundPart(part, header, header.own_set, edge, GtidSet())
            continue
        columns = archive.index(part.segment)
        rows = columns.rows_ending(part.first, part.last)
        good = next((row for row in rows if columns.starts[row] >= edge), rows.stop)
        if good < rows.stop and is_behind_hole:
            edge, is_behind_hole = columns.starts[good], False
        lost = columns.gtids(range(rows.start, good))
        yield FoundPart(part, header, columns.gtids(range(good, rows.stop)), edge, lost)
