"""The load's ledger files and its histogram."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.sandbox.latency import Latencies
from infra.sandbox.ledger import Gap, LedgerFile, find_gaps, ledger_path, read_acknowledged

AT = datetime(2026, 3, 1, 2, 15, 0, 123456, tzinfo=UTC)


def test_a_ledger_file_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = ledger_path(tmp_path, 3)
    for first in (1, 3):
        ledger = LedgerFile(path, 3)
        assert ledger.last_sequence == first - 1
        ledger.append(first, AT)
        ledger.append(first + 1, AT + timedelta(microseconds=1))
        ledger.close()
    found = read_acknowledged(path, 3)
    assert [one.sequence for one in found] == [1, 2, 3, 4]
    assert (found[0].client, found[0].at) == (3, AT)


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_line_that_was_written_by_half_counts_for_nothing(tmp_path: Path, cut: int) -> None:
    path = ledger_path(tmp_path, 1)
    ledger = LedgerFile(path, 1)
    ledger.append(1, AT)
    ledger.append(2, AT)
    ledger.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = LedgerFile(path, 1)
    assert again.last_sequence == 1
    again.append(2, AT)
    again.close()
    assert [one.sequence for one in read_acknowledged(path, 1)] == [1, 2]


@given(st.sets(st.integers(1, 60)))
def test_gaps_are_exactly_the_numbers_missing_below_the_last(there: set[int]) -> None:
    missing = {number for gap in find_gaps(7, sorted(there)) for number in range(gap.first, gap.last + 1)}
    assert missing == set(range(1, max(there, default=0))) - there


def test_a_ledger_that_does_not_begin_at_one_has_a_gap() -> None:
    assert find_gaps(1, [3, 4, 7]) == [Gap(1, 1, 2), Gap(1, 5, 6)]
    assert find_gaps(1, []) == []


def test_percentiles_are_right_within_five_percent() -> None:
    one, other = Latencies(), Latencies()
    values = [random.Random(1).uniform(0.001, 2) for _ in range(1)] + [
        number / 1000 for number in range(1, 2001)
    ]
    for position, value in enumerate(values):
        (one if position % 2 else other).record(value)
    one.add(other)
    summary = one.summary()
    assert summary.count == len(values)
    assert summary.p50_seconds == pytest.approx(1.0, rel=0.06)
    assert summary.p99_seconds == pytest.approx(1.98, rel=0.06)
    assert summary.longest_seconds == max(values)


def test_nothing_recorded_is_all_zero() -> None:
    assert Latencies().summary().p99_seconds == 0.0
