"""A GTID set that grows by single transactions, as a log is read: cheap to add to, turned into a set once."""

from __future__ import annotations

from fleet.gtid import GtidSet, Interval, Origin
from fleet.transaction import Gtid

NOTHING = GtidSet()


class GrowingSet:
    """What was executed so far. Adding the next number of an origin costs no memory."""

    def __init__(self, start: GtidSet | None = None) -> None:
        self._start = start or GtidSet()
        self._runs: dict[tuple[str, str], list[list[int]]] = {}

    def add(self, gtid: Gtid) -> None:
        """One transaction more."""
        runs = self._runs.setdefault((gtid.uuid, gtid.tag), [])
        if runs and runs[-1][1] + 1 == gtid.number:
            runs[-1][1] = gtid.number
        else:
            runs.append([gtid.number, gtid.number])

    def add_set(self, gtids: GtidSet) -> None:
        """All of ``gtids``."""
        self._start = self._start | gtids

    def frozen(self) -> GtidSet:
        """The set as it is now."""
        grown = (
            Origin(uuid, tag, tuple(Interval(first, last) for first, last in runs))
            for (uuid, tag), runs in self._runs.items()
        )
        return self._start | GtidSet(grown)


class Members:
    """Asks often whether one transaction is in a set. ``gtids`` must not be huge in intervals."""

    def __init__(self, gtids: GtidSet) -> None:
        self._intervals = {(origin.uuid, origin.tag): origin.intervals for origin in gtids}

    def __contains__(self, gtid: Gtid) -> bool:
        intervals = self._intervals.get((gtid.uuid, gtid.tag), ())
        return any(first <= gtid.number <= last for first, last in intervals)
