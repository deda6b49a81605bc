"""The point that a target names: a table of cases, and a model that counts along the line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import TargetUnreachable, UsageError
from fleet.gtid import GtidSet
from fleet.moments import from_microseconds
from fleet.transaction import Transaction
from restore.point import Point, RecoveryTarget, resolve
from restore.walk import Branch, Hole
from tests.unit.restore.made_lines import (
    SECOND,
    T0,
    Made,
    MadeLine,
    counted,
    gtid,
    gtids,
    removed,
    replaced,
    transaction,
)

LINE = MadeLine(counted("a", 11, 20), gtids("a:1-10"))
WITH_HOLE = MadeLine(
    [*counted("a", 11, 13), removed("a:14-16"), *counted("a", 17, 19, second=6)], gtids("a:1-10")
)


def at(second: float) -> datetime:
    return from_microseconds(T0 + round(second * SECOND))


def point(line: MadeLine, target: RecoveryTarget) -> Point:
    return resolve(line, target)


def refusal(line: MadeLine, target: RecoveryTarget) -> TargetUnreachable:
    with pytest.raises(TargetUnreachable) as caught:
        resolve(line, target)
    assert caught.value.hint
    return caught.value


def test_a_naive_time_is_refused_at_the_door() -> None:
    with pytest.raises(UsageError, match="time zone") as caught:
        RecoveryTarget.at_time(datetime(2026, 3, 1, 2))  # noqa: DTZ001
    assert "+02:00" in (caught.value.hint or "")


def test_a_time_with_an_offset_is_the_same_moment_in_utc() -> None:
    east = datetime(2026, 3, 1, 4, 0, 3, tzinfo=timezone(timedelta(hours=2)))
    assert RecoveryTarget.at_time(east) == RecoveryTarget.at_time(at(3))


def test_latest_is_the_end_of_the_archive() -> None:
    found = point(LINE, RecoveryTarget.latest())
    assert (found.gtids, found.stop, found.stop_before) == (gtids("a:1-20"), None, None)
    assert [str(each.gtid)[-2:] for each in found.before] == ["19", "20"]
    assert found.reached_at == at(9)


def test_a_time_stops_before_the_first_transaction_that_is_later() -> None:
    for second in (3, 3.5, 3.999999):
        found = point(LINE, RecoveryTarget.at_time(at(second)))
        assert found.gtids == gtids("a:1-14")
        assert found.stop_before == gtid("a:15")
        assert [str(each.gtid)[-2:] for each in found.neighbours] == ["13", "14", "15", "16"]


def test_when_the_clock_was_stepped_back_the_first_later_one_counts() -> None:
    stepped = MadeLine([transaction("a:1", 1), transaction("a:2", 9), transaction("a:3", 2)])
    assert point(stepped, RecoveryTarget.at_time(at(4))).gtids == gtids("a:1")


def test_a_time_before_the_first_transaction_is_the_beginning_if_the_archive_had_begun() -> None:
    line = MadeLine(counted("a", 11, 12, second=5), gtids("a:1-10"))
    assert point(line, RecoveryTarget.at_time(at(1))).gtids == gtids("a:1-10")
    assert "before the archive" in refusal(line, RecoveryTarget.at_time(at(-1))).message


def test_a_time_after_the_end_is_refused_unless_the_end_will_do() -> None:
    error = refusal(LINE, RecoveryTarget.at_time(at(60)))
    assert "after the end" in error.message
    assert str(gtid("a:20")) in error.message
    assert "--latest" in (error.hint or "")
    assert point(LINE, RecoveryTarget.at_time(at(60), or_end=True)).gtids == gtids("a:1-20")
    assert "after the end" in refusal(MadeLine([]), RecoveryTarget.at_time(at(1))).message


def test_before_a_gtid_takes_all_that_stands_before_it() -> None:
    found = point(LINE, RecoveryTarget.before(gtid("a:15")))
    assert (found.gtids, found.stop_before) == (gtids("a:1-14"), gtid("a:15"))
    assert point(LINE, RecoveryTarget.before(gtid("a:11"))).gtids == gtids("a:1-10")


def test_to_gtids_means_exactly_that_set() -> None:
    assert point(LINE, RecoveryTarget.exactly(gtids("a:1-14"))).stop_before == gtid("a:15")
    assert point(LINE, RecoveryTarget.exactly(gtids("a:1-20"))).stop is None


def test_to_gtids_refuses_a_state_that_never_was() -> None:
    error = refusal(LINE, RecoveryTarget.exactly(gtids("a:1-13:15")))
    assert "was never in that state" in error.message
    assert f"--skip-gtid {gtid('a:14')}" in (error.hint or "")
    assert "lacks" in refusal(LINE, RecoveryTarget.exactly(gtids("a:5-14"))).message


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (RecoveryTarget.before(gtid("a:5")), "begins after it"),
        (RecoveryTarget.before(gtid("a:21")), "is not in the archive"),
        (RecoveryTarget.exactly(gtids("a:1-21")), "is not in the archive"),
        (RecoveryTarget.latest(skip=gtids("a:21")), "cannot skip"),
        (RecoveryTarget.latest(skip=gtids("a:5")), "begins after it"),
        (RecoveryTarget.before(gtid("a:15"), skip=gtids("a:15")), "comes after the point"),
    ],
)
def test_what_is_not_in_the_archive_is_refused(target: RecoveryTarget, told: str) -> None:
    assert told in refusal(LINE, target).message


def test_what_is_skipped_stays_in_the_set() -> None:
    found = point(LINE, RecoveryTarget.at_time(at(5), skip=gtids("a:14")))
    assert found.gtids == gtids("a:1-16")
    assert found.skipped == gtids("a:14")
    assert [each.gtid for each in found.skipped_transactions] == [gtid("a:14")]


def test_inside_a_gap_no_time_is_known_and_its_ends_are_named() -> None:
    error = refusal(WITH_HOLE, RecoveryTarget.at_time(at(4)))
    assert "inside a gap" in error.message
    assert f"--before-gtid {gtid('a:17')}" in (error.hint or "")
    assert "--to 2026-03-01T02:00:02.000000Z" in (error.hint or "")


def test_the_ends_of_a_gap_are_points() -> None:
    assert point(WITH_HOLE, RecoveryTarget.before(gtid("a:17"))).gtids == gtids("a:1-16")
    assert point(WITH_HOLE, RecoveryTarget.exactly(gtids("a:1-13"))).stop_before == gtid("a:17")
    assert point(WITH_HOLE, RecoveryTarget.at_time(at(6))).gtids == gtids("a:1-17")
    assert point(WITH_HOLE, RecoveryTarget.exactly(gtids("a:1-17"))).gtids == gtids("a:1-17")


@pytest.mark.parametrize("wanted", ["a:1-14", "a:1-13:15"])
def test_a_part_of_a_gap_is_no_point(wanted: str) -> None:
    assert "gap" in refusal(WITH_HOLE, RecoveryTarget.exactly(gtids(wanted))).message


def test_a_transaction_of_a_gap_cannot_be_named() -> None:
    assert "missing in the archive" in refusal(WITH_HOLE, RecoveryTarget.before(gtid("a:15"))).message
    assert "missing in the archive" in refusal(WITH_HOLE, RecoveryTarget.latest(skip=gtids("a:15"))).message


def test_a_branch_is_named_with_the_epoch_that_ended_it() -> None:
    line = MadeLine(
        [*counted("a", 1, 5), *counted("b", 1, 2, second=8)], branches=(Branch(2, gtids("a:6-7")),)
    )
    for target in (
        RecoveryTarget.before(gtid("a:6")),
        RecoveryTarget.exactly(gtids("a:1-6")),
        RecoveryTarget.latest(skip=gtids("a:7")),
    ):
        error = refusal(line, target)
        assert "on a branch" in error.message
        assert "`backstay show s1 " in str(error.hint)
        assert "`backstay archive export s1`" in str(error.hint)
        assert "epoch 2" in error.message
        assert "backstay show" in (error.hint or "")


def test_what_an_earlier_restore_left_out_stays_left_out() -> None:
    line = MadeLine([*counted("a", 1, 3), replaced("a:4"), *counted("b", 1, 2, second=8)])
    found = point(line, RecoveryTarget.latest())
    assert found.gtids == gtids("a:1-4,b:1-2")
    assert found.skipped == gtids("a:4")
    assert found.skipped_transactions == ()
    assert point(line, RecoveryTarget.at_time(at(1))).skipped == GtidSet()


@st.composite
def lines(draw: st.DrawFn) -> MadeLine:
    """Up to thirty transactions of two servers, with holes, at times that mostly grow."""
    numbers, second, steps = {"a": 1, "b": 1}, 0.0, list[Made]()
    for _ in range(draw(st.integers(0, 30))):
        uuid = draw(st.sampled_from("ab"))
        if steps and draw(st.integers(0, 9)) == 0:
            width = draw(st.integers(1, 3))
            steps.append(removed(f"{uuid}:{numbers[uuid]}-{numbers[uuid] + width - 1}"))
            numbers[uuid] += width
        second += draw(st.sampled_from((0.0, 0.5, 1.0, 3.0, -2.0)))
        steps.append(transaction(f"{uuid}:{numbers[uuid]}", second))
        numbers[uuid] += 1
    return MadeLine(steps, block=draw(st.integers(1, 8)))


def states(line: MadeLine) -> list[tuple[GtidSet, int | None]]:
    """Every state that the source was in, with the place of the transaction after it."""
    executed, found, hole = line.first_gtids, list[tuple[GtidSet, int | None]](), False
    for place, step in enumerate(line.made):
        if isinstance(step, Transaction):
            found.append((executed, place))
            executed, hole = executed | step.gtid.as_set(), False
        elif isinstance(step, Hole):
            found.append((executed, None))
            executed, hole = executed | step.missing, True
    return [*found, (executed, None)] if not hole else found


# A machine that is busy with other tests says nothing of the code.
quietly = settings(deadline=None, max_examples=60)


@quietly
@given(lines(), st.floats(-1, 40))
def test_a_time_agrees_with_counting(line: MadeLine, second: float) -> None:
    limit, executed, hole, last = T0 + round(second * SECOND), line.first_gtids, False, False
    for step in line.made:
        if isinstance(step, Hole):
            hole, executed = True, executed | step.missing
        elif isinstance(step, Transaction):
            if step.committed_at_us > limit:
                break
            hole, last, executed = False, True, executed | step.gtid.as_set()
    else:
        outside = "after the end" if last or limit >= T0 else "is before the archive"
        assert outside in refusal(line, RecoveryTarget.at_time(from_microseconds(limit))).message
        return
    target = RecoveryTarget.at_time(from_microseconds(limit))
    if hole or (not last and limit < T0):
        refusal(line, target)
    else:
        assert point(line, target).gtids == executed


@quietly
@given(lines())
def test_every_state_of_the_source_can_be_named_by_its_set(line: MadeLine) -> None:
    for executed, _ in states(line):
        assert point(line, RecoveryTarget.exactly(executed)).gtids == executed


@quietly
@given(lines())
def test_every_transaction_can_be_stopped_before(line: MadeLine) -> None:
    for executed, place in states(line):
        if place is not None:
            stop = line.made[place]
            assert isinstance(stop, Transaction)
            found = point(line, RecoveryTarget.before(stop.gtid))
            assert found.gtids == executed
            assert found.stop == stop


def test_targets_say_what_they_are() -> None:
    assert str(RecoveryTarget.latest()) == "the end of the archive"
    assert str(RecoveryTarget.at_time(at(0))) == "2026-03-01 02:00:00.000000 UTC"
    assert str(RecoveryTarget.before(gtid("a:3"))) == f"just before {gtid('a:3')}"
    assert "without" in str(RecoveryTarget.exactly(gtids("a:1-3"), skip=gtids("a:2")))
    assert RecoveryTarget.at_time(at(0)).at == datetime(2026, 3, 1, 2, tzinfo=UTC)
