"""A transaction as the archive knows it: its GTID, when it was committed, and what it touched."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple

from fleet.errors import GtidSetMalformed
from fleet.gtid import GtidSet, Interval, Origin


class Gtid(NamedTuple):
    """One transaction's name. ``uuid`` in lower case with hyphens; ``tag`` is empty for untagged ones."""

    uuid: str
    tag: str
    number: int

    def __str__(self) -> str:
        """As MySQL writes it: ``uuid:number`` or ``uuid:tag:number``."""
        return f"{self.uuid}:{self.tag}:{self.number}" if self.tag else f"{self.uuid}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Gtid:
        """Read exactly one GTID; raises GtidSetMalformed for a set of none or of several."""
        found = GtidSet.parse(text)
        if found.count() != 1:
            raise GtidSetMalformed(
                f"{text!r} names {found.count()} transactions, and should name one",
                hint="A GTID looks like 3e11fa47-71ca-11e1-9e33-c80aa9429562:23.",
            )
        (origin,) = found
        return cls(origin.uuid, origin.tag, origin.intervals[0].first)

    def as_set(self) -> GtidSet:
        """The set that holds this transaction alone."""
        return GtidSet([Origin(self.uuid, self.tag, (Interval(self.number, self.number),))])


class Kind(IntFlag):
    """What a transaction did; the flags of its parts together."""

    EMPTY = 0
    INSERT = 1
    UPDATE = 2
    DELETE = 4
    DDL = 8
    XA = 16
    STATEMENT = 32
    """A change that was logged as SQL text and is no DDL."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction of a binlog file.

    ``start`` and ``length`` are bytes in its file, from its GTID event to its end; ``committed_at_us`` is the
    immediate commit time, microseconds since 1970 UTC. ``tables`` are ``schema.table``, sorted, as far as the
    log names them; ``statement`` is the beginning of a DDL statement's text, else empty.
    """

    gtid: Gtid
    committed_at_us: int
    start: int
    length: int
    kinds: Kind
    tables: tuple[str, ...] = ()
    statement: str = ""
