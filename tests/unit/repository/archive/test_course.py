"""The added-up course of a line says what going through its parts one by one would say."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fleet.gtid import GtidSet
from repository.archive.course import Course, Found

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@dataclass(frozen=True)
class Part:
    name: int
    wanted: GtidSet


@dataclass(frozen=True)
class Gap:
    name: int
    missing: GtidSet

    def opens_at(self, part: Part) -> bool:
        return part.name == self.name


def gtids(numbers) -> GtidSet:
    return GtidSet.parse(f"{UUID}:{':'.join(map(str, sorted(numbers)))}") if numbers else GtidSet()


def gone_through(parts, holes, left, end):
    hole = GtidSet()
    for number in range(end):
        hole |= holes.get(number, GtidSet())
        wanted = parts[number].wanted
        if not wanted:
            continue
        if left <= hole | wanted:
            return Found(number, left - hole)
        left = left - hole - wanted
        hole = GtidSet()
    return None


@given(
    pieces=st.lists(st.lists(st.integers(0, 2), max_size=3), max_size=7),
    lacking=st.sets(st.integers(0, 6)),
    asked=st.sets(st.integers(1, 25), min_size=1),
    end=st.integers(0, 7),
)
def test_the_part_that_completes_a_set_is_found_as_by_going_through_them(pieces, lacking, asked, end):
    numbers = iter(range(1, 100))
    gaps, parts = [], []
    for name, piece in enumerate(pieces):
        if name in lacking:
            gaps.append(Gap(name, gtids({next(numbers)})))
        parts.append(Part(name, gtids({next(numbers) for _ in piece})))
    course = Course.of(parts, gaps)
    assert course.holes == {gap.name: gap.missing for gap in gaps}
    end = min(end, len(parts))
    assert course.complete_with(gtids(asked), end) == gone_through(parts, course.holes, gtids(asked), end)


def test_two_gaps_before_one_part_are_one_hole():
    course = Course.of([Part(0, gtids({3}))], [Gap(0, gtids({1})), Gap(0, gtids({2}))])
    assert course.holes == {0: gtids({1, 2})}
    assert course.complete_with(gtids({1, 2, 3}), 1) == Found(0, gtids({3}))
