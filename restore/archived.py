"""A shard's archive as a restore looks at it: steps to walk along, and what a replay will read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

from fleet.errors import ObjectDamaged, ObjectMissing
from fleet.gtid import GtidSet
from fleet.transaction import Transaction
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.line import Line
from repository.repository import Repository
from restore.growing import NOTHING
from restore.point_plan import Life, Stretch
from restore.walk import Block, Branch, Hole, Replaced, Step

_SECOND_US = 1_000_000


class ArchivedLine:
    """A ``WalkedLine`` over the line of a shard's newest epoch, as it was when it was looked at."""

    def __init__(self, line: Line) -> None:
        self.line = line

    @classmethod
    def read(cls, repository: Repository, shard: str, *, known: ArchivedLine | None = None) -> ArchivedLine:
        """Look at the archive. ``known``: an older look, which saves reading again.

        Raises ``NotFound`` if nothing of the shard is archived, and what the store raises.
        """
        return cls(Line.of(ShardArchive(repository, shard), known=known.line if known else None))

    @property
    def shard(self) -> str:
        return self.line.archive.shard

    @property
    def archive(self) -> ShardArchive:
        return self.line.archive

    @property
    def epoch(self) -> int:
        """The number of the line's own epoch."""
        return self.line.epoch.epoch

    @property
    def first_gtids(self) -> GtidSet:
        return self.line.first_gtids

    @property
    def began_at_us(self) -> int:
        files = self.line.files
        return files[0].name.created * _SECOND_US if files else 0

    @property
    def gtids(self) -> GtidSet:
        return self.line.gtids

    @property
    def holes(self) -> Sequence[Hole]:
        return tuple(Hole(gap.missing) for gap in self.line.gaps)

    @property
    def branches(self) -> Sequence[Branch]:
        return tuple(Branch(each.epoch, each.gtids) for each in self.line.branches)

    @cached_property
    def lives(self) -> tuple[Life, ...]:
        """The servers that restores brought to life, as far as those left something out."""
        return tuple(
            Life(epoch.server_uuid, epoch.inherited_set, epoch.skipped_set)
            for epoch in self.line.epochs
            if epoch.skipped_set
        )

    def steps(self) -> Iterator[Step]:
        """In the order of the line. What restores left out is taken as empty where its part begins, or where
        the restored server's epoch does.
        """
        gaps = list(self.line.gaps)
        skipped = self.line.skipped
        for number, part in enumerate(self.line.parts):
            for gap in [gap for gap in gaps if gap.opens_at(part)]:
                gaps.remove(gap)
                yield Hole(gap.missing)
            here = skipped & (part.gtids | self._skipped_by(part.header.epoch))
            if here:
                skipped = skipped - here
                yield Replaced(here)
            if part.wanted and part.last_at_us is not None:
                yield Block(part.wanted, part.last_at_us, partial(self._entries, number))
        for gap in gaps:
            yield Hole(gap.missing)

    def left_behind(self, *, after_us: int | None, to_us: int | None) -> tuple[Branch, ...]:
        """The branches, each with its transactions that were committed after the one moment and up to the
        other; None is no bound. All of a branch whose objects cannot be read: that must not cost a restore.
        """
        found: list[Branch] = []
        for branch in self.line.branches:
            try:
                within = [
                    entry.transaction
                    for entry in self.line.branch_entries(branch)
                    if after_us is None or entry.transaction.committed_at_us > after_us
                    if to_us is None or entry.transaction.committed_at_us <= to_us
                ]
            except (ObjectDamaged, ObjectMissing):
                found.append(Branch(branch.epoch, branch.gtids))
            else:
                if within:
                    found.append(Branch(branch.epoch, gtids_of(within)))
        return tuple(found)

    def stretch(self, have: GtidSet, needed: GtidSet) -> Stretch:
        """What is read to bring ``needed`` to a server that has ``have``."""
        lacking = needed - have
        parts = [part for part in self.line.parts if part.wanted & lacking]
        return Stretch(
            files=tuple(dict.fromkeys(part.file.file for part in parts)),
            segments=len(parts),
            stored_bytes=sum(part.part.segment.size for part in parts),
            log_bytes=sum(part.part.last - part.part.first for part in parts),
        )

    def _entries(self, number: int) -> Iterator[Transaction]:
        return (entry.transaction for entry in self.line.entries(number))

    def _skipped_by(self, epoch: int) -> GtidSet:
        return next((each.skipped_set for each in self.line.epochs if each.epoch == epoch), NOTHING)
