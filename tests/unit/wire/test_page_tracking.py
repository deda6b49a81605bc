"""The list of changed pages, from the server's bytes to what it answers; no server is asked here."""

from __future__ import annotations

import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wire.page_tracking import PageList, read_entries

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
entries = st.lists(st.tuples(st.integers(0, 5) | st.just(0xFFFFFFFE), st.integers(0, 300)), max_size=80)


def packed(pairs: list[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack(">II", *pair) for pair in pairs)


@patient
@given(entries, entries)
def test_a_list_read_in_parts_has_each_page_once(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    bitmaps: dict[int, bytearray] = {}
    read_entries(bitmaps, packed(first))
    read_entries(bitmaps, packed(second))
    pages = PageList(bitmaps)
    expected = {*first, *second}
    assert {(space, page) for space in bitmaps for page in pages.pages(space)} == expected
    assert len(pages) == len(expected)
    for space in bitmaps:
        numbers = list(pages.pages(space))
        assert numbers == sorted(numbers)


@patient
@given(entries, st.integers(0, 5), st.integers(0, 320), st.integers(0, 320))
def test_a_range_has_a_changed_page_or_not(
    pairs: list[tuple[int, int]], space: int, first: int, more: int
) -> None:
    bitmaps: dict[int, bytearray] = {}
    read_entries(bitmaps, packed(pairs))
    last = first + more
    expected = any(one == space and first <= page <= last for one, page in pairs)
    assert PageList(bitmaps).has_any(space, first, last) is expected
