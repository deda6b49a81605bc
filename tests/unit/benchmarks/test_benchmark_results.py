from __future__ import annotations

import pytest

from benchmarks.cases import Group
from benchmarks.donor_cost import Window, within
from benchmarks.measuring import Usage
from benchmarks.results import Outcome, best_encrypted_peer, cpu_by_stage, latency, percentile, rows

DATA = 2_000_000_000


def outcome(name, *seconds, ours=False, encrypted=True, group=Group.BACKUP_FILES, reports=(), cpu=4.0):
    usages = tuple(Usage(wall, cpu, 100, {"donor": wall / 10}) for wall in seconds)
    return Outcome(name, name, group, ours, encrypted, usages, 700, reports)


def test_the_ratio_is_to_the_fastest_peer_that_encrypts_and_not_to_ours_nor_to_a_faster_one_in_clear():
    found = rows(
        [
            outcome("ours", 5.0, ours=True),
            outcome("slow peer", 40.0),
            outcome("best peer", 20.0),
            outcome("in clear", 10.0, encrypted=False),
        ],
        Group.BACKUP_FILES,
        DATA,
    )
    assert [(row.outcome.name, row.megabytes_per_second, row.ratio) for row in found] == [
        ("ours", 400.0, 4.0),
        ("in clear", 200.0, 2.0),
        ("best peer", 100.0, 1.0),
        ("slow peer", 50.0, 0.5),
    ]


def test_a_group_is_compared_with_itself_alone():
    outcomes = [outcome("to files", 10.0), outcome("to S3", 20.0, group=Group.BACKUP_S3)]
    (row,) = rows(outcomes, Group.BACKUP_S3, DATA)
    assert (row.outcome.name, row.ratio) == ("to S3", 1.0)


def test_without_an_encrypted_peer_there_is_no_ratio():
    (first, _) = rows(
        [outcome("ours", 1.0, ours=True), outcome("dump", 2.0, encrypted=False)], Group.BACKUP_FILES, DATA
    )
    assert first.ratio is None


def test_a_case_that_never_finished_has_no_row_and_is_nobodys_measure():
    failed, slow = outcome("failed"), outcome("slow", 9.0)
    assert [row.outcome.name for row in rows([failed, slow], Group.BACKUP_FILES, DATA)] == ["slow"]
    assert best_encrypted_peer([slow]) is slow


def test_of_several_rounds_the_median_counts_and_of_memory_the_most():
    rounds = (Usage(9.0, 1.0, 50, {"donor": 1.0}), Usage(3.0, 2.0, 90, {"donor": 3.0}))
    several = Outcome(
        "x", "x", Group.BACKUP_FILES, False, True, (*rounds, Usage(4.0, 9.0, 10, {"donor": 2.0})), 0
    )
    assert several.usage == Usage(4.0, 2.0, 90, {"donor": 2.0})


def test_cpu_that_no_stage_claims_is_told_as_other():
    report = {"cpu_seconds": {"receive": 1.0, "compress": 4.0, "seal": 0.5, "store": 0.5}}
    found = cpu_by_stage(outcome("ours", 5.0, cpu=8.0, reports=(report,)), DATA)
    assert found == {"receive": 0.5, "compress": 2.0, "seal": 0.25, "store": 0.25, "other": 1.0}


def test_a_case_without_figures_of_its_own_has_no_stages():
    assert cpu_by_stage(outcome("peer", 5.0), DATA) is None


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_a_value_that_was_seen(percent, expected):
    assert percentile(list(range(1, 101)), percent) == expected


def test_latency_of_nothing_is_zero():
    assert latency([]).done == 0
    assert latency([0.3, 0.1, 0.2]).longest == 0.3


def test_a_transaction_counts_where_it_was_due_even_if_it_ended_later():
    windows = [Window(10.0, 11.0), Window(20.0, 21.0)]
    seen = [(9.9, 1.0), (10.9, 5.0), (15.0, 0.1), (20.0, 0.2), (21.0, 0.3)]
    assert within(windows, seen) == [5.0, 0.2]
