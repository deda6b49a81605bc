"""A bit for each page, against a set of bytes."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from repository.pagemap import ByteRuns, PageMap

SPACE = (7, 1)
PAGE = 16


def runs_of(marks: list[bool]) -> list[tuple[int, int]]:
    """The runs of True, as offset and length."""
    found: list[tuple[int, int]] = []
    for at, mark in enumerate(marks):
        if mark and found and sum(found[-1]) == at:
            found[-1] = found[-1][0], found[-1][1] + 1
        elif mark:
            found.append((at, 1))
    return found


def joined(runs: Iterator[tuple[int, int]] | list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(offset, length) for offset, length in runs if length]


claims = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 40)), max_size=30)


@given(claims=claims, odd=st.lists(st.integers(0, PAGE - 1), max_size=30), size=st.integers(0, 140 * PAGE))
def test_what_is_claimed_twice_is_yielded_once(
    claims: list[tuple[int, int]], odd: list[int], size: int
) -> None:
    """With pieces of pages among the claims too: then the file is kept as runs of bytes."""
    pages, taken = PageMap(), [False] * 4000
    for number, (page, count) in enumerate(claims):
        offset, length = page * PAGE, count * PAGE
        if number < len(odd):
            offset, length = offset + odd[number], max(0, length - odd[-1])
        mine = [offset <= at < offset + length and not taken[at] for at in range(len(taken))]
        assert joined(pages.claim(SPACE, PAGE, offset, length)) == runs_of(mine)
        taken = [one or other for one, other in zip(taken, mine, strict=True)]
    assert list(pages.gaps(SPACE, PAGE, size)) == runs_of([not mark for mark in taken[:size]])
    for page in range(100):
        assert pages.holds(SPACE, page) == all(taken[page * PAGE : (page + 1) * PAGE])


@given(claims=claims)
def test_runs_of_bytes_do_the_same(claims: list[tuple[int, int]]) -> None:
    runs, taken = ByteRuns(), [False] * 150
    for offset, length in claims:
        mine = [offset <= at < offset + length and not taken[at] for at in range(len(taken))]
        assert runs.claim(offset, length) == runs_of(mine)
        taken = [one or other for one, other in zip(taken, mine, strict=True)]
    assert list(runs.gaps(120)) == runs_of([not mark for mark in taken[:120]])


def test_spaces_and_ordinals_do_not_mix() -> None:
    pages = PageMap()
    assert pages.claim((1, 0), 8192, 0, 8192) == [(0, 8192)]
    assert pages.claim((1, 1), 8192, 0, 8192) == [(0, 8192)]
    assert pages.claim((2, 0), 1024, 0, 1024) == [(0, 1024)]
    assert not pages.holds((2, 0), 1)
    assert not pages.holds((3, 0), 0)
    assert list(pages.gaps((3, 0), 1024, 4096)) == [(0, 4096)]


EXTENT = 1 << 20


def claimed_here_and_there(size: int) -> PageMap:
    """One extent of 64 pages in 64, and a page alone behind it."""
    pages = PageMap()
    for offset in range(0, size, 64 * EXTENT):
        assert len(pages.claim(SPACE, 16384, offset, EXTENT)) == 1
        assert len(pages.claim(SPACE, 16384, offset + 5 * 16384, 16384)) == 0
        assert len(pages.claim(SPACE, 16384, offset + 5 * EXTENT + 16384, 16384)) == 1
    return pages


def test_a_terabyte_takes_a_moment() -> None:
    size = 1 << 40
    started = time.process_time()
    pages = claimed_here_and_there(size)
    gaps = list(pages.gaps(SPACE, 16384, size))
    # A twentieth of that is seen; the bound finds what goes wrong by orders of magnitude.
    assert time.process_time() - started < 5
    rounds = size // (64 * EXTENT)
    assert sum(length for _, length in gaps) == size - rounds * (EXTENT + 16384)
    assert len(gaps) == 2 * rounds


def test_a_page_takes_a_bit() -> None:
    size = 1 << 37
    tracemalloc.start()
    try:
        claimed_here_and_there(size)
        assert tracemalloc.get_traced_memory()[1] < 2 * size // 16384 // 8 + 100_000
    finally:
        tracemalloc.stop()
