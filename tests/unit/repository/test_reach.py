"""Which backups are needed: nothing that a needed one reaches is free, and knowing less frees nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from repository.layout import BackupName
from repository.reach import Known, Reach, reach

NOW = datetime(2026, 3, 31, tzinfo=UTC)
GRACE = timedelta(hours=24)


def name(number: int) -> BackupName:
    kind = "full" if number % 4 == 0 else "incremental"
    return BackupName(f"s{number % 2}", f"202603{number // 24 + 1:02d}T{number % 24:02d}0000Z-{kind}")


@st.composite
def histories(draw: st.DrawFn) -> Known:
    """Backups that need older ones, some of which are not there; marks of all ages."""
    count = draw(st.integers(1, 14))
    needs = {
        name(number): [name(below) for below in draw(st.sets(st.integers(0, number - 1), max_size=3))]
        if number
        else []
        for number in range(count)
    }
    names = sorted(needs)
    marked = draw(st.lists(st.sampled_from(names), unique=True))
    hours = draw(st.lists(st.integers(0, 60), min_size=len(marked), max_size=len(marked)))
    return Known(
        needs=needs,
        now=NOW,
        grace=GRACE,
        marks={each: NOW - timedelta(hours=age) for each, age in zip(marked, hours, strict=True)},
        kept=dict.fromkeys(draw(st.sets(st.sampled_from(names), max_size=2)), ("held",)),
        attempts={name(40 + number): NOW - timedelta(hours=10 * number) for number in range(6)},
    )


def closure(known: Known, names: set[BackupName]) -> set[BackupName]:
    found, waiting = set[BackupName](), list(names)
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += known.needs.get(each, ())
    return found


@given(histories())
def test_what_a_needed_backup_reaches_is_never_free_and_all_else_is(known: Known) -> None:
    found = reach(known)
    roots = {
        each
        for each in known.needs
        if each in known.kept or each not in known.marks or known.marks[each] + GRACE > NOW
    }
    assert set(found.needed) & set(known.needs) == closure(known, roots) & set(known.needs)
    assert set(found.free) == set(known.needs) - closure(known, roots)
    assert all(found.needed.values())


@given(histories())
def test_of_two_that_are_free_the_one_that_needs_the_other_comes_first(known: Known) -> None:
    place = {each: number for number, each in enumerate(reach(known).free)}
    for each, at in place.items():
        assert all(at < place[need] for need in known.needs[each] if need in place)


@given(histories(), st.data())
def test_one_mark_less_and_one_keeper_or_backup_more_frees_nothing(known: Known, data: st.DataObject) -> None:
    before = reach(known)
    chosen = data.draw(st.sampled_from(sorted(known.needs)))
    more = [
        replace(known, marks={each: at for each, at in known.marks.items() if each != chosen}),
        replace(known, kept={**known.kept, chosen: ("in use",)}),
        replace(known, needs={**known.needs, name(30): [chosen]}),
        replace(known, grace=GRACE * 2),
    ]
    for other in map(reach, more):
        assert set(other.free) <= set(before.free) | {name(30)}
        assert set(other.leftovers) <= set(before.leftovers)


@given(histories(), st.data())
def test_a_backup_that_cannot_be_read_frees_nothing_until_it_is_given_up(
    known: Known, data: st.DataObject
) -> None:
    chosen = data.draw(st.sampled_from(sorted(known.needs)))
    needs = {each: below for each, below in known.needs.items() if each != chosen}
    hurt = replace(known, needs=needs, unreadable=(chosen,))
    assert reach(hurt).free == ()
    assert reach(hurt).unreadable == (chosen,)
    given_up = reach(replace(hurt, given_up=(chosen,)))
    # What others need of it stays all the same.
    others = closure(hurt, {each for each in given_up.needed if each in needs})
    assert not set(given_up.free) & others


@given(histories(), st.randoms())
def test_the_order_of_what_was_seen_does_not_matter(known: Known, chance: random.Random) -> None:
    def key(_: object) -> float:
        return chance.random()

    other = replace(
        known,
        needs={each: list(reversed(below)) for each, below in sorted(known.needs.items(), key=key)},
        marks=dict(sorted(known.marks.items(), key=key)),
        kept=dict(sorted(known.kept.items(), key=key)),
    )
    assert set(reach(other).free) == set(reach(known).free)
    assert set(reach(other).needed) == set(reach(known).needed)
    assert reach(other).leftovers == reach(known).leftovers


def test_a_label_without_a_manifest_goes_when_it_has_rested_and_nobody_names_it() -> None:
    old, new, needed, held = map(name, range(4))
    known = Known(
        needs={name(8): [needed]},
        now=NOW,
        grace=GRACE,
        kept={held: ("in use by a backup",)},
        attempts={
            old: NOW - timedelta(hours=24),
            new: NOW - timedelta(hours=23),
            needed: NOW - timedelta(days=9),
            held: NOW - timedelta(days=9),
        },
    )
    assert reach(known).leftovers == (old,)
    # With a grace time of nothing an attempt that has just begun is left alone all the same.
    assert (
        reach(replace(known, grace=timedelta(0)), leftover_age=timedelta(hours=1)).leftovers
        == (new, old)[::-1]
    )


def test_the_reasons_can_be_printed() -> None:
    known = Known(
        needs={name(0): [], name(1): [name(0)], name(2): [name(0)], name(4): []},
        now=NOW,
        grace=GRACE,
        marks={name(0): NOW - 2 * GRACE, name(4): NOW - timedelta(hours=1)},
    )
    found: Reach = reach(known)
    assert found.needed[name(0)] == (f"needed by {name(2)}",)
    assert found.needed[name(1)] == ("not marked",)
    assert found.needed[name(4)] == ("its mark can be taken back until 2026-03-31 23:00:00",)
    assert found.in_grace == {name(4): NOW + timedelta(hours=23)}
