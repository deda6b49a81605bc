"""What fulls take that are kept for a day, a week or a month, and not for the recovery window. Pure.

Such a full is needed by itself: of its line go the incrementals, and the pages that none of the fulls that
are kept refers to. Which ones are kept is reckoned by the rule of retention itself.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from repository.retention import Periods, newest_of_periods, periods_of

if TYPE_CHECKING:
    from repository.forecast import Slot, Taken

_DAY_OF_WEEK = 7
_LONGEST_MONTH = 31
_LONGEST_DAYS = 36500
"""So far back a rule is followed; nobody forecasts more than a century."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How many fulls of days, weeks and months are kept beyond the window; ``today``: the moment of day 0.

    ``repack_below``: a pack of which others need less than this part is written anew; 0: never.
    """

    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    repack_below: float = 0.5
    today: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.daily, self.weekly, self.monthly

    def reach(self, days: float, interval: float) -> int:
        """So many days back lies the oldest full that is kept, where one is taken every ``interval`` days."""
        spans = (max(1.0, interval), max(_DAY_OF_WEEK, interval), max(_LONGEST_MONTH, interval))
        furthest = max(count * span for count, span in zip(self.counts, spans, strict=True))
        return int(min(days + furthest, _LONGEST_DAYS)) + 2 * _LONGEST_MONTH


@dataclass(frozen=True, slots=True)
class KeptAlone:
    """``fulls`` that nothing else keeps. ``least_bytes``: their pages, each once; ``most_bytes``: with what
    is not written anew yet of the packs that they share with others.
    """

    fulls: int = 0
    most_bytes: float = 0.0
    least_bytes: float = 0.0


NO_RULES = Rules()
NOTHING = KeptAlone()


def sum_kept(kept: Iterable[KeptAlone]) -> KeptAlone:
    """All of them together."""
    each = list(kept)
    return KeptAlone(
        sum(one.fulls for one in each),
        sum(one.most_bytes for one in each),
        sum(one.least_bytes for one in each),
    )


class KeptFulls:
    """Backups in order of their days, and which fulls of them stay for themselves."""

    def __init__(self, taken: Sequence[Taken], rules: Rules, *, days: float, grace_days: float) -> None:
        self._taken, self._rules = taken, rules
        self._window, self._grace = days, grace_days
        self._until = [0.0, *accumulate(each.stored_bytes for each in taken)]
        self._fulls = [number for number, each in enumerate(taken) if each.kind != "incremental"]
        self._days = [taken[number].day for number in self._fulls]
        self._periods: list[Periods] = []
        if any(rules.counts):
            self._periods = [periods_of(rules.today + timedelta(days=day)) for day in self._days]

    def on(self, day: float, held_from: int) -> KeptAlone:
        """What is there on ``day``, beside the backups from number ``held_from`` on, which stay anyway.

        One that a newer full has just replaced is there for the grace time.
        """
        if not self._periods:
            return NOTHING
        kept = {*self._kept(day), *self._kept(day - self._grace)}
        by_line: dict[int, list[int]] = defaultdict(list)
        for number in sorted(number for number in kept if number < held_from):
            by_line[self._line_of(number)].append(number)
        return sum_kept(self._of_line(start, numbers) for start, numbers in by_line.items())

    def _kept(self, day: float) -> Iterator[int]:
        """Numbers of backups."""
        there = bisect_right(self._days, day)
        before = bisect_left(self._days, day - self._window)
        newest_first = self._periods[:there][::-1]
        for number, _ in newest_of_periods(newest_first, there - min(before, there), self._rules.counts):
            yield self._fulls[there - 1 - number]

    def _line_of(self, number: int) -> int:
        """The full that stores all pages and on which it rests."""
        while number and self._taken[number].kind != "stored":
            number -= 1
        return number

    def _of_line(self, start: int, numbers: Sequence[int]) -> KeptAlone:
        """The oldest needs an image of all pages; each other one what changed since the one before."""
        image = self._taken[start].stored_bytes
        changes = (self._until[b + 1] - self._until[a + 1] for a, b in pairwise(numbers))
        pages = image + sum(min(image, changed) for changed in changes)
        whole = self._until[numbers[-1] + 1] - self._until[start]
        part = self._rules.repack_below
        most = min(whole, pages / part) if part else whole
        return KeptAlone(len(numbers), most, min(pages, whole))


def repeated(slots: Sequence[Slot], days: int) -> Iterator[Slot]:
    """The timetable over so many days, again and again, in whole weeks where it is that long."""
    end = int(slots[-1].day) + 1
    period = end // (4 * _DAY_OF_WEEK) * (4 * _DAY_OF_WEEK) or end
    once = [slot for slot in slots if slot.day < period]
    for turn in range(-(-days // period)):
        yield from (slot._replace(day=slot.day + turn * period) for slot in once)
