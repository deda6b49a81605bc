"""The line of a shard: its transactions in order, over epochs, servers and files (FORMAT.md, section 10).

Two steps: what the store holds is looked up (``Line.of``), then a pure reckoning says which transactions of
which part belong to the line, once each, and what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from fleet.errors import NotFound
from fleet.gtid import GtidSet
from fleet.moments import from_microseconds
from fleet.transaction import Gtid, Transaction
from repository.archive.archive import ShardArchive
from repository.archive.course import Course
from repository.archive.ledger import Epoch
from repository.archive.lookup import check_ends, look_up
from repository.archive.reckoning import Branch, FoundFile, Gap, LinePart, Reckoning, reckon
from repository.layout import BinlogFile

_FULL_LOOK = 5


class Window(NamedTuple):
    """The earliest and the latest commit time of a line, UTC."""

    first_at: datetime
    last_at: datetime


class Entry(NamedTuple):
    """A transaction of a line. Entries of one line compare by ``part`` and ``transaction.start``."""

    part: int
    file: BinlogFile
    transaction: Transaction


@dataclass(frozen=True)
class LineFile:
    """A binlog file of the line, in order; ``closed`` as its last segment says."""

    name: BinlogFile
    previous_gtids: GtidSet
    end: int
    closed: str | None


class Line:
    """What can be replayed, from the first archived transaction to the last. Immutable, so thread-safe.

    ``parts``: in the line's order, each with the transactions that it gives to the line. ``gtids``: all of
    these. ``first_gtids``: executed before the first file; not in the archive. ``skipped``: numbers that the
    line's servers hold without content, since a restore left them out. ``gaps``, ``branches``: what is
    missing, and what is archived but belongs to a line that ended. ``damages``: segments that say nothing
    any more; what they held is in ``gaps``, unless other segments hold it too.
    """

    def __init__(self, archive: ShardArchive, epochs: Sequence[Epoch], found: Sequence[FoundFile]) -> None:
        self.archive = archive
        self.epochs = tuple(epochs)
        self._found = tuple(found)
        self._reckoning: Reckoning = reckon(self.epochs, [file for file in self._found if file.parts])
        self.damages = tuple(each.error for file in self._found for each in file.damages)
        self.parts: tuple[LinePart, ...] = self._reckoning.parts
        self.gaps: tuple[Gap, ...] = self._reckoning.gaps
        self.branches: tuple[Branch, ...] = self._reckoning.branches
        self.gtids = self._reckoning.gtids
        self.first_gtids = self._reckoning.first_gtids
        self.skipped = self._reckoning.skipped

    @classmethod
    def of(
        cls,
        archive: ShardArchive,
        epoch: int | None = None,
        *,
        known: Line | None = None,
        epochs: Sequence[Epoch] | None = None,
    ) -> Line:
        """The line of ``epoch``, by default of the newest. ``known``: an older look, saves reading again;
        so does ``epochs``: all that there are.

        Raises ``NotFound`` if there is no such epoch, ``ObjectDamaged`` if the last segment tells nothing,
        and what the archive raises.
        """
        epochs = archive.epochs() if epochs is None else epochs
        if not epochs or (epoch is not None and not 1 <= epoch <= len(epochs)):
            raise NotFound(
                f"shard {archive.shard} has {len(epochs)} archived epochs, and no epoch {epoch or 1}",
                hint="Is its archiver running? See: backstay archive status",
            )
        chain = epochs[: epoch or len(epochs)]
        before = known.found if known else {}
        found = [each for member in chain for each in look_up(archive, archive.files(member.epoch), before)]
        check_ends(found)
        return cls(archive, chain, found)

    def grown(self) -> Line:
        """The line after a look at its last file alone: cheap, and blind to new files and epochs."""
        if not self.files:
            return Line.of(self.archive, self.epochs[-1].epoch, known=self)
        name = self.files[-1].name
        now = self.archive.file(name)
        if now.parts == self.found[name].listed:
            return self
        rest = [each for each in self._found if each.name != name]
        found = [*rest, *look_up(self.archive, [now], self.found)]
        check_ends(found)
        return Line(self.archive, self.epochs, found)

    def looked_at_again(self, polls: int) -> Line:
        """The line as it is now, or this very object if nothing was added; ``polls`` counts the looks.

        Most looks are at the open file alone; every fifth is at the whole archive.
        """
        grown = self.grown()
        if grown is not self:
            return grown
        last_is_open = bool(self.files) and self.files[-1].closed is None
        if last_is_open and polls % _FULL_LOOK:
            return self
        newest = Line.of(self.archive, known=self)
        return self if newest.is_like(self) else newest

    def is_like(self, other: Line) -> bool:
        """Was the same seen in the archive?"""
        return self.epochs == other.epochs and [p.part for p in self.parts] == [p.part for p in other.parts]

    @property
    def epoch(self) -> Epoch:
        """The line's own epoch, the last of its chain."""
        return self.epochs[-1]

    @cached_property
    def files(self) -> tuple[LineFile, ...]:
        """All binlog files in the line's order; also those that give it nothing."""
        return tuple(
            LineFile(each.name, each.previous_gtids, each.parts[-1].part.last, each.parts[-1].header.closed)
            for each in self._reckoning.files
        )

    @cached_property
    def found(self) -> Mapping[BinlogFile, FoundFile]:
        """What was read so far, by file."""
        return {file.name: file for file in self._found}

    @cached_property
    def course(self) -> Course:
        """Its parts, added up."""
        return Course.of(self.parts, self.gaps)

    @cached_property
    def window(self) -> Window | None:
        """Earliest and latest commit time; None while there is no transaction."""
        times: list[int] = []
        for number, part in enumerate(self.parts):
            if part.is_whole:
                times += [each for each in (part.first_at_us, part.last_at_us) if each is not None]
            else:
                times += [entry.transaction.committed_at_us for entry in self.entries(number)]
        return Window(from_microseconds(min(times)), from_microseconds(max(times))) if times else None

    def transactions(self, start: Entry | None = None) -> Iterator[Entry]:
        """The line's transactions in order, each once; from ``start`` on, that included."""
        for number in range(start.part if start else 0, len(self.parts)):
            for entry in self.entries(number):
                if start is None or number > start.part or entry.transaction.start >= start.transaction.start:
                    yield entry

    def entries(self, number: int) -> Iterator[Entry]:
        """The transactions that part ``number`` gives to the line."""
        part = self.parts[number]
        if not part.wanted:
            return
        for columns, rows in self.archive.index_of(part.part):
            chosen = rows if part.is_whole else columns.rows_in(part.wanted, rows)
            for row in chosen:
                yield Entry(number, part.file, columns.transaction(row))

    def branch_entries(self, branch: Branch) -> Iterator[Entry]:
        """The transactions of one of ``branches``, in the order in which their server committed them."""
        older = Line.of(self.archive, branch.epoch, known=self)
        for number, part in enumerate(older.parts):
            if part.wanted & branch.gtids:
                for entry in older.entries(number):
                    if entry.transaction.gtid.as_set() <= branch.gtids:
                        yield entry

    def locate(self, gtid: Gtid) -> Entry | None:
        """Where the transaction stands; None if it is not in the line."""
        wanted = gtid.as_set()
        for number, part in enumerate(self.parts):
            if wanted <= part.wanted:
                return next((e for e in self.entries(number) if e.transaction.gtid == gtid), None)
        return None

    def gtids_before(self, entry: Entry) -> GtidSet:
        """The line's transactions that stand before ``entry``, without ``first_gtids`` and ``skipped``."""
        before = GtidSet(origin for part in self.parts[: entry.part] for origin in part.wanted)
        for other in self.entries(entry.part):
            if other.transaction.start >= entry.transaction.start:
                break
            before |= other.transaction.gtid.as_set()
        return before

    def neighbours(self, entry: Entry) -> tuple[Entry | None, Entry | None]:
        """The line's transactions right before and right after ``entry``."""
        before = None
        for number in range(entry.part, -1, -1):
            for other in self.entries(number):
                if number == entry.part and other.transaction.start >= entry.transaction.start:
                    break
                before = other
            if before is not None:
                break
        behind = self.transactions(entry)
        next(behind, None)
        return before, next(behind, None)

    def last(self) -> Entry | None:
        """The line's last transaction."""
        for number in range(len(self.parts) - 1, -1, -1):
            found = None
            for found in self.entries(number):  # noqa: B007 - the last one is what is wanted
                pass
            if found is not None:
                return found
        return None
