"""GTID sets: reading, printing and algebra, against examples and against plain Python sets."""

from __future__ import annotations

import pickle
import random
import time
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import GtidSetMalformed
from fleet.gtid import LAST_NUMBER, GtidSet, Interval, Origin

A = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
B = "00000000-0000-0000-0000-00000000000b"

# --- examples


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        (" \n", ""),
        (",,  ,\n", ""),
        (A, ""),
        (f"{A}:tag", ""),
        (f"{A}:5-3", ""),
        (f"{A}:1-0", ""),
        (f"{A}:1", f"{A}:1"),
        (f"{A.upper()}:1", f"{A}:1"),
        (f"{{{A}}}:1", f"{A}:1"),
        (f"{A.replace('-', '')}:1", f"{A}:1"),
        (f"{A}:1-3:5-7:4", f"{A}:1-7"),
        (f"{A}:9:1-3:2-5", f"{A}:1-5:9"),
        (f" {A} :\t1 - 3 :\r\n5 ", f"{A}:1-3:5"),
        (f"{A}:TAG:1", f"{A}:tag:1"),
        (f"{A}:Tag_9:1-3:5:b:7", f"{A}:b:7:tag_9:1-3:5"),
        (f"{A}:1:tag:2:tag:3", f"{A}:1:tag:2-3"),
        (f"{A}:1:tag:2,{A}:3", f"{A}:1:3:tag:2"),
        (f"{A}:tag:other:1", f"{A}:other:1"),
        (f"{A}:z:1:_z:1:z9:1:za:1:z_:1", f"{A}:_z:1:z:1:z9:1:z_:1:za:1"),
        (f"{A}:{'a' * 32}:1", f"{A}:{'a' * 32}:1"),
        (f"{A}:1,{B}:2-3", f"{B}:2-3,\n{A}:1"),
        (f",{A}:1,,{B}:2,", f"{B}:2,\n{A}:1"),
        (f"{A}:1-{LAST_NUMBER}", f"{A}:1-{LAST_NUMBER}"),
    ],
)
def test_a_set_prints_as_the_server_prints_it(text: str, printed: str) -> None:
    assert str(GtidSet.parse(text)) == printed


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "ANONYMOUS",
        f"+{A}:1",
        f"{A}:",
        f"{A}:1:",
        f"{A}::1",
        f"{A}:tag:",
        f"{A}:0",
        f"{A}:0-3",
        f"{A}:1-",
        f"{A}:-1",
        f"{A}:+1",
        f"{A}:1--3",
        f"{A}:1-3-5",
        f"{A}:1.5",
        f"{A}:0x10",
        f"{A}:1 2",
        f"{A}:1 {B}:1",
        f"{A}:1;",
        f"{A}:1-3,:5",
        f"{A}:9tag:1",
        f"{A}:ta-g:1",
        f"{A}:ta g:1",
        f"{A}:{'a' * 33}:1",
        f"{A[:-1]}:1",
        f"{A}0:1",
        f"{{{A}:1",
        f"{A}-1",
        f"{A}:1\0",
        f"{A}:1\xa0",
        f"{A}:\u0661",  # a digit, but no ASCII digit
        f"{A}:\u212aelvin:1",  # lower() of the Kelvin sign is an ASCII k
        f"{A}:{LAST_NUMBER + 1}",
        f"{A}:1-{LAST_NUMBER + 1}",
        f"{A}:{'9' * 10_000}",
    ],
)
def test_what_the_server_refuses_is_refused(text: str) -> None:
    with pytest.raises(GtidSetMalformed, match="GTID set"):
        GtidSet.parse(text)


@pytest.mark.parametrize("text", [f"{A}:010", f"{A}:1-010", f"{A}:00"])
def test_a_number_that_two_parsers_of_one_server_read_differently_is_refused(text: str) -> None:
    with pytest.raises(GtidSetMalformed):
        GtidSet.parse(text)


def test_an_error_names_the_piece_and_not_the_whole_set() -> None:
    with pytest.raises(GtidSetMalformed) as caught:
        GtidSet.parse(f"{A}:1-1000,{B}:7:9tag:3")
    assert caught.value.message == "GTID set: expected a number, an interval or a tag, found '9tag'"


def test_iteration_gives_uuid_tag_and_intervals() -> None:
    assert list(GtidSet.parse(f"{A}:1-3:7:b:2,{B}:1")) == [
        Origin(B, "", (Interval(1, 1),)),
        Origin(A, "", (Interval(1, 3), Interval(7, 7))),
        Origin(A, "b", (Interval(2, 2),)),
    ]


def test_one_line_has_no_newline_and_means_the_same() -> None:
    gtids = GtidSet.parse(f"{A}:1,{B}:2")
    assert gtids.one_line() == f"{B}:2,{A}:1"
    assert repr(gtids) == f"GtidSet('{B}:2,{A}:1')"
    assert GtidSet.parse(gtids.one_line()) == gtids


def test_the_same_number_under_two_tags_is_two_transactions() -> None:
    tagged, untagged = GtidSet.parse(f"{A}:tag:1"), GtidSet.parse(f"{A}:1")
    assert not tagged & untagged
    assert tagged.has_tags() and not untagged.has_tags()
    assert (tagged | untagged).count() == 2


def test_a_set_made_of_origins_is_checked_and_normalised() -> None:
    made = GtidSet([Origin(A.upper(), "TAG", (Interval(3, 4), Interval(1, 2))), Origin(B, "", ())])
    assert str(made) == f"{A}:tag:1-4"
    for wrong in (Origin("x", "", ()), Origin(A, "9", ()), Origin(A, "", (Interval(0, 1),))):
        with pytest.raises(GtidSetMalformed):
            GtidSet([wrong])
    with pytest.raises(GtidSetMalformed):
        GtidSet([Origin(A, "", (Interval(2, 1),))])


def test_a_set_cannot_be_changed_and_can_be_a_key() -> None:
    gtids = GtidSet.parse(f"{A}:1")
    with pytest.raises(FrozenInstanceError):
        gtids.origins = ()  # pyright: ignore[reportAttributeAccessIssue]
    assert {gtids: 1}[GtidSet.parse(f"{A}:1-1")] == 1
    assert pickle.loads(pickle.dumps(gtids)) == gtids


def test_a_proper_subset_is_less_and_an_equal_set_is_not() -> None:
    small, large = GtidSet.parse(f"{A}:1-3"), GtidSet.parse(f"{A}:1-4")
    assert small < large and large > small and large >= small
    assert not small < small and small <= small and small >= small
    assert GtidSet() <= small and not large <= small


def test_sets_of_many_thousand_intervals_stay_fast() -> None:
    text = f"{A}:" + ":".join(f"{n}-{n + 1}" for n in range(1, 200_000, 4))
    started = time.monotonic()
    gtids = GtidSet.parse(text)
    shifted = GtidSet.parse(f"{A}:" + ":".join(f"{n}-{n + 1}" for n in range(2, 200_000, 4)))
    assert ((gtids | shifted) - gtids).count() == 50_000
    assert (gtids & shifted).count() == 50_000
    assert str(gtids) == text
    # A quadratic algorithm would need minutes for 50,000 intervals.
    assert time.monotonic() - started < 10


# --- properties: a set is a plain set of (uuid, tag, number)

Model = frozenset[tuple[str, str, int]]
models = st.frozensets(
    st.tuples(st.sampled_from([A, B]), st.sampled_from(["", "a", "_b2"]), st.integers(1, 25)), max_size=60
)


def spelled(model: Model, seed: int) -> str:
    """The model as a text in random order, with random runs, repetitions, cases and blanks."""
    pick = random.Random(seed)
    members = sorted(model)
    members += [member for member in members if pick.random() < 0.2]
    pick.shuffle(members)
    parts: list[str] = []
    for uuid, tag, number in members:
        last = number
        while (uuid, tag, last + 1) in model and pick.random() < 0.7:
            last += 1
        interval = f"{number}-{last}" if last > number or pick.random() < 0.1 else str(number)
        blank = pick.choice(["", "", " ", "\n"])
        written_tag = f"{pick.choice([tag, tag.upper()])}:{blank}" if tag else ""
        parts.append(f"{blank}{pick.choice([uuid, uuid.upper()])}:{written_tag}{interval}")
    return ",".join(parts)


def gtids_of(model: Model) -> GtidSet:
    return GtidSet(Origin(uuid, tag, (Interval(number, number),)) for uuid, tag, number in model)


def members_of(gtids: GtidSet) -> Model:
    return frozenset(
        (origin.uuid, origin.tag, number)
        for origin in gtids
        for first, last in origin.intervals
        for number in range(first, last + 1)
    )


@given(models, st.integers())
def test_any_spelling_of_a_set_reads_as_that_set(model: Model, seed: int) -> None:
    gtids = GtidSet.parse(spelled(model, seed))
    assert members_of(gtids) == model
    assert gtids == gtids_of(model)
    assert hash(gtids) == hash(gtids_of(model))
    assert gtids.count() == len(model)
    assert bool(gtids) == bool(model)


@given(models)
def test_what_is_printed_reads_as_the_same_set(model: Model) -> None:
    gtids = gtids_of(model)
    assert GtidSet.parse(str(gtids)) == gtids
    assert str(GtidSet.parse(str(gtids))) == str(gtids)


@given(models, models)
def test_the_algebra_is_that_of_plain_sets(left: Model, right: Model) -> None:
    a, b = gtids_of(left), gtids_of(right)
    assert members_of(a | b) == left | right
    assert members_of(a & b) == left & right
    assert members_of(a - b) == left - right
    assert (a <= b) == (left <= right)
    assert (a < b) == (left < right)
    assert (a == b) == (left == right)


@given(models, models)
def test_results_are_in_normal_form(left: Model, right: Model) -> None:
    a, b = gtids_of(left), gtids_of(right)
    for result in (a | b, a & b, a - b):
        assert result == GtidSet(result.origins)
        assert result == GtidSet.parse(str(result))


@given(st.text(alphabet=f"{A}:,-_ \n{{}}0123456789gxZ", max_size=60))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        gtids = GtidSet.parse(text)
    except GtidSetMalformed:
        return
    assert GtidSet.parse(str(gtids)) == gtids
