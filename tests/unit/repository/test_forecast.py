"""What backups will take: by hand where that can be reckoned, and by rules that no figures may break."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repository.fitting import fit
from repository.forecast import (
    LONGEST_DAYS,
    Keeping,
    Load,
    Past,
    Slot,
    Taken,
    Usage,
    plateau,
    sum_usage,
    take_all,
    usage_over,
)

STORED = Keeping("stored", 7, 28, 30, 2, 1.0)
REFERRING = Keeping("referring", 7, 28, 30, 2, 1.0)
LOAD = Load(full_bytes=1000.0, change_a_day=0.02, archive_bytes_a_day=5.0)


def timetable(days: int = LONGEST_DAYS, *, fulls: int = 1) -> tuple[Slot, ...]:
    """A full at two o'clock every so many days, and an incremental every six hours."""
    found = [Slot(day + 2 / 24, full=True) for day in range(0, days, fulls)]
    return tuple(sorted([*found, *(Slot(quarter / 4, full=False) for quarter in range(4 * days))]))


DAILY = timetable()
QUARTER = timetable(120)


def over(load: Load, keeping: Keeping, days: int = 45, past: Past | None = None) -> list[Usage]:
    past = past or Past()
    taken = take_all(load, keeping, timetable(days), past.taken)
    return list(usage_over(taken, load, keeping, [float(day) for day in range(1, days)], past))


def test_the_first_backup_is_a_full_whatever_the_schedule_says() -> None:
    taken = take_all(LOAD, REFERRING, [Slot(0.0, full=False), Slot(0.25, full=False)])
    assert [each.kind for each in taken] == ["stored", "incremental"]
    assert taken[1].stored_bytes == pytest.approx(1000 * 0.02 / 4)


def test_of_so_many_fulls_one_stores_all_pages() -> None:
    slots = [Slot(float(day), full=True) for day in range(15)]
    kinds = [each.kind for each in take_all(LOAD, REFERRING, slots)]
    assert [i for i, kind in enumerate(kinds) if kind == "stored"] == [0, 7, 14]
    assert {each.kind for each in take_all(LOAD, STORED, slots)} == {"stored"}


def test_a_chain_that_would_be_too_long_becomes_a_full() -> None:
    slots = [Slot(day / 4, full=False) for day in range(10)]
    kinds = [each.kind for each in take_all(LOAD, replace(STORED, max_chain=3), slots)]
    assert [i for i, kind in enumerate(kinds) if kind == "stored"] == [0, 4, 8]


def test_what_was_taken_before_counts_on() -> None:
    past = [Taken(-2.0, "stored", 900.0), Taken(-1.0, "referring", 9.0), Taken(-0.5, "incremental", 9.0)]
    keeping = replace(REFERRING, rebase_every=3, max_chain=2)
    slots = [Slot(day, full=False) for day in (0.5, 1.0, 1.5)]
    kinds = [each.kind for each in take_all(LOAD, keeping, slots, past)][3:]
    assert kinds == ["incremental", "referring", "incremental"]


def test_a_change_is_never_more_than_all_of_it() -> None:
    load = replace(LOAD, change_a_day=3.0)
    taken = take_all(load, STORED, [Slot(0.0, full=True), Slot(1.0, full=False)])
    assert taken[1].stored_bytes == 1000.0


def test_daily_fulls_that_store_all_pages_take_a_full_a_day() -> None:
    most = plateau(LOAD, STORED, DAILY)
    assert most is not None
    # Thirty days, one of grace, today, and the one that leads to the window's first points.
    assert most.fulls_bytes == pytest.approx(33 * 1000)
    # Each day 22 of 24 hours lie between a backup and an incremental; the full stores the rest anyway.
    assert most.incrementals_bytes == pytest.approx(32 * 1000 * 0.02 * 22 / 24, rel=0.01)
    assert most.archive_bytes == pytest.approx(5 * 32, rel=0.02)
    assert most.least_bytes == pytest.approx(most.total_bytes)


def test_fulls_that_refer_take_one_image_and_what_changed() -> None:
    keeping = replace(REFERRING, rebase_every=35)
    most = plateau(LOAD, keeping, DAILY)
    assert most is not None
    assert most.fulls_bytes + most.incrementals_bytes < 2 * 1000 + 70 * 20
    calm = over(LOAD, keeping, 33)[-1]
    assert calm.least_bytes == pytest.approx(1000 + 32 * 20 + calm.archive_bytes, rel=0.02)


def test_lines_without_an_end_have_no_plateau() -> None:
    assert plateau(LOAD, replace(REFERRING, rebase_every=1_000_000), DAILY) is None


def test_the_newest_fulls_stay_whatever_their_age() -> None:
    past = Past(
        taken=(Taken(-90.0, "stored", 100.0), Taken(-80.0, "stored", 10.0), Taken(-70.0, "stored", 1.0))
    )
    for count, kept in ((1, 1.0), (2, 11.0), (3, 111.0)):
        (now,) = usage_over(past.taken, LOAD, replace(STORED, minimum_fulls=count), [0.0], past)
        assert now.fulls_bytes == kept


def test_old_binlogs_go_with_the_backups_that_need_them() -> None:
    past = Past(tuple(Taken(float(day), "stored", 1.0) for day in range(-20, 1)), 2000.0, -20.0)
    keeping = replace(STORED, days=9)
    taken = take_all(LOAD, keeping, [Slot(float(day), full=True) for day in range(1, 31)], past.taken)
    now, later, last = usage_over(taken, LOAD, keeping, [0.0, 5.0, 30.0], past)
    assert now.archive_bytes == pytest.approx(1100.0)
    assert later.archive_bytes == pytest.approx(600 + 25)
    assert last.archive_bytes == pytest.approx(11 * 5)


def test_a_full_grows_with_its_data_and_the_plateau_is_todays() -> None:
    growing = replace(LOAD, growth_a_day=0.01)
    assert over(growing, STORED)[-1].total_bytes > over(LOAD, STORED)[-1].total_bytes
    assert plateau(growing, STORED, DAILY) == plateau(LOAD, STORED, DAILY)


def test_what_fits_keeps_as_many_stored_fulls_as_it_can() -> None:
    found = fit([Load(6.667e12, 0.02, 5e10)] * 8, STORED, DAILY, 200 * 10**12)
    configured, *others = found.policies
    assert configured.configured and not configured.fits
    assert [each.days for each in others] == sorted((each.days for each in others), reverse=True)
    whole = [each for each in others if each.days == 30 and each.fits]
    assert whole and {each.full for each in whole} == {"referring"}
    for each in whole:
        assert each.most_bytes is not None and each.most_bytes <= found.bound_bytes
        fewer = replace(REFERRING, rebase_every=each.rebase_every)
        assert each.fulls != "daily" or plateau(Load(6.667e12, 0.02, 5e10), fewer, DAILY)


def test_where_nothing_fits_the_least_is_told() -> None:
    found = fit([LOAD], STORED, DAILY, 10)
    assert not any(each.fits for each in found.policies)
    assert len(found.policies) > 4


loads = st.builds(
    Load,
    full_bytes=st.floats(1, 1e15),
    change_a_day=st.floats(0, 2),
    archive_bytes_a_day=st.floats(0, 1e13),
    growth_a_day=st.floats(0, 0.05),
)
keepings = st.builds(
    Keeping,
    full=st.sampled_from(["stored", "referring"]),
    rebase_every=st.integers(1, 20),
    max_chain=st.integers(1, 30),
    days=st.integers(1, 40),
    minimum_fulls=st.integers(1, 5),
    grace_days=st.floats(0, 3),
)


def not_less(more: list[Usage], less: list[Usage]) -> None:
    for one, other in zip(more, less, strict=True):
        for name in ("total_bytes", "least_bytes", "archive_bytes"):
            assert getattr(one, name) >= getattr(other, name) * (1 - 1e-9), (one, other)


@settings(max_examples=30, deadline=None)
@given(loads, keepings, st.floats(1, 5))
def test_more_data_never_takes_less(load: Load, keeping: Keeping, factor: float) -> None:
    more = replace(load, full_bytes=load.full_bytes * factor)
    not_less(over(more, keeping), over(load, keeping))
    not_less(over(replace(load, change_a_day=load.change_a_day * factor), keeping), over(load, keeping))
    busier = replace(load, archive_bytes_a_day=load.archive_bytes_a_day * factor)
    not_less(over(busier, keeping), over(load, keeping))


@settings(max_examples=30, deadline=None)
@given(loads, keepings, st.integers(1, 30), st.lists(st.floats(-50, 0), max_size=6))
def test_keeping_longer_never_takes_less(load: Load, keeping: Keeping, days: int, past: list[float]) -> None:
    slots = [Slot(day, full=i % 2 == 0) for i, day in enumerate(sorted(past))]
    history = Past(tuple(take_all(load, keeping, slots)), 7e9, -50.0)
    longer = replace(keeping, days=keeping.days + days)
    not_less(over(load, longer, past=history), over(load, keeping, past=history))
    steady = replace(load, growth_a_day=0.0)
    more, less = plateau(steady, longer, QUARTER), plateau(steady, keeping, QUARTER)
    if more and less:
        not_less([more], [less])


@settings(max_examples=30, deadline=None)
@given(loads, keepings)
def test_the_parts_make_the_whole_and_the_least_is_the_least(load: Load, keeping: Keeping) -> None:
    for each in over(load, keeping):
        assert each.total_bytes == pytest.approx(
            each.fulls_bytes + each.incrementals_bytes + each.archive_bytes
        )
        assert each.archive_bytes <= each.least_bytes <= each.total_bytes


@given(st.lists(loads, min_size=1, max_size=8), keepings)
@settings(max_examples=10, deadline=None)
def test_the_sum_of_the_shards_is_the_total(several: list[Load], keeping: Keeping) -> None:
    last = [over(load, keeping, 10)[-1] for load in several]
    total = sum_usage(last)
    assert total.total_bytes == pytest.approx(sum(each.total_bytes for each in last))
    assert total.day == 9.0


def test_a_policy_takes_what_it_takes_of_each_shard() -> None:
    several = [LOAD, replace(LOAD, full_bytes=5000.0, change_a_day=0.5)]
    found = fit(several, REFERRING, DAILY, 10**15).policies[0]
    plateaus = [plateau(load, REFERRING, DAILY) for load in several]
    assert found.most_bytes == pytest.approx(sum(each.total_bytes for each in plateaus if each))


def needed(taken: list[Taken], keeping: Keeping, day: float) -> float:
    """The same, told the slow way: what is kept, and all that lies below it in its line."""
    there = [each for each in taken if each.day <= day]
    bound = day - keeping.days - keeping.grace_days
    outside = [i for i, each in enumerate(there) if each.day <= bound]
    fulls = [i for i, each in enumerate(there) if each.kind != "incremental"]
    kept = {i for i, each in enumerate(there) if each.day > bound}
    kept |= {*outside[-1:], *fulls[-keeping.minimum_fulls :]}
    starts = [i for i, each in enumerate(there) if each.kind == "stored"]
    line = [max(start for start in starts if start <= i) for i in range(len(there))]
    oldest = {line[i] for i in kept}
    return sum(each.stored_bytes for i, each in enumerate(there) if line[i] in oldest)


@settings(max_examples=30, deadline=None)
@given(loads, keepings, st.lists(st.floats(0, 60), min_size=1, max_size=8))
def test_a_line_is_kept_exactly_as_long_as_any_of_it_is_needed(
    load: Load, keeping: Keeping, days: list[float]
) -> None:
    # Off the minute in which anything begins or ends.
    days = sorted(round(day) + 0.37 for day in days)
    taken = take_all(load, keeping, timetable(62))
    for usage in usage_over(taken, load, keeping, days):
        told = usage.fulls_bytes + usage.incrementals_bytes
        assert told == pytest.approx(needed(taken, keeping, usage.day))
