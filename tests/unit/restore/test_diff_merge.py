"""Two streams of rows against the plain way: dictionaries and counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.diff_merge import (
    Difference,
    OutOfOrder,
    RowDifference,
    TooManyOpen,
    merge_as_multiset,
    merge_by_key,
)

TABLES = st.dictionaries(st.integers(0, 12), st.integers(0, 2))
BAGS = st.lists(st.binary(min_size=1, max_size=1), max_size=12)


def packed(table: dict[int, int]) -> list[bytes]:
    return [bytes((key, table[key])) for key in sorted(table)]


def key_of(row: bytes) -> tuple[int]:
    return (row[0],)


def merged(past: Iterable[bytes], live: Iterable[bytes], *, alike: bool = True) -> list[RowDifference]:
    return list(
        merge_by_key(
            past,
            live,
            past_key=key_of,
            live_key=key_of,
            is_same=lambda old, new: old == new,
            alike=alike,
        )
    )


@given(TABLES, TABLES, st.booleans())
def test_differences_are_those_of_two_dictionaries_in_the_order_of_the_key(
    past: dict[int, int], live: dict[int, int], alike: bool
) -> None:
    found = merged(packed(past), packed(live), alike=alike)
    expected: list[tuple[Difference, int]] = []
    for key in sorted(past.keys() | live.keys()):
        if key not in live:
            expected.append((Difference.MISSING, key))
        elif key not in past:
            expected.append((Difference.ADDED, key))
        elif past[key] != live[key]:
            expected.append((Difference.CHANGED, key))
    assert [(each.kind, (each.past or each.live or b"")[0]) for each in found] == expected
    for each in found:
        assert each.past == (
            None if each.kind is Difference.ADDED else bytes((each.past[0], past[each.past[0]]))
        )  # type: ignore[index]


@given(
    st.permutations(range(5)),
    st.permutations(range(5)),
    st.sets(st.integers(0, 4)),
    st.sets(st.integers(0, 4)),
)
def test_a_wrong_order_never_makes_a_wrong_answer(
    order: list[int], _: list[int], gone: set[int], fresh: set[int]
) -> None:
    """Both servers sort alike, in whatever order: the answer is right, or there is none."""
    past = [bytes((key, 0)) for key in order if key not in fresh]
    live = [bytes((key, 0)) for key in order if key not in gone]
    try:
        found = merged(past, live)
    except OutOfOrder:
        return
    missing = {each.past for each in found if each.kind is Difference.MISSING}
    added = {each.live for each in found if each.kind is Difference.ADDED}
    assert missing == set(past) - set(live)
    assert added == set(live) - set(past)


def test_rows_of_equal_keys_on_one_side_are_out_of_order() -> None:
    with pytest.raises(OutOfOrder):
        merged([b"\1\0", b"\1\1"], [b"\2\0"])


@given(BAGS, BAGS, st.booleans())
def test_rows_without_a_key_differ_as_counters_do(past: list[bytes], live: list[bytes], alike: bool) -> None:
    found = list(
        merge_as_multiset(past, live, past_content=lambda row: row, live_content=lambda row: row, alike=alike)
    )
    missing = Counter(each.past for each in found if each.kind is Difference.MISSING)
    added = Counter(each.live for each in found if each.kind is Difference.ADDED)
    assert missing == Counter(past) - Counter(live)
    assert added == Counter(live) - Counter(past)


def test_rows_that_moved_by_one_never_wait_in_numbers() -> None:
    rows = [bytes((number,)) * 10 for number in range(200)]
    contents = {"past_content": lambda row: row, "live_content": lambda row: row}
    found = list(merge_as_multiset(rows, rows[1:], **contents, alike=True, most_open_bytes=30))  # type: ignore[arg-type]
    assert found == [RowDifference(Difference.MISSING, rows[0], None)]
    with pytest.raises(TooManyOpen):
        list(merge_as_multiset(rows, rows[::-1], **contents, alike=True, most_open_bytes=30))  # type: ignore[arg-type]
