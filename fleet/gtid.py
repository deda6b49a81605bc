"""GTID sets: which transactions a server has executed, and the algebra of such sets.

A transaction is ``uuid:number`` or, from MySQL 8.3 on, ``uuid:tag:number``. A set is written as MySQL
writes it: ``uuid:1-3:7:tag_a:1-5``, the parts of several uuids separated by commas. The grammar is that of
the server's own GTID_SUBTRACT and GTID_SUBSET (``Gtid_text_format`` in its sources); a scenario test asks a
server about every rule.

One deviation, on purpose: a number with leading zeros is refused. ``uuid:010`` is transaction 10 to
GTID_SUBTRACT and transaction 8 to SET gtid_purged of the same server; nobody should restore by such a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fleet.errors import GtidSetMalformed

LAST_NUMBER = 2**63 - 2
"""The largest transaction number that MySQL takes."""

_SPACE = " \t\n\v\f\r"
_HEX_GROUPS = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UUID = re.compile(rf"{_HEX_GROUPS}|\{{{_HEX_GROUPS}\}}|[0-9a-f]{{32}}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL = re.compile(rf"([1-9][0-9]{{0,18}})(?:[{_SPACE}]*-[{_SPACE}]*(0|[1-9][0-9]{{0,18}}))?")


class Interval(NamedTuple):
    """Transactions ``first`` to ``last``, both included; 1 <= first <= last <= LAST_NUMBER."""

    first: int
    last: int


class Origin(NamedTuple):
    """The transactions that one server numbered under one tag (``""``: without a tag)."""

    uuid: str
    tag: str
    intervals: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, init=False, repr=False)
class GtidSet:
    """An immutable set of transactions, always in normal form, so equal sets are equal objects.

    Normal form: origins sorted by uuid, then tag (none first); intervals sorted, with gaps between them.
    ``|`` is union, ``&`` intersection, ``-`` difference, ``<=`` subset; each linear in the intervals.
    """

    origins: tuple[Origin, ...]

    def __init__(self, origins: Iterable[Origin] = ()) -> None:
        """The union of ``origins``, in any order and overlapping; raises GtidSetMalformed."""
        collected: dict[tuple[str, str], list[Interval]] = {}
        for uuid, tag, intervals in origins:
            key = (_normal_uuid(uuid), _normal_tag(tag) if tag else "")
            collected.setdefault(key, []).extend(_checked(interval) for interval in intervals)
        object.__setattr__(self, "origins", _in_normal_form(collected))

    @classmethod
    def parse(cls, text: str) -> GtidSet:
        """Read what MySQL prints, or what an operator may type to it; raises GtidSetMalformed.

        Accepted as the server does: letters of either case, blanks around every token, empty parts between
        commas, overlapping or repeated intervals, and intervals that end before they start (they are empty).
        """
        collected: dict[tuple[str, str], list[Interval]] = {}
        for part in text.split(","):
            head, *items = part.split(":")
            if not items and not head.strip(_SPACE):
                continue
            uuid, tag = _normal_uuid(head.strip(_SPACE)), ""
            for item in items:
                token = item.strip(_SPACE)
                if match := _INTERVAL.fullmatch(token):
                    first, last = int(match[1]), int(match[2] or match[1])
                    if max(first, last) > LAST_NUMBER:
                        raise GtidSetMalformed(f"GTID set: {token} exceeds the largest number {LAST_NUMBER}")
                    if first <= last:
                        collected.setdefault((uuid, tag), []).append(Interval(first, last))
                else:
                    tag = _normal_tag(token)
        return _trusted(_in_normal_form(collected))

    def __str__(self) -> str:
        """The text as the server prints it: a comma and a newline between uuids."""
        return ",\n".join(self._parts())

    def one_line(self) -> str:
        """The same text without newlines, for messages and logs; the server reads it as well."""
        return ",".join(self._parts())

    def __repr__(self) -> str:
        return f"GtidSet({self.one_line()!r})"

    def __iter__(self) -> Iterator[Origin]:
        return iter(self.origins)

    def __bool__(self) -> bool:
        return bool(self.origins)

    def count(self) -> int:
        """How many transactions the set holds."""
        return sum(last - first + 1 for origin in self.origins for first, last in origin.intervals)

    def __or__(self, other: GtidSet) -> GtidSet:
        collected = {(uuid, tag): list(intervals) for uuid, tag, intervals in self.origins}
        for uuid, tag, intervals in other.origins:
            collected.setdefault((uuid, tag), []).extend(intervals)
        return _trusted(_in_normal_form(collected))

    def __and__(self, other: GtidSet) -> GtidSet:
        theirs = other._by_origin()
        common = (
            Origin(uuid, tag, _intersection(intervals, theirs.get((uuid, tag), ())))
            for uuid, tag, intervals in self.origins
        )
        return _trusted(tuple(origin for origin in common if origin.intervals))

    def __sub__(self, other: GtidSet) -> GtidSet:
        theirs = other._by_origin()
        left = (
            Origin(uuid, tag, _difference(intervals, theirs.get((uuid, tag), ())))
            for uuid, tag, intervals in self.origins
        )
        return _trusted(tuple(origin for origin in left if origin.intervals))

    def __le__(self, other: GtidSet) -> bool:
        return not self - other

    def __ge__(self, other: GtidSet) -> bool:
        return other <= self

    def __lt__(self, other: GtidSet) -> bool:
        return self != other and self <= other

    def __gt__(self, other: GtidSet) -> bool:
        return other < self

    def has_tags(self) -> bool:
        """Whether any transaction is tagged: a server before 8.3 cannot take such a set."""
        return any(origin.tag for origin in self.origins)

    def _by_origin(self) -> dict[tuple[str, str], tuple[Interval, ...]]:
        return {(uuid, tag): intervals for uuid, tag, intervals in self.origins}

    def _parts(self) -> list[str]:
        parts: list[str] = []
        previous_uuid = ""
        for uuid, tag, intervals in self.origins:
            tokens = [f"{first}-{last}" if first < last else str(first) for first, last in intervals]
            text = ":".join([tag, *tokens] if tag else tokens)
            if uuid == previous_uuid:
                parts[-1] += f":{text}"
            else:
                parts.append(f"{uuid}:{text}")
            previous_uuid = uuid
        return parts


def _trusted(origins: tuple[Origin, ...]) -> GtidSet:
    """A set from origins that are in normal form already."""
    made = object.__new__(GtidSet)
    object.__setattr__(made, "origins", origins)
    return made


def _in_normal_form(collected: dict[tuple[str, str], list[Interval]]) -> tuple[Origin, ...]:
    return tuple(
        Origin(uuid, tag, _joined(sorted(intervals)))
        for (uuid, tag), intervals in sorted(collected.items())
        if intervals
    )


def _joined(ordered: Sequence[Interval]) -> tuple[Interval, ...]:
    """Join intervals that overlap or touch."""
    joined: list[Interval] = []
    first, last = ordered[0]
    for interval in ordered:
        if interval.first > last + 1:
            joined.append(Interval(first, last))
            first, last = interval
        elif interval.last > last:
            last = interval.last
    joined.append(Interval(first, last))
    return tuple(joined)


def _intersection(left: Sequence[Interval], right: Sequence[Interval]) -> tuple[Interval, ...]:
    common: list[Interval] = []
    i = j = 0
    while i < len(left) and j < len(right):
        first, last = max(left[i].first, right[j].first), min(left[i].last, right[j].last)
        if first <= last:
            common.append(Interval(first, last))
        if left[i].last < right[j].last:
            i += 1
        else:
            j += 1
    return tuple(common)


def _difference(left: Sequence[Interval], right: Sequence[Interval]) -> tuple[Interval, ...]:
    remaining: list[Interval] = []
    j = 0
    for first, last in left:
        start = first
        while j < len(right) and right[j].last < start:
            j += 1
        # A hole that reaches beyond this interval is kept: it may cut the next one as well.
        while j < len(right) and right[j].first <= last:
            if right[j].first > start:
                remaining.append(Interval(start, right[j].first - 1))
            start = right[j].last + 1
            if start > last:
                break
            j += 1
        if start <= last:
            remaining.append(Interval(start, last))
    return tuple(remaining)


def _normal_uuid(text: str) -> str:
    folded = text.lower() if text.isascii() else text
    if not _UUID.fullmatch(folded):
        raise GtidSetMalformed(f"GTID set: expected a uuid, found {text[:80]!r}")
    digits = folded.strip("{}").replace("-", "")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _normal_tag(text: str) -> str:
    folded = text.lower() if text.isascii() else text
    if not _TAG.fullmatch(folded):
        raise GtidSetMalformed(f"GTID set: expected a number, an interval or a tag, found {text[:80]!r}")
    return folded


def _checked(interval: Interval) -> Interval:
    first, last = interval
    if not 1 <= first <= last <= LAST_NUMBER:
        raise GtidSetMalformed(f"GTID set: no transactions are numbered {first} to {last}")
    return Interval(first, last)
