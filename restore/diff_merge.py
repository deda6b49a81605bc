"""Two streams of rows compared in one pass, in memory that does not grow with them.

With a key both sides come in its order, and are merged. The order is the server's; that it is ours as well
is checked wherever rows differ: whoever passes over a row wrongly meets it again, out of order. Without a key
the rows are a multiset: what is on both sides cancels out, what is left is the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from enum import StrEnum
from itertools import zip_longest
from typing import Any, NamedTuple

MOST_OPEN_BYTES = 256 * 1024 * 1024
"""Bytes of rows without a key that may wait for their like on the other side."""


class Difference(StrEnum):
    """What became of a row since the past: it is missing, was added, or has other values."""

    MISSING = "missing"
    ADDED = "added"
    CHANGED = "changed"


class RowDifference(NamedTuple):
    """A row of which the two sides disagree, as each has it; None where it is not."""

    kind: Difference
    past: bytes | None
    live: bytes | None


class OutOfOrder(Exception):  # noqa: N818 - a name says what happened
    """A side's rows do not come in the order of the keys as we compare them; never seen by a user."""


class TooManyOpen(Exception):  # noqa: N818
    """More rows without a key wait for their like than memory is meant for; mapped by the story."""


class _Side:
    """One stream: the present row, the one before it, and how many there were."""

    def __init__(self, rows: Iterable[bytes], key_of: Callable[[bytes], Any]) -> None:
        self._rows = iter(rows)
        self._key_of = key_of
        self._before: bytes | None = None
        self._key_before: Any = None
        self._key: Any = None
        self.row: bytes | None = next(self._rows, None)

    def advance(self) -> None:
        self._before, self._key_before, self._key = self.row, self._key, None
        self.row = next(self._rows, None)

    def key(self) -> Any:
        """The present row's key. Raises OutOfOrder where it does not follow the one before."""
        if self._key is None:
            assert self.row is not None
            self._key = self._key_of(self.row)
            if self._before is not None:
                before = self._key_before or self._key_of(self._before)
                if not before < self._key:
                    raise OutOfOrder
        return self._key


def merge_by_key(
    past: Iterable[bytes],
    live: Iterable[bytes],
    *,
    past_key: Callable[[bytes], Any],
    live_key: Callable[[bytes], Any],
    is_same: Callable[[bytes, bytes], bool],
    alike: bool,
) -> Generator[RowDifference]:
    """The differences in the order of the key. ``alike``: equal rows are equal bytes. Raises OutOfOrder."""
    left, right = _Side(past, past_key), _Side(live, live_key)
    while left.row is not None and right.row is not None:
        if alike and left.row == right.row:
            left.advance()
            right.advance()
            continue
        old, new = left.key(), right.key()
        if old == new:
            if not is_same(left.row, right.row):
                yield RowDifference(Difference.CHANGED, left.row, right.row)
            left.advance()
            right.advance()
        elif old < new:
            yield RowDifference(Difference.MISSING, left.row, None)
            left.advance()
        else:
            yield RowDifference(Difference.ADDED, None, right.row)
            right.advance()
    while left.row is not None:
        left.key()
        yield RowDifference(Difference.MISSING, left.row, None)
        left.advance()
    while right.row is not None:
        right.key()
        yield RowDifference(Difference.ADDED, None, right.row)
        right.advance()


def merge_as_multiset(
    past: Iterable[bytes],
    live: Iterable[bytes],
    *,
    past_content: Callable[[bytes], Hashable],
    live_content: Callable[[bytes], Hashable],
    alike: bool,
    most_open_bytes: int = MOST_OPEN_BYTES,
) -> Generator[RowDifference]:
    """The rows that are on one side only, as often as they are there more than on the other one.

    Both sides are read in step: rows that were never moved meet at once. Raises TooManyOpen.
    """
    open_rows: dict[Hashable, list[RowDifference]] = {}
    open_bytes = 0
    for old, new in zip_longest(past, live):
        if alike and old == new:
            continue
        for difference, content in _both(old, new, past_content, live_content):
            open_bytes += _enter(open_rows, difference, content)
        if open_bytes > most_open_bytes:
            raise TooManyOpen
    for waiting in open_rows.values():
        yield from waiting


def _both(
    old: bytes | None,
    new: bytes | None,
    past_content: Callable[[bytes], Hashable],
    live_content: Callable[[bytes], Hashable],
) -> Iterator[tuple[RowDifference, Hashable]]:
    if old is not None:
        yield RowDifference(Difference.MISSING, old, None), past_content(old)
    if new is not None:
        yield RowDifference(Difference.ADDED, None, new), live_content(new)


def _enter(open_rows: dict[Hashable, list[RowDifference]], new: RowDifference, content: Hashable) -> int:
    """Cancel ``new`` out with one of the other side, or let it wait; returns bytes more that wait."""
    size = len(new.past or new.live or b"")
    waiting = open_rows.setdefault(content, [])
    if waiting and waiting[-1].kind is not new.kind:
        met = waiting.pop()
        if not waiting:
            del open_rows[content]
        return -len(met.past or met.live or b"")
    waiting.append(new)
    return size
