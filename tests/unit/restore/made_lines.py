"""Lines of transactions made up in memory: what choosing a point sees of an archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TypeAlias

from fleet.gtid import GtidSet
from fleet.transaction import Gtid, Kind, Transaction
from restore.walk import Block, Branch, Hole, Replaced, Step

Made: TypeAlias = Transaction | Hole | Replaced

A = "aaaaaaaa-0000-0000-0000-000000000001"
B = "bbbbbbbb-0000-0000-0000-000000000002"
SECOND = 1_000_000
T0 = 1_772_330_400 * SECOND
"""2026-03-01 02:00:00 UTC."""


def gtids(text: str) -> GtidSet:
    """``a:1-5,b:7`` with the uuids above."""
    return GtidSet.parse(text.replace("a:", f"{A}:").replace("b:", f"{B}:"))


def gtid(text: str) -> Gtid:
    return Gtid.parse(str(gtids(text)))


def transaction(name: str, second: float, *, kinds: Kind = Kind.INSERT, statement: str = "") -> Transaction:
    """Committed ``second`` seconds after T0."""
    at = T0 + round(second * SECOND)
    return Transaction(gtid(name), at, 0, 100, kinds, ("app.items",), statement)


@dataclass
class MadeLine:
    """A line of the given steps, transactions in blocks of up to ``block``; what was executed before it, and
    what went another way.
    """

    made: Sequence[Made]
    first_gtids: GtidSet = field(default_factory=GtidSet)
    branches: tuple[Branch, ...] = ()
    began_at_us: int = T0
    shard: str = "s1"
    block: int = 3

    @property
    def gtids(self) -> GtidSet:
        found = GtidSet()
        for step in self.made:
            if isinstance(step, Transaction):
                found = found | step.gtid.as_set()
        return found

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(step for step in self.made if isinstance(step, Hole))

    def steps(self) -> Iterator[Step]:
        for is_run, group in groupby(self.made, key=lambda each: isinstance(each, Transaction)):
            each = list(group)
            if is_run:
                yield from self._blocks([one for one in each if isinstance(one, Transaction)])
            else:
                yield from (one for one in each if not isinstance(one, Transaction))

    def _blocks(self, run: list[Transaction]) -> Iterator[Block]:
        for at in range(0, len(run), self.block):
            part = run[at : at + self.block]
            held = GtidSet(origin for each in part for origin in each.gtid.as_set())
            yield Block(held, max(each.committed_at_us for each in part), partial(iter, part))


def counted(uuid: str, first: int, last: int, *, second: float = 0) -> list[Made]:
    """``first`` to ``last``, one a second from ``second`` on."""
    return [transaction(f"{uuid}:{number}", second + at) for at, number in enumerate(range(first, last + 1))]


def removed(text: str) -> Hole:
    return Hole(gtids(text))


def replaced(text: str) -> Replaced:
    return Replaced(gtids(text))
