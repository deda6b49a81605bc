"""Which bytes are covered, compared with a plain set of bytes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from restore.coverage import Coverage

runs = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=30)


@given(runs, st.integers(0, 80))
def test_gaps_are_exactly_the_bytes_that_no_run_covers(added: list[tuple[int, int]], size: int) -> None:
    coverage = Coverage()
    covered: set[int] = set()
    for offset, length in added:
        coverage.add(7, offset, length)
        covered.update(range(offset, offset + length))
    gaps = list(coverage.gaps(7, size))
    assert {byte for start, end in gaps for byte in range(start, end)} == set(range(size)) - covered
    assert all(start < end for start, end in gaps)
    assert all(before[1] < after[0] for before, after in pairwise(gaps))


def test_a_file_without_records_is_one_gap() -> None:
    assert list(Coverage().gaps(1, 10)) == [(0, 10)]
    assert list(Coverage().gaps(1, 0)) == []
