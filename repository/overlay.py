"""Which record holds each page of a backup, through all links of its chain (FORMAT.md, section 13). Pure.

Links are gone through from the newest to the oldest, and within a link from the last stage to the first: what
is claimed first is what counts. So what comes out is disjoint, and each page is fetched and written once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fleet.blocks import Stage
from repository.chain import Chain, ChainPart, Space, other_page_size, space_of, spaces_of
from repository.index import IndexPart, Record
from repository.manifest import FileEntry
from repository.pagemap import ByteRuns, PageMap, Run
from repository.seal import damaged

__all__ = ["Overlay", "PageMap", "Pass", "Space"]


class Pass(NamedTuple):
    """One stage of one link, and the index parts that may hold records of it."""

    link: int
    stage: Stage
    parts: tuple[ChainPart, ...]


class _Target(NamedTuple):
    """Where the records of a link's file go, up to ``size``, the smallest of this and all newer links.

    ``own_size`` is what the file has in its own link. Bytes.
    """

    number: int
    space: Space | None
    page_size: int
    size: int
    own_size: int


class Overlay:
    """The newest record of every page. Not thread-safe.

    Go through ``passes`` in their order, and through the parts of each in any; what ``records`` yields over
    all of them is disjoint, so it may be carried out in any order. Memory: a bit for each page.
    """

    def __init__(
        self, chain: Chain, files: Mapping[int, FileEntry] | None = None, claimed: PageMap | None = None
    ) -> None:
        """``files`` are those of the newest link, by number; with a subset nothing else is looked at.

        They may also be tablespace files of a backup that builds on this one: records then bear its numbers,
        and end at its sizes. ``claimed`` are pages that are wanted no more; it is this overlay's from now on.
        Raises ``ObjectDamaged``.
        """
        if files is None:
            files = {entry.number: entry for entry in chain.newest.files}
        self.map = claimed or PageMap()
        self._files = files
        self._runs: dict[int, ByteRuns] = {}
        self._is_alone = len(chain.links) == 1
        self._tables = list(_tables(chain, files))
        self.passes = tuple(_passes(chain))

    def records(self, pass_: Pass, part: ChainPart, index: IndexPart) -> Iterator[Record]:
        """What is still wanted of ``part`` in this pass, cut to that and to the sizes of the files.

        ``file`` is the number in ``files``, ``pack`` a position in ``index.packs``, and ``digest`` is empty
        where the record was cut. Raises ``ObjectDamaged``.
        """
        table = self._tables[part.link]
        for record in index.records(pass_.stage):
            target = table.get(record.file)
            if target is None:
                continue
            runs = self._claim(index, record, target)
            if len(runs) == 1 and runs[0][1] == record.length and record.file == target.number:
                yield record
            else:
                yield from _cut(record, target.number, runs)

    def gaps(self, file: int) -> Iterator[Run]:
        """The runs of the file, as offset and length, that no record of the passes so far covers: zeros."""
        entry = self._files[file]
        if entry.space_id is not None and entry.page_size:
            return self.map.gaps(space_of(entry), entry.page_size, entry.size)
        return self._runs.get(file, ByteRuns()).gaps(entry.size)

    def _claim(self, index: IndexPart, record: Record, target: _Target) -> list[Run]:
        _, _, offset, length, *_ = record
        number, space, page_size, size, own_size = target
        if offset + length > size:
            if offset + length > own_size:
                raise damaged(index.name, f"a record lies beyond the end of file {record.file}")
            length = max(0, size - offset)
        if space is None:
            runs = self._runs.get(number)
            if runs is None:
                runs = self._runs[number] = ByteRuns()
            return runs.claim(offset, length)
        if (offset % page_size or record.length % page_size) and not self._is_alone:
            raise damaged(index.name, f"a record of file {record.file} does not hold whole pages")
        return self.map.claim(space, page_size, offset, length)


def _passes(chain: Chain) -> Iterator[Pass]:
    for link in range(len(chain.links)):
        parts = tuple(part for part in chain.parts if part.link == link)
        # The redo of older links leads to states that nobody wants any more.
        stages = (Stage.PAGE, Stage.FILE) if link else (Stage.REDO, Stage.PAGE, Stage.FILE)
        yield from (Pass(link, stage, parts) for stage in stages)


def _tables(chain: Chain, files: Mapping[int, FileEntry]) -> Iterator[dict[int, _Target]]:
    """For each link, by its own file numbers: where the records go of each file that is still there."""
    plain = {number: entry for number, entry in files.items() if entry.space_id is None}
    spaces = {space_of(entry): entry for entry in files.values() if entry.space_id is not None}
    reach = {space: entry.size for space, entry in spaces.items()}
    for link in chain.links:
        table = {
            own.number: _Target(own.number, None, 0, plain[own.number].size, own.size)
            for own in link.files
            if own.number in plain and own.space_id is None
        }
        # Only the newest link has a say in files that are no tablespaces.
        plain = {}
        found = spaces_of(link)
        # A link that does not have the file, or a shorter one, hides what older ones have of it.
        reach = {space: min(size, found[space].size) for space, size in reach.items() if space in found}
        for space, size in reach.items():
            own, entry = found[space], spaces[space]
            if own.page_size != entry.page_size:
                raise other_page_size(link, own, entry)
            named = space if entry.page_size else None
            table[own.number] = _Target(entry.number, named, entry.page_size or 0, size, own.size)
        yield table


def _cut(record: Record, number: int, runs: list[Run]) -> Iterator[Record]:
    for offset, length in runs:
        if length == record.length:
            yield record if number == record.file else Record(record[0], number, *record[2:])
            continue
        skip = record.skip + offset - record.offset
        yield Record(record.stage, number, offset, length, *record[4:8], skip, b"")
