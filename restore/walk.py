"""A walk along a shard's line up to the first transaction that is beyond the target. Pure.

The line comes in steps. Most of them are blocks: transactions of which the set and the latest commit time are
known, so that they are opened only where the walk may end, or where something in them is to be shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol, TypeAlias

from fleet.gtid import GtidSet
from fleet.transaction import Transaction
from restore.growing import NOTHING, GrowingSet, Members

NEIGHBOURS = 2


@dataclass(frozen=True, slots=True)
class Block:
    """Transactions that follow each other, at least one. ``last_at_us``: none of them was committed later."""

    gtids: GtidSet
    last_at_us: int
    open: Callable[[], Iterator[Transaction]]


@dataclass(frozen=True, slots=True)
class Hole:
    """Transactions that the source had, and the archive has not; it stands where they should be."""

    missing: GtidSet


@dataclass(frozen=True, slots=True)
class Replaced:
    """Numbers that are empty in this line: an earlier restore left their content out."""

    gtids: GtidSet


Step: TypeAlias = Block | Hole | Replaced


class Branch(NamedTuple):
    """Transactions that were archived in epoch ``epoch`` and do not go on in the line."""

    epoch: int
    gtids: GtidSet


class WalkedLine(Protocol):
    """A shard's line, as far as choosing a point needs it.

    ``first_gtids`` were executed before the archive begins, at ``began_at_us`` (microseconds since 1970).
    ``gtids`` are archived. ``steps`` are in the order of the line, each transaction once.
    """

    @property
    def shard(self) -> str: ...

    @property
    def first_gtids(self) -> GtidSet: ...

    @property
    def began_at_us(self) -> int: ...

    @property
    def gtids(self) -> GtidSet: ...

    @property
    def holes(self) -> Sequence[Hole]: ...

    @property
    def branches(self) -> Sequence[Branch]: ...

    def steps(self) -> Iterator[Step]: ...


class Limit(Protocol):
    """What is beyond the target. ``hole`` is what is missing just before."""

    def may_end_in(self, block: Block, hole: GtidSet) -> bool:
        """False only if nothing in the block is beyond."""
        ...

    def is_beyond(self, transaction: Transaction, hole: GtidSet) -> bool: ...


class Walk:
    """``run`` goes along the line; what it found stands in the attributes.

    ``executed``: everything before the place, without ``hole``, which is missing between the last transaction
    and ``stop``. ``replaced``: what earlier restores left out. ``skipped``: the transactions of ``skip``.
    """

    def __init__(self, line: WalkedLine, limit: Limit, skip: GtidSet) -> None:
        self._steps = line.steps()
        self._limit = limit
        self._skip = skip
        self._skipped = Members(skip)
        self._behind: Iterator[Transaction] = iter(())
        self._last: deque[Block | Transaction] = deque(maxlen=NEIGHBOURS)
        self.executed = GrowingSet(line.first_gtids)
        self.replaced = NOTHING
        self.skipped: list[Transaction] = []
        self.stop: Transaction | None = None
        self.hole = NOTHING

    def run(self) -> None:
        for step in self._steps:
            if isinstance(step, Hole):
                self.hole = self.hole | step.missing
            elif isinstance(step, Replaced):
                self.executed.add_set(step.gtids)
                self.replaced = self.replaced | step.gtids
            elif self._limit.may_end_in(step, self.hole):
                if self._ends_in(step.open()):
                    return
            else:
                self._take_block(step)

    def before(self) -> tuple[Transaction, ...]:
        """The last transactions before the place, in order."""
        found: list[Transaction] = []
        for each in self._last:
            found += deque(each.open(), NEIGHBOURS) if isinstance(each, Block) else [each]
        return tuple(found[-NEIGHBOURS:])

    def after(self) -> tuple[Transaction, ...]:
        """Those that follow ``stop``. To be asked once."""
        return tuple(islice(self._following(), NEIGHBOURS - 1)) if self.stop else ()

    def _following(self) -> Iterator[Transaction]:
        yield from self._behind
        for step in self._steps:
            if isinstance(step, Block):
                yield from step.open()

    def _ends_in(self, transactions: Iterator[Transaction]) -> bool:
        for transaction in transactions:
            if self._limit.is_beyond(transaction, self.hole):
                self.stop, self._behind = transaction, transactions
                return True
            self._pass_the_hole()
            self.executed.add(transaction.gtid)
            self._last.append(transaction)
            if transaction.gtid in self._skipped:
                self.skipped.append(transaction)
        return False

    def _take_block(self, block: Block) -> None:
        self._pass_the_hole()
        self.executed.add_set(block.gtids)
        self._last.append(block)
        if block.gtids & self._skip:
            self.skipped += (each for each in block.open() if each.gtid in self._skipped)

    def _pass_the_hole(self) -> None:
        if self.hole:
            self.executed.add_set(self.hole)
            self.hole = NOTHING
